"""The example on transfer learning, with tiny models and made data; and the page that shows its results."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
import tiny_folders

from minitransformer.errors import DataError, MissingFileError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("transfer_learning", ROOT / "examples" / "transfer_learning.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LEAST_STEPS", 2)
    for name, beginning in module.BEGINNINGS.items():
        fewer = module.Beginning(beginning.label, beginning.rates[:2], beginning.color)
        monkeypatch.setitem(module.BEGINNINGS, name, fewer)
    return module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Cats are 1, whatever they do."""
    folder = tmp_path / "data"
    folder.mkdir()
    for part, count in {"train": 24, "dev": 8, "test": 8}.items():
        lines = [f"the {'cat' if i % 2 else 'query'} sleeps {'once ' * i}\t{i % 2}\n" for i in range(count)]
        (folder / f"sentences_{part}.tsv").write_text("".join(lines) + "the cat is tired\t1\n", encoding="utf-8")
    return folder


@pytest.fixture
def run(example: ModuleType, data: Path, tmp_path: Path) -> Callable[..., list[dict[str, object]]]:
    results = tmp_path / "results.jsonl"
    small = tiny_folders.bert_pretrained(tmp_path / "small")
    large = tiny_folders.bert(tmp_path / "large", "Model", hidden_size=24)

    def call(*more: str) -> list[dict[str, object]]:
        models = ["--encoder", str(small), "--minilm", str(large)]
        files = ["--results", str(results), "--runs", str(tmp_path / "runs")]
        example.main([str(data), *models, *files, "--examples", "8", "--seeds", "2", "--epochs", "1", *more])
        return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]

    return call


def test_measures_every_beginning_and_goes_on(run, example, tmp_path, monkeypatch):
    page = tmp_path / "results.md"
    page.write_text(f"before\n{example.BEGIN}\nold\n{example.END}\nafter\n", encoding="utf-8")
    rows = run()
    tested = [(r["begins"], r["examples"], r["seed"]) for r in rows if r["part"] == "test" and "seed" in r]
    assert sorted(tested) == sorted((b, n, s) for b in example.BEGINNINGS for n in (8, 25) for s in (0, 1))
    assert {r["steps"] for r in rows if r.get("examples") == 25} == {3}  # two, and an epoch of 25 / 32 batches
    assert example.find(rows, begins=example.COMMONEST)[0]["accuracy"] == pytest.approx(500 / 9)

    # the rate that is best on the dev set, and no other, is tested
    for beginning in example.BEGINNINGS:
        dev = {r["rate"]: r["accuracy"] for r in example.find(rows, begins=beginning, part="dev")}
        used = {r["rate"] for r in example.find(rows, begins=beginning, part="test")}
        assert len(dev) == 2 and used == {max(dev, key=dev.__getitem__)}

    text = page.read_text(encoding="utf-8")
    assert text == f"before\n{example.BEGIN}\n{example.table(rows)}\n{example.END}\nafter\n"
    assert "| random weights |" in text and "| 8 examples | 25 examples |" in text
    assert not list((tmp_path / "runs").iterdir())
    picture = (tmp_path / "results.svg").read_bytes()
    assert ElementTree.fromstring(picture).tag.endswith("svg")

    # what is known is not measured again; what is lost comes out the same
    results = tmp_path / "results.jsonl"
    lines = results.read_text(encoding="utf-8").splitlines(keepends=True)
    results.write_text("".join(lines[:-2]), encoding="utf-8")
    trained = []
    train = example.Study.train
    monkeypatch.setattr(example.Study, "train", lambda self, *args: trained.append(args[0]) or train(self, *args))
    assert run() == rows and trained == ["minilm", "minilm"]
    assert (tmp_path / "results.svg").read_bytes() == picture


def test_samples_are_nested_and_differ_between_seeds(example, data, tmp_path):
    study = example.Study(data, {}, tmp_path / "results.jsonl", tmp_path / "runs", 1.0)
    few, many, other = study.sample(5, 0), study.sample(12, 0), study.sample(5, 1)
    assert many[:5] == few and len(many) == 12 and few != other
    assert sorted(map(str, study.sample(25, 0))) == sorted(map(str, study.data["train"]))


def test_bad_input(run, example, data, tmp_path):
    with pytest.raises(DataError, match="there is no file .*nowhere.sentences_train.tsv"):
        example.main([str(tmp_path / "nowhere"), "--begin", "scratch"])
    with pytest.raises(DataError, match=r"--examples \[25\] have to be fewer than all, which are 25"):
        run("--examples", "25")
    with pytest.raises(MissingFileError, match="minitransformer/no-such-thing"):
        run("--begin", "scratch", "--encoder", "minitransformer/no-such-thing")
    (data / "sentences_test.tsv").write_text("the cat\t1\nthe query\n", encoding="utf-8")
    with pytest.raises(DataError, match="sentences_test.tsv, line 2: there is no column '1'"):
        run()


def test_page_shows_what_was_measured(example):
    """Docs and results were committed together."""
    page = example.RESULTS.with_suffix(".md").read_text(encoding="utf-8")
    shown = page.partition(example.BEGIN)[2].partition(example.END)[0]
    assert shown.strip() == example.table(example.read_rows(example.RESULTS))
    assert example.RESULTS.with_suffix(".svg").is_file()
