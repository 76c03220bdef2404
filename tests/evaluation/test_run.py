"""``evaluate`` and ``metric``: files in, numbers and files out, and how they fail; the same on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_folders
from typer.testing import CliRunner, Result

from minitransformer import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from minitransformer.cli import app
from minitransformer.errors import DataError, PipelineError
from minitransformer.evaluation import EVALUATIONS, evaluate, metric

LABELS = {"0": "bad", "1": "good"}
ROWS = [("the cat sleeps .", "good"), ("paris is tired .", "bad"), ("who ?", "good")]
RECORDS = [{"text": text, "label": label} for text, label in ROWS]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bert")
    return str(tiny_folders.bert(folder, "ForSequenceClassification", id2label=LABELS))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folders.gpt2(tmp_path_factory.mktemp("gpt2")))


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "data.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS))
    return str(path)


# In Python ----------------------------------------------------------------------------------------------------


def test_predictions_come_back(bert: str, data: str, tmp_path: Path) -> None:
    """Written beside the references, and scored again without the model."""
    output = tmp_path / "predictions.jsonl"
    calls: list[tuple[int, int]] = []
    scores = evaluate("sentiment-analysis", bert, data, output=output, progress=lambda *place: calls.append(place))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["reference"] for line in lines] == ["good", "bad", "good"]
    assert {line["prediction"] for line in lines} <= set(LABELS.values())
    assert not list(tmp_path.glob("*.part"))
    assert evaluate("sentiment-analysis", data=data, predictions=output) == scores


def test_data_in_any_form(bert: str, data: str) -> None:
    scores = evaluate("text-classification", bert, data)
    assert evaluate("text-classification", bert, RECORDS) == scores
    assert evaluate("text-classification", bert, iter(RECORDS)) == scores
    assert evaluate("text-classification", bert, RECORDS, top_k=1, return_all_scores=False) == scores
    assert evaluate("text-classification", bert, Path(data), columns={"label": "label", "text": "text"}) == scores
    other_names = [{"sentence": text, "gold": label} for text, label in ROWS]
    assert evaluate("text-classification", bert, other_names, columns={"text": "sentence", "label": "gold"}) == scores
    assert evaluate("text-classification", bert, [data, data])["records"] == 6
    assert evaluate("text-classification", bert, data, limit=2)["records"] == 2
    assert evaluate("text-classification", bert, RECORDS, where={"label": ["good"]})["records"] == 2
    assert RECORDS[0] == {"text": ROWS[0][0], "label": "good"}  # ours, unchanged


def test_predictions_in_any_form(tmp_path: Path) -> None:
    def scored(name: str, content: str, **options: Any) -> dict[str, Any]:
        (tmp_path / name).write_text(content)
        return evaluate("text-classification", data=RECORDS, predictions=tmp_path / name, **options)

    right = scored("a.txt", "good\nbad\ngood\n")
    assert right["accuracy"] == right["macro_f1"] == 100
    assert scored("a.json", '["good", "bad", "good"]') == right
    assert scored("a.jsonl", "".join(f'{{"prediction": "{label}"}}\n' for _, label in ROWS)) == right
    assert scored("wrong.txt", "good\ngood\ngood\n")["accuracy"] == pytest.approx(200 / 3)
    assert scored("a.txt", "good\nbad\ngood\n", limit=2)["records"] == 2
    for name, content, said in (
        ("b.txt", "good\nbad\n", "2 predictions for 3 records"),
        ("b.txt", "\n", "is empty"),
        ("b.json", '"good"', "list of predictions"),
        ("b.json", '["good", "bad", 3]', "prediction 2 is a int, not a str"),
        ("b.json", '["good",\n', "line 2: this is not JSON"),
        ("b.jsonl", '{"prediction": "good"}\n"bad"\n', "line 2: this is no"),
        ("b.jsonl", '{"prediction": "good"}\n{"prediction"\n', "line 2: this is not JSON"),
    ):
        with pytest.raises(DataError, match=said):
            scored(name, content)
    with pytest.raises(DataError, match="cannot be read"):
        evaluate("text-classification", data=RECORDS, predictions=tmp_path / "nothing.txt")


def test_metric_measures_a_model_in_training(bert: str) -> None:
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(bert), AutoTokenizer.from_pretrained(bert)
    measure = metric("text-classification", RECORDS, tokenizer, limit=2, batch_size=1)
    model.train()
    first = measure(model)
    assert model.training and all(module.training for module in model.modules())
    assert measure(model) == first  # dropout was off
    wanted = evaluate("text-classification", bert, RECORDS[:2])
    assert first == {name: wanted[name] for name in ("accuracy", "macro_f1")}  # no counts
    model.head.output.bias.data += 100 * (1 - 2 * model.head.output.bias.new_tensor([0, 1]))
    assert measure(model)["accuracy"] == 50  # now all is bad: it is measured anew


def test_metric_leaves_out_counts_and_the_loss(gpt2: str) -> None:
    """The training has a loss of its own."""
    measure = metric("text-generation", [{"text": "the cat sleeps ."}], AutoTokenizer.from_pretrained(gpt2))
    assert measure(AutoModelForCausalLM.from_pretrained(gpt2)).keys() == {"perplexity", "bits_per_byte"}


def test_metric_fails_before_the_training(bert: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bert)
    with pytest.raises(DataError, match="no 'label'"):
        metric("text-classification", [{"text": "x"}], tokenizer)
    with pytest.raises(TypeError, match="no option 'truncate'. Did you mean 'truncation'"):
        metric("text-classification", RECORDS, tokenizer, {"truncate": True})
    with pytest.raises(PipelineError, match="no evaluation for task 'text-clasification'. Did you mean"):
        metric("text-clasification", RECORDS, tokenizer)


def test_every_task_has_an_evaluation_or_none_says_so() -> None:
    from minitransformer.pipelines import TASKS

    assert set(TASKS) - set(EVALUATIONS) == {"text2text-generation"}
    for module, name in EVALUATIONS.values():
        kind = getattr(__import__(f"minitransformer.evaluation.{module}", fromlist=[name]), name)
        assert EVALUATIONS[kind.task] == (module, name)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"data": RECORDS}, "a model, a file of predictions, or baseline"),
        ({"data": RECORDS, "baseline": True, "predictions": "x"}, "one of them"),
        ({"baseline": True}, "--data FILE"),
        ({"data": [], "baseline": True}, "the data is empty"),
        ({"data": RECORDS, "baseline": True, "limit": 0}, "limit must be"),
        ({"data": RECORDS, "baseline": True, "format": "tsv"}, "format is for files"),
        ({"data": "no-such-file.tsv", "baseline": True}, "no-such-file.tsv"),
        ({"data": [{"text": "x", "label": None}], "baseline": True}, "row 0: 'label' is empty"),
        ({"data": [{"text": 3, "label": "good"}], "baseline": True}, "'text' must be a text, not int"),
        ({"data": RECORDS, "baseline": True, "output": "no-such-folder/x.jsonl"}, "no folder no-such-folder"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises((PipelineError, DataError), match=said):
        evaluate("text-classification", **arguments)


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("text-classification", {"top_k": 3}),
        ("text-classification", {"return_all_scores": True}),
        ("summarization", {"return_tensors": True}),
        ("translation", {"num_return_sequences": 2}),
        ("question-answering", {"top_k": 2}),
    ],
)
def test_options_that_give_another_form_are_named_before_the_work(task: str, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(PipelineError, match=f"{name}=.* gives answers of another form .*: leave it out"):
        evaluate(task, "nowhere", RECORDS, **options)


@pytest.mark.parametrize(
    ("module", "package", "task", "record"),
    [
        ("sacrebleu.metrics", "sacrebleu", "translation", {"source": "x", "target": "y"}),
        ("nltk.stem.porter", "nltk", "summarization", {"source": "x", "target": "y"}),
    ],
)
def test_a_missing_library_is_named_before_the_work(
    module: str, package: str, task: str, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PipelineError, match=rf"package {package}: pip install 'minitransformer\[train\]'"):
        evaluate(task, "no-such-folder/at-all", [record])  # the model is not even looked for


# On the command line ------------------------------------------------------------------------------------------


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", *words])


def printed(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    scores: dict[str, Any] = json.loads(line)
    return scores


def test_command_prints_what_the_function_gives(bert: str, data: str, gpt2: str, tmp_path: Path) -> None:
    assert printed(run("sentiment-analysis", "-m", bert, "-d", data)) == evaluate("text-classification", bert, data)
    book = tmp_path / "book.txt"
    book.write_text("the cat sleeps .\n\nwho sleeps ?\n")
    asked = ("text-generation", "--model", gpt2, "--data", str(book), "--option", "window=8", "--batch-size", "2")
    wanted = evaluate("text-generation", gpt2, book, window=8, batch_size=2)
    assert printed(run(*asked)) == wanted
    assert printed(run(*asked, "--format", "lines", "--limit", "1"))["records"] == 1


def test_command_takes_columns_and_files(tmp_path: Path) -> None:
    file, train, found = tmp_path / "test.tsv", tmp_path / "train.tsv", tmp_path / "found.txt"
    file.write_text("1\tthe cat\tA\n0\tthe dog\tB\n")
    train.write_text("0\tx\tB\n")
    found.write_text("B\nB\n")
    asked = ("text-classification", "--data", str(file), "--columns", "text=1,label=2")
    baseline = printed(run(*asked, "--baseline", "--train", str(train), "--output", str(tmp_path / "out.jsonl")))
    assert baseline["accuracy"] == 50
    assert baseline == printed(run(*asked, "--predictions", str(found)))
    assert baseline == printed(run(*asked, "--predictions", str(tmp_path / "out.jsonl")))
    renamed = printed(run(*asked, "--predictions", str(found), "--option", 'rename_labels={"A": "B"}'))
    assert renamed["accuracy"] == 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sentiment", "--baseline"), "text-classification"),
        (("sentiment-analysis",), "baseline"),
        (("sentiment-analysis", "--baseline"), "--train"),
        (("sentiment-analysis", "--baseline", "--columns", "text"), "NAME=COLUMN"),
        (("sentiment-analysis", "--baseline", "--columns", "text=txt,label=label"), "'text'"),
        (("sentiment-analysis", "--baseline", "--option", "top_q=3"), "top_k"),
        (("sentiment-analysis", "--baseline", "--format", "tvs"), "tsv"),
        (("sentiment-analysis", "--predictions", "nothing.txt"), "nothing.txt"),
    ],
)
def test_command_fails_with_one_clear_line(words: tuple[str, ...], said: str, data: str) -> None:
    result = run(*words, "--data", data)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == "" and "Traceback" not in result.output


def test_ready_predictions_are_scored_without_torch(data: str, tmp_path: Path) -> None:
    (tmp_path / "found.txt").write_text("good\ngood\ngood\n")
    words = ["evaluate", "text-classification", "--data", data, "--predictions", str(tmp_path / "found.txt")]
    code = (
        f"import sys\nfrom minitransformer.cli import app\n"
        f"try: app({words!r})\nexcept SystemExit as end: assert not end.code\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["False"]
