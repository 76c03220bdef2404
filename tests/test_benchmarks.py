"""The benchmark's own machinery, on tiny models: what it measures with must not be wrong itself."""

from __future__ import annotations

import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import tiny_folders

from minitransformer.optimize import TOLERANCES

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks"))

from speed import report, tables, training_run  # noqa: E402
from speed.agreement import agreement, agrees  # noqa: E402
from speed.cases import start, training  # noqa: E402
from speed.cases.gpt2 import bytes_per_token  # noqa: E402
from speed.checkpoints import DONE, QUICK, SIZES, minilm  # noqa: E402
from speed.compare import Bench, Group, compare  # noqa: E402
from speed.engines import ENGINES, Engine, Setup, Unable  # noqa: E402
from speed.growth_tables import growth_page  # noqa: E402
from speed.options import checked, parser, pythons  # noqa: E402
from speed.rounds import Failed, Missing, Spread, alternate, ratio  # noqa: E402
from speed.worker import plain, serve  # noqa: E402
from speed.works import WORDS, texts, token_ids  # noqa: E402

SETUP = {"engine": "fake", "dtype": "float32", "kind": "causal", "folder": "", "threads": 1}


def test_every_engine_gets_the_same_work() -> None:
    work = {"rows": 2, "prompt": 7, "vocabulary": 40}
    ids = token_ids(work)
    assert ids == token_ids(work) and [len(row) for row in ids] == [7, 7]
    assert all(5 <= i < 35 for row in ids for i in row)

    made = texts({"texts": 300, "shortest": 3, "longest": 110})
    lengths = sorted(len(text.split()) for text in made)
    assert made == texts({"texts": 300, "shortest": 3, "longest": 110})
    assert (lengths[0], lengths[-1]) == (3, 110) or (lengths[0] >= 3 and 100 < lengths[-1] <= 110)
    assert lengths[150] < 30, "most texts of a collection are short"


def test_words_are_one_token_each() -> None:
    vocabulary = set((minilm() / "vocab.txt").read_text(encoding="utf-8").splitlines())
    assert not set(WORDS) - vocabulary


def test_bytes_of_a_token_are_those_of_the_weights(tmp_path: Path) -> None:
    from minitransformer import AutoModelForCausalLM

    size = QUICK["gpt2"]
    model = AutoModelForCausalLM.from_pretrained(tiny_folders.gpt2(tmp_path, **size))
    read = model.num_parameters() - size["n_positions"] * size["n_embd"]
    assert bytes_per_token(size, "float32") == 4 * read
    assert bytes_per_token(size, "int8") < bytes_per_token(size, "bfloat16") < 2.2 * read
    assert 494e6 < bytes_per_token(SIZES["gpt2"], "float32") < 495e6  # 124 million parameters


def test_ratios_are_taken_within_rounds() -> None:
    ours, theirs = [1.0, 10.0, 1.0, 1.0, 1.0], [2.0, 30.0, 2.0, 2.0, 1.5]  # the machine was busy in round two
    assert ratio(ours, theirs) == Spread(2.0, 2.0, 2.0)
    assert ratio([1.0, 2.0], [2.0, 2.0]) == Spread(1.5, 1.0, 2.0)
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)


def test_engines_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speed.rounds.PAUSE", 0)
    turns: list[str] = []

    class Fake:
        def __init__(self, name: str, times: list[float]) -> None:
            self.name, self.times = name, times

        def seconds(self, work: Any, calls: int) -> list[float]:
            turns.append(self.name)
            assert (work, calls) == ({"kind": self.name}, 3)
            return self.times

    workers: Any = {name: Fake(name, [9.0, 1.0, 2.0]) for name in "abc"}
    times = alternate(workers, {name: {"kind": name} for name in "abc"}, rounds=3, calls=3)
    assert "".join(turns) == "abcbcacab"
    assert times == dict.fromkeys("abc", [2.0, 2.0, 2.0])


def test_agreement() -> None:
    assert agreement([[1, 2]], [[1, 2]]) == "equal"
    assert agreement([[1, 2, 3, 4]], [[1, 2, 3, 5]]) == "75 % of tokens"
    assert agreement([1.0, 2.0], [1.0, 2.00001]) == "within 1e-05"
    assert agreement([1.0], [1.0, 2.0], "transformers") == "1 values, 2 of transformers"
    assert agrees("equal") and agrees("within 1e-05")
    assert not agrees("within 2e-02") and not agrees("75 % of tokens") and not agrees("1 values, 2 of transformers")


def conversation(monkeypatch: pytest.MonkeyPatch, load: Any, *orders: dict[str, Any]) -> list[dict[str, Any]]:
    """What a worker replies whose engine's ``load`` is this."""
    module = types.ModuleType("speed.engines.fake")
    module.load, module.version = load, lambda: "1.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "speed.engines.fake", module)
    monkeypatch.setitem(ENGINES, "fake", Engine("a fake", "fake", {}))
    replies = io.StringIO()
    serve(io.StringIO("".join(json.dumps(line) + "\n" for line in (SETUP, *orders))), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


def test_a_worker_answers_and_times(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []

    def load(setup: Setup) -> Any:
        def prepare(work: Any) -> Any:
            prepared.append(work)
            return lambda: [work["a"], 2]

        return prepare

    do = [{"do": "answer", "work": {"a": 1}}, {"do": "time", "work": {"a": 1}, "calls": 3}]
    replies = conversation(monkeypatch, load, *do)
    assert replies[:2] == [{"version": "1.0"}, {"answer": [1, 2]}]
    assert len(replies[2]["seconds"]) == 3 and min(replies[2]["seconds"]) >= 0
    assert prepared == [{"a": 1}]


@pytest.mark.parametrize(
    ("error", "told"),
    [(Unable("no int8 here"), "unable"), (ModuleNotFoundError("No module named 'x'"), "unable"), (OSError(), "failed")],
)
def test_a_worker_says_why_it_cannot(monkeypatch: pytest.MonkeyPatch, error: Exception, told: str) -> None:
    def load(setup: Setup) -> Any:
        raise error

    (reply,) = conversation(monkeypatch, load)
    assert list(reply) == [told] and str(error) in reply[told]


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_form_that_the_processor_lacks_is_missing_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr("minitransformer.optimize.forms_here", lambda: [])
    setup = SETUP | {"engine": "optimized", "dtype": dtype, "folder": str(tiny_folders.gpt2(tmp_path / "gpt2"))}
    replies = io.StringIO()
    serve(io.StringIO(json.dumps(setup) + "\n"), replies)
    assert json.loads(replies.getvalue()) == {"unable": f"this processor has no kernels for {dtype}"}


def test_a_worker_survives_a_work_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    do = [{"do": "answer", "work": {"a": n}} for n in (0, 2)]
    _, first, second = conversation(monkeypatch, lambda setup: lambda work: lambda: 1 / work["a"], *do)
    assert "ZeroDivisionError" in first["failed"] and second == {"answer": 0.5}


def test_large_answers_are_cut() -> None:
    import torch

    vectors = torch.arange(5 * 6 * 7, dtype=torch.bfloat16).view(5, 6, 7)
    assert plain(vectors) == plain(vectors.tolist()) == vectors[:4, :4, :4].tolist()
    assert len(plain(torch.zeros(2, 64, dtype=torch.long))[1]) == 64


def test_a_comparison_in_processes_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speed.rounds.PAUSE", 0)
    folder = tiny_folders.gpt2(tmp_path / "tiny-gpt2", **QUICK["gpt2"])
    (folder / DONE).touch()
    group = Group(
        title="tiny",
        checkpoint="gpt2",
        kind="causal",
        work={"kind": "generate", "rows": 2, "prompt": 4, "new": 3, "vocabulary": 300},
        unit="tokens/s",
        amount=6,
        contestants=("readable:float32", "readable:int8", "transformers:float32"),
        wanted={"float32": {"limit": 0.5}},
        bytes_read={"float32": 400_000, "int8": 100_000},
    )
    bench = Bench(tmp_path, dict.fromkeys(("readable", "reading"), sys.executable), rounds=2, threads=1, quick=True)
    float32, int8 = compare(bench, "gpt2", [group])
    assert float32["answers"] == {"readable": "equal"} and float32["versions"].keys() == {"readable"}
    assert float32["values"]["readable"]["median"] > 0 and len(float32["seconds"]["readable"]) == 2
    assert float32["limit"]["bytes"] == 400_000 and float32["limit"]["GB/s"]["median"] > 0.01
    assert int8["missing"] == {"readable": "int8 is a matter of optimized()"} and int8["values"] == {}
    assert float32["failed"] == {} and tables.complete([float32, int8])


class FakeWorker:
    """Takes 2 s for ours, 3 s for others; one library is missing, one fails."""

    version = "1.0"

    def __init__(self, setup: Setup, python: str) -> None:
        if setup.engine == "onnxruntime":
            raise Missing("No module named 'onnxruntime'")
        self.setup = setup

    def answer(self, work: Any) -> Any:
        if self.setup.engine == "transformers-5":
            raise Failed("out of memory")
        return [1.0 if self.setup.engine == "readable" else 1.00001]

    def seconds(self, work: Any, calls: int) -> list[float]:
        return [2.0 if self.setup.engine == "readable" else 3.0] * calls

    def close(self) -> None:
        pass


def test_who_is_missing_or_fails_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speed.rounds.PAUSE", 0)
    monkeypatch.setattr("speed.compare.Worker", FakeWorker)
    monkeypatch.setattr("speed.compare.make", lambda name, folder, quick: folder / name)
    monkeypatch.setattr("speed.compare.convert", lambda engine, folder, python: None)
    engines = ("readable", "transformers", "transformers-5", "onnxruntime")
    contestants = tuple(f"{engine}:float32" for engine in (*engines, "ctranslate2"))
    wanted = {"float32": {"transformers": 1.4, "onnxruntime": 1.0}}
    group = Group("a work", "bert", "encoder", {"kind": "encode"}, "ms", contestants, wanted, calls=2)
    (row,) = compare(Bench(tmp_path, dict.fromkeys(engines, "python"), rounds=3), "bert", [group])
    assert row["values"]["readable"]["median"] == 2000 and row["seconds"]["transformers"] == [3.0] * 3
    assert row["ratios"] == {"readable/transformers": {"median": 1.5, "low": 1.5, "high": 1.5}}
    assert row["answers"] == {"readable": "within 1e-05", "transformers": "equal"}
    assert row["missing"] == {"onnxruntime": "No module named 'onnxruntime'"}
    assert row["failed"] == {"transformers-5": "out of memory"} and not tables.complete([row])
    assert tables.verdicts(row) == [("1.50x", "1.40x", True)], "nothing is reached beside who did not take part"
    assert "failed" in tables.value_table([row])


def test_start_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {
        "readable": (1.0, 200.0, [7, 0.5]),
        "transformers": (3.0, 400.0, [7, 0.5]),
        "import torch": (0.5, 100.0, []),
    }
    monkeypatch.setattr(start, "PAUSE", 0)
    monkeypatch.setattr(start, "make", lambda name, folder, quick: folder)
    monkeypatch.setattr(start, "first_answer", lambda engine, *rest: taken[engine])
    seconds, peak = start.rows(Bench(tmp_path, dict.fromkeys(("readable", "transformers"), "python"), rounds=2))
    assert seconds["ratios"]["readable/transformers"]["median"] == 3.0
    assert peak["ratios"]["readable/transformers"]["median"] == 2.0 and peak["unit"] == "MiB"
    assert "import torch` alone: 0.5 s" in seconds["note"] and tables.complete([seconds, peak])


def test_training_is_timed_after_the_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(bench: Bench, task: Any, engine: str, processes: int, threads: int) -> dict[str, Any]:
        if engine == "transformers" and task.objective == "causal":
            raise Failed("No module named 'accelerate'")
        speed = 100.0 * processes * threads * (2 if engine == "readable" else 1)
        return {"tokens/s": speed, "peak": 500.0, "losses": [10.0, 9.0]}

    monkeypatch.setattr(training, "train", train)
    made = training.rows(Bench(tmp_path, dict.fromkeys(training.TRAINERS, "python"), rounds=2))
    speed, memory, *_, scaling = made
    assert speed["ratios"]["readable/transformers"]["median"] == 2.0 and speed["answers"]["readable"] == "loss 9.00"
    assert memory["ratios"]["readable/transformers"]["median"] == 1.0
    assert "2.00 (2.00-2.00) times the tokens/s of one process of one thread" in scaling["note"]
    failed = [row for row in made if row["failed"]]
    assert {row["title"].split(":")[0] for row in failed} == {training.GPT2.title}
    assert not tables.complete(made) and tables.complete([row for row in made if not row["failed"]])


def test_a_few_steps_of_training(tmp_path: Path) -> None:
    folder = tiny_folders.bert(tmp_path / "bert")
    order = {
        "objective": "masked", "folder": str(folder), "out": str(tmp_path), "batch": 4, "length": 8,
        "dtype": "float32", "steps": 3, "vocabulary": 60,
    }  # fmt: skip
    result = training_run.ours(order)
    assert len(result["seconds"]) == len(result["losses"]) == 3 and sorted(result["seconds"]) == result["seconds"]
    assert all(2 < loss < 7 for loss in result["losses"])


def a_row(**changes: Any) -> dict[str, Any]:
    spread = {"median": 2.0, "low": 1.9, "high": 2.1}
    return {
        "case": "gpt2", "title": "a work", "dtype": "float32", "unit": "tokens/s", "date": "2026-01-01", "rounds": 5,
        "values": {"readable": spread, "optimized": spread, "transformers": spread, "ctranslate2": spread},
        "ratios": {
            "optimized/transformers": {"median": 1.5, "low": 1.4, "high": 1.6},
            "optimized/ctranslate2": {"median": 0.8, "low": 0.7, "high": 0.9},
        },
        "wanted": {"transformers": 1.4, "ctranslate2": 1.0}, "answers": {"readable": "equal"}, "seconds": {},
        "versions": {"readable": "0.1"}, "missing": {"onnxruntime": "not installed"}, "failed": {},
    } | changes  # fmt: skip


def test_tables_tell_what_is_reached_and_what_is_not() -> None:
    assert tables.verdicts(a_row()) == [("1.50x", "1.40x", True), ("0.80x", "1.00x", False)]
    lines = tables.ratio_table([a_row()]).splitlines()
    assert "1.50 (1.40-1.60)" in lines[2] and "0.80 (0.70-0.90) CTranslate2" in lines[2] and "**no**: 0.80x" in lines[2]
    assert tables.value_table([a_row()]).splitlines()[2].endswith("| 2 | 2 | - | 2 | - | 2 | - | tokens/s |")
    limit = {"reached": {"optimized": {"median": 0.9}, "readable": {"median": 0.5}}}
    assert tables.verdicts(a_row(wanted={"limit": 0.85}, limit=limit)) == [("90 %", "85 %", True)]
    assert (
        tables.ours(a_row()) == "optimized" and tables.ours(a_row(values={"optimized": 1, "compiled": 1})) == "compiled"
    )


def test_a_failure_or_a_wrong_answer_is_no_success() -> None:
    assert tables.complete([a_row()])
    assert not tables.complete([a_row(failed={"ctranslate2": "out of memory"})])
    assert not tables.complete([a_row(answers={"optimized": "97 % of tokens"})])
    assert tables.complete([a_row(answers={"optimized": "97 % of tokens"}, dtype="int8")])


def test_results_are_kept_case_by_case_and_for_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"processor": "this one", "cores": 2, "threads": 2, "features": ["avx2"]}
    monkeypatch.setattr(report, "facts", lambda threads, quick: dict(here))
    content = report.merged(report.begin(tmp_path, 2, False), "bert", [a_row(case="bert", title="theirs")])
    content = report.merged(content, "gpt2", [a_row(title="old")])
    report.write(content, tmp_path)
    content = report.merged(report.begin(tmp_path, 2, False), "gpt2", [a_row(title="new")])
    assert [row["title"] for row in content["rows"]] == ["new", "theirs"]
    assert "old" in (tmp_path / "results.md").read_text() and content["versions"] == {"readable": "0.1"}

    here["processor"] = "another"
    assert report.begin(tmp_path, 2, False)["rows"] == [], "times of two machines do not mix"


def test_the_page_has_a_place_for_the_tables() -> None:
    text = report.PAGE.read_text()
    assert text.count(report.BEGIN) == text.count(report.END) == 1
    content = json.loads((report.HERE / "results.json").read_text())
    if "rows" in content:  # the page tells what the file says
        assert tables.page(content) in text


def test_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = checked(parser(None, 5), ["--venv-5", str(tmp_path), "--python", "ctranslate2=/else/python"])
    found = pythons(args)
    assert "transformers-5" not in found and found["ctranslate2"] == "/else/python"
    assert args.out == report.HERE and checked(parser(None, 5), ["--quick"]).out is None
    for wrong in (["--engines", "readable,frog"], ["--python", "frog=x"], ["--rounds", "0"]):
        with pytest.raises(SystemExit):
            checked(parser(None, 5), wrong)
    assert "unknown engines: frog" in capsys.readouterr().err


def test_ticks_do_not_print_into_each_other() -> None:
    from speed.picture import LEAST_RATIO, apart

    assert apart([32, 64, 128, 256, 512, 768, 1000]) == [32, 64, 128, 256, 512, 1000]
    assert apart([1, 2, 4]) == [1, 2, 4] and apart([7]) == [7] and apart([]) == []
    shown = apart(list(range(10, 2000, 10)))
    assert shown[-1] == 1990 and all(b >= LEAST_RATIO * a for a, b in zip(shown, shown[1:], strict=False))


def test_growth_is_told_and_drawn(tmp_path: Path) -> None:
    from speed.picture import draw

    growth = {
        "date": "2026-01-01", "rounds": 2,
        "context": {"lengths": [32, 64], "series": {"readable:float32": [30.0, 29.0], "without a cache": [20.0, 10.0]}},
        "batch": {"sizes": [1, 2], "series": {"optimized:int8": [60.0, 110.0]}},
        "cache": {
            "rows": 8, "layers": 12, "width": 768, "formula": 73728, "measured": 73740,
            "points": [{"tokens": 64, "resident": 64 * 8 * 73728}, {"tokens": 128, "resident": 128 * 8 * 73728}],
        },
    }  # fmt: skip
    told = growth_page(growth)
    assert "| without a cache | 20 | 10 |" in told and "| optimized(), int8 | 60 | 110 |" in told
    assert "73,728 bytes" in told and "73,740 bytes" in told
    draw(growth, tmp_path / "images" / "cost.svg")
    drawn = (tmp_path / "images" / "cost.svg").read_text()
    draw(growth, tmp_path / "again.svg")
    assert "without a cache" in drawn and drawn == (tmp_path / "again.svg").read_text()
