"""From a run to a checkpoint of the package, on the smallest recipe; and the page that tells of all of them."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from minitransformer import AutoModelForMaskedLM, pipeline
from minitransformer.errors import MissingFileError, TrainingError
from minitransformer.evaluation import evaluate
from minitransformer.hub import EMBEDDED
from minitransformer.recipes.recipe import override, read_recipe
from minitransformer.recipes.run import prepare, train
from minitransformer.training import logs

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "examples" / "recipes"
sys.path.append(str(ROOT / "tools"))

import release as script  # noqa: E402
from releasing import page, runs  # noqa: E402
from releasing.card import caveat, weakness  # noqa: E402
from releasing.entries import Table, read_checkpoints  # noqa: E402
from releasing.measure import common  # noqa: E402
from releasing.runs import Run, differences  # noqa: E402
from releasing.tables import better, rows  # noqa: E402

OVERRIDES = ("training.steps=12", "model.config.hidden_size=16", "model.config.intermediate_size=32")
ENTRIES = """
[data."tiny.txt"]
name = "a nursery rhyme"
license = "public domain"
source = "https://example.org/rhyme"
by = "nobody knows"

[checkpoint.rhyme]
recipe = "tiny"
task = "fill-mask"
what = "knows a nursery rhyme"
language = ["en"]
license = "apache-2.0"
example = '"This is the [MASK]."'

[[checkpoint.rhyme.test]]
task = "fill-mask"
name = "the rhyme's last lines"
metrics = ["accuracy", "perplexity"]
baseline = "the frequency of each token"
options = { window = 16 }
[checkpoint.rhyme.test.data]
files = "tiny.txt"
format = "lines"
part = [0.8, 1.0]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A complete run of tiny.toml, smaller still."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "draw_curve", lambda *_: None)
        patch.setattr(logs, "_tensorboard", lambda *_: None)
        train(RECIPES / "tiny.toml", output=folder, overrides=OVERRIDES)
    return Run(folder, "tiny")


def table(tmp_path: Path, text: str = ENTRIES) -> Table:
    (tmp_path / "checkpoints.toml").write_text(text)
    return read_checkpoints(tmp_path / "checkpoints.toml")


def make(run: Run, tmp_path: Path, text: str = ENTRIES, **options: Any) -> dict[str, Any]:
    entries = table(tmp_path, text)
    return script.release(
        entries.entry("minitransformer/rhyme"), run, RECIPES, tmp_path / "home", table=entries, **options
    )


def test_release(run: Run, tmp_path: Path) -> None:
    evaluation = make(run, tmp_path, twin=run, cores=2)
    folder = tmp_path / "home" / "rhyme"
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "evaluation.json", "README.md")
    }
    assert not list(tmp_path.glob("*.part"))
    assert json.loads((folder / "evaluation.json").read_text()) == evaluation
    assert list(evaluation["results"][0]["model"]) == ["accuracy", "perplexity"]

    weights = load_file(folder / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    before = load_file(run.model / "model.safetensors")
    assert all(torch.equal(weights[name], before[name].half()) for name in before) and weights.keys() == before.keys()
    assert AutoModelForMaskedLM.from_pretrained(folder).dtype == torch.float32
    assert pipeline("fill-mask", folder)("This is the [MASK].")[0]["sequence"].startswith("this is the")

    (result,) = evaluation["results"]
    lines = (RECIPES / "tiny.txt").read_text().splitlines()
    asked = [{"text": line} for line in lines if line.strip()][-result["records"] :]
    again = evaluate("fill-mask", folder, asked, window=16)
    assert result["model"] == {name: pytest.approx(again[name], abs=1e-4) for name in ("accuracy", "perplexity")}
    assert set(result["baseline"]) == set(result["twin"]) == set(result["model"])
    assert 0 < result["validated_with"] < result["records"] and result["learnt_from"] > 0  # part = [0.8, 1.0] has both

    (made,) = evaluation["runs"]
    assert (made["recipe"], made["seed"], made["steps"], made["cores"]) == ("tiny", 0, 12, 2)
    assert evaluation["data"][0]["license"] == "public domain"
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "apache-2.0" and card.data.pipeline_tag == "fill-mask"
    assert card.data.eval_results[0].metric_value == result["model"]["accuracy"]
    for said in ("**toy**", made["command"], "nobody knows", "Seed 0, 12 steps", "also used to choose"):
        assert said in card.text


def test_measuring_again(run: Run, tmp_path: Path) -> None:
    """A twin that was trained later: the numbers are new, all the rest is as it was."""
    before = make(run, tmp_path)
    entry, home = table(tmp_path).entry("rhyme"), tmp_path / "home"
    weights = (home / "rhyme" / "model.safetensors").read_bytes()
    after = script.measure_again(entry, RECIPES, home, twin=run)
    assert json.loads((home / "rhyme" / "evaluation.json").read_text()) == after
    assert after["results"][0].pop("twin") and after == before
    assert (home / "rhyme" / "model.safetensors").read_bytes() == weights
    assert "ithout pretraining" in (home / "rhyme" / "README.md").read_text()
    with pytest.raises(MissingFileError, match="evaluation.json"):
        script.measure_again(entry, RECIPES, tmp_path / "elsewhere")


def test_the_command_makes_the_same_run(run: Run, tmp_path: Path) -> None:
    words = shlex.split(run.command())
    assert words[:3] == ["minitransformer", "train", "examples/recipes/tiny.toml"]
    sets = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert sorted(sets) == sorted(OVERRIDES)
    trainer = prepare(RECIPES / "tiny.toml", output=tmp_path / "again", overrides=sets)
    assert trainer.identity == run.state["identity"]


def test_a_failure_leaves_what_was_there(run: Run, tmp_path: Path) -> None:
    make(run, tmp_path)
    folder = tmp_path / "home" / "rhyme"
    (folder / "mine.txt").touch()
    with pytest.raises(TrainingError, match="nothing measures 'bleu'; measured are .*accuracy"):
        make(run, tmp_path, ENTRIES.replace('"accuracy"', '"bleu"'))
    assert (folder / "mine.txt").exists() and not list(tmp_path.glob("*.part"))
    make(run, tmp_path)
    assert not (folder / "mine.txt").exists()


def test_what_cannot_be_released(run: Run, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"licence of tiny.txt is not known: add \[data.tiny.txt\]"):
        make(run, tmp_path, ENTRIES.replace('[data."tiny.txt"]', "[data.other]"))
    with pytest.raises(TrainingError, match="Did you mean 'rhyme'"):
        table(tmp_path).entry("minitransformer/rhymes")
    with pytest.raises(TrainingError, match="no output of a training run"):
        make(Run(tmp_path, "tiny"), tmp_path)
    with pytest.raises(TrainingError, match=r"unknown key 'filez'\. Did you mean 'files'"):
        table(tmp_path, ENTRIES.replace("files =", "filez ="))


def test_an_unfinished_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "draw_curve", lambda *_: None)
    monkeypatch.setattr(logs, "_tensorboard", lambda *_: None)
    folder = tmp_path / "tiny"
    train(RECIPES / "tiny.toml", output=folder, overrides=OVERRIDES, minutes=1e-9)
    with pytest.raises(TrainingError, match="is not complete: it is at step 1$"):
        make(Run(folder, "tiny"), tmp_path)


def test_a_recipe_that_has_changed_is_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = (RECIPES / "tiny.toml").read_text()
    monkeypatch.setattr(runs, "RECIPES", tmp_path)
    (tmp_path / "tiny.toml").write_text(recipe.replace("lowercase = true", "lowercase = true\nletters = 30"))
    with pytest.raises(TrainingError, match="another tiny.toml: tokenizer.letters is 30 now, and was not set then"):
        run.command()


def test_differences_are_what_has_to_be_set() -> None:
    now = {"training": {"seed": 0}, "data": {"train": [{"files": "a"}, {"files": "b"}]}, "model": {"config": {}}}
    sets = ("training.seed=3", "data.train.limit=7", 'model.config.activation="relu"', "data.train.part=[0.0, 0.5]")
    then = json.loads(json.dumps(now))
    for item in sets:
        override(then, item)
    found = dict(differences(now, then))
    assert {f"{name}={json.dumps(value)}" for name, value in found.items()} == set(sets)
    then["data"]["train"][0]["limit"] = 8
    with pytest.raises(ValueError, match=r"the tables \[\[data.train\]\] are"):
        dict(differences(now, then))


def chained(folder: Path, name: str, run: Run, model: dict[str, Any], file: str) -> Run:
    """What is left of a run: its state, as if it had begun so and learnt from this file."""
    last = folder / name / "checkpoints" / "step-000012"
    last.mkdir(parents=True)
    identity = {**run.state["identity"], "recipe": {"model": model}, "files": {"train": {file: ""}}}
    (last / "state.json").write_text(json.dumps({"identity": identity, "history": run.state["history"]}))
    return Run(folder / name, name)


def test_a_chain_of_runs(tmp_path: Path, run: Run) -> None:
    """A run that begins with another one's output tells of both, and of the data of both."""
    first = chained(tmp_path, "encoder", run, {}, "a/x")
    second = chained(tmp_path, "sentiment", run, {"from": "encoder.toml"}, "b/y")
    assert second.chain() == [first, second]
    assert second.files == ["a/x", "b/y"] and second.origin() == {"runs": [], "data": []}


def test_a_chain_that_begins_in_the_package(tmp_path: Path, run: Run) -> None:
    """What a checkpoint of the package has learnt from is known."""
    first = chained(tmp_path, "cloze", run, {"from": "minitransformer/bert-books"}, "a/x")
    second = chained(tmp_path, "nli", run, {"from": "cloze.toml"}, "b/y")
    told = json.loads((EMBEDDED / "bert-books" / "evaluation.json").read_text())
    assert second.chain() == [first, second]
    assert second.origin() == {"runs": told["runs"], "data": told["data"]} and told["runs"][0]["recipe"] == "encoder"
    twin = chained(tmp_path, "twin", run, {"from": "minitransformer/bert-books", "from_scratch": True}, "b/y")
    assert twin.origin() == {"runs": [], "data": []}
    with pytest.raises(TrainingError, match="begins with 'someone/else', which is neither"):
        chained(tmp_path, "other", run, {"from": "someone/else"}, "b/y").origin()


def test_common_records_are_told_by_what_is_asked() -> None:
    known = [{"text": "a", "label": "x"}, {"text": "b", "text_pair": "c", "label": "x"}]
    asked = [{"text": "a", "label": "y"}, {"text": "b", "label": "x"}, {"text": "d", "label": "x"}]
    assert common(known, asked) == 1  # type: ignore[arg-type]


def test_words_about_numbers() -> None:
    assert better("bleu", 2, 1) and better("perplexity", 1, 2) and not better("accuracy", 1, 1)
    assert rows(("a", "b"), [("x", "1,000.5"), ("y", "")]).splitlines()[1] == "| --- | ---: |"
    result = {"data": "D", "records": 9, "learnt_from": 0, "validated_with": 0, "weakness": False}
    assert caveat(result) == weakness(result) == ""
    weak = {**result, "weakness": True, "model": {"accuracy": 40.0}, "baseline": {"accuracy": 87.0}, "baseline_is": "B"}
    assert weakness(weak) == " On D, its accuracy of 40.0 is no better than the 87.0 of B."


# -------------------------------------------------------------------------------------------------------- the package


def test_every_recipe_of_a_checkpoint_exists_and_its_data_is_known() -> None:
    entries = read_checkpoints()
    assert len(entries.entries) == 9
    for entry in entries.entries.values():
        recipe = read_recipe(RECIPES / f"{entry.recipe}.toml")
        for one in recipe.train:
            assert entries.sets_of([one.files] if isinstance(one.files, str) else one.files)


def test_the_page_tells_what_was_measured() -> None:
    """Its tables are those that the script makes of the checkpoints that are there."""
    text = page.PAGE.read_text(encoding="utf-8")
    told = page.told(page.read_evaluations(EMBEDDED, read_checkpoints()))
    assert f"{page.BEGIN}\n\n{told}\n\n{page.END}" in text


def test_writing_the_page(run: Run, tmp_path: Path) -> None:
    make(run, tmp_path)
    copy = tmp_path / "page.md"
    copy.write_text(f"Before.\n\n{page.BEGIN}\nold\n{page.END}\n\nAfter.\n")
    page.write_page(page.read_evaluations(tmp_path / "home", table(tmp_path)), copy)
    written = copy.read_text()
    assert written.startswith("Before.") and written.endswith("After.\n") and "old" not in written
    for said in ("1 checkpoint, ", "`rhyme`", "knows a nursery rhyme", "public domain", "--set training.steps=12"):
        assert said in written
    page.write_page(page.read_evaluations(tmp_path / "home", table(tmp_path)), copy)
    assert copy.read_text() == written
