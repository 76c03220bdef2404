"""The command line: what goes in, what comes out, and how it fails."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_folders
from typer.testing import CliRunner, Result

from minitransformer import __version__, pipeline
from minitransformer.cli import app


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folders.bert(tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folders.gpt2(tmp_path_factory.mktemp("gpt2")))


def run(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(words), input=stdin)


def answers(result: Result) -> list[Any]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


TEXTS = ["paris is the [MASK] of france .", "the [MASK] sleeps ."]


def test_run_answers_as_the_pipeline_does(bert: str) -> None:
    wanted = pipeline("fill-mask", model=bert)(TEXTS, top_k=2)
    assert answers(run("run", "fill-mask", *TEXTS, "--model", bert, "--option", "top_k=2")) == wanted


def test_run_reads_a_file_and_standard_input(bert: str, tmp_path: Path) -> None:
    options = ("--model", bert, "--option", "top_k=1", "--batch-size", "2")
    wanted = answers(run("run", "fill-mask", *TEXTS, *options))
    file = tmp_path / "texts.txt"
    file.write_text("\n".join([TEXTS[0], "", TEXTS[1]]) + "\n")
    from_file = run("run", "fill-mask", "--file", str(file), *options)
    assert _close(answers(from_file), wanted)
    assert "1 blank line" in from_file.stderr
    assert _close(answers(run("run", "fill-mask", *options, stdin="\n".join(TEXTS))), wanted)
    assert _close(answers(run("run", "fill-mask", "--file", "-", *options, stdin="\n".join(TEXTS))), wanted)


def _close(a: list[Any], b: list[Any]) -> bool:
    """Equal but for the rounding of another batch."""
    a, b = ([[(x["token_str"], round(x["score"], 5)) for x in answer] for answer in side] for side in (a, b))
    return a == b


def test_run_writes_a_file_whole_or_not_at_all(bert: str, tmp_path: Path) -> None:
    asked = ("run", "fill-mask", "--model", bert, "--option", "top_k=1", "--output")
    wanted = run(*asked[:-1], *TEXTS).stdout
    file = tmp_path / "answers.jsonl"
    assert run(*asked, str(file), *TEXTS).stdout == ""
    assert file.read_text() == wanted
    failed = run(*asked, str(file), TEXTS[0], "no mask")
    assert failed.exit_code == 2 and file.read_text() == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["answers.jsonl"]
    nowhere = run(*asked, str(tmp_path / "no" / "where"), TEXTS[0])
    assert nowhere.exit_code == 2 and "cannot write" in nowhere.stderr


def test_run_takes_json_inputs(tmp_path: Path) -> None:
    folder = str(tiny_folders.bart(tmp_path / "qa", "ForQuestionAnswering"))
    question = {"question": "who sleeps ?", "context": "the cat sleeps because it is tired ."}
    wanted = pipeline("question-answering", model=folder)(**question)
    asked = ("run", "question-answering", "--model", folder)
    assert answers(run(*asked, "--json", json.dumps(question))) == [wanted]
    with_context = run(*asked, question["question"], "--option", f"context={question['context']}")
    assert answers(with_context) == [wanted]


def test_run_reads_options_as_json_or_text(tmp_path: Path) -> None:
    labels = {"0": "contradiction", "1": "neutral", "2": "entailment"}
    folder = str(tiny_folders.bert(tmp_path / "nli", "ForSequenceClassification", id2label=labels))
    asked = ("run", "zero-shot-classification", "the cat sleeps .", "--model", folder, "--option")
    as_list = answers(run(*asked, 'candidate_labels=["cat", "time"]'))
    assert sorted(as_list[0]["labels"]) == ["cat", "time"]
    assert answers(run(*asked, "candidate_labels=cat, time")) == as_list


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fill-musk", "x"], "fill-mask"),
        (["fill-mask", "no mask here"], "mask"),
        (["fill-mask", "a [MASK]", "--option", "top_q=3"], "top_k"),
        (["fill-mask", "a [MASK]", "--option", "top_k"], "KEY=VALUE"),
        (["fill-mask", "a [MASK]", "--dtype", "float99"], "float99"),
        (["fill-mask", "a [MASK]", "--device", "toaster"], "toaster"),
        (["fill-mask", "a [MASK]", "--file", "no-such-file"], "not both"),
        (["fill-mask", "--file", "no-such-file"], "no-such-file"),
        (["fill-mask", "--json", "{not json"], "not JSON"),
    ],
)
def test_run_fails_with_one_clear_line(words: list[str], said: str, bert: str) -> None:
    result = run("run", *words, "--model", bert)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_missing_folder_is_named(tmp_path: Path) -> None:
    for command in (["run", "fill-mask", "x", "--model"], ["inspect"]):
        result = run(*command, str(tmp_path / "nothing"))
        assert result.exit_code == 2
        assert "nothing" in result.stderr


def test_inspect_shows_config_modules_and_map(gpt2: str, bert: str) -> None:
    result = run("inspect", gpt2)
    assert result.exit_code == 0, result.output
    for expected in (
        "GPT2LMHeadModel",
        "n_embd",
        "decoder.blocks.{i}.attn.query.weight",
        "h.{i}.attn.c_attn.weight",
        "Split",
    ):
        assert expected in result.stdout
    masked = run("inspect", bert)
    assert "cls.predictions.decoder.weight" in masked.stdout
    assert "BertForMaskedLM" in masked.stdout


def test_inspect_counts_parameters_as_the_model_does(gpt2: str) -> None:
    from minitransformer import AutoModelForCausalLM

    assert f"{AutoModelForCausalLM.from_pretrained(gpt2).num_parameters():,}" in run("inspect", gpt2).stdout


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_inspect_reads_headers_only(tmp_path: Path) -> None:
    """A gigabyte of weights that exist only as a header: nothing of it is read, let alone held."""
    folder = tiny_folders.gpt2(tmp_path / "gpt2", n_layer=1)
    header = json.loads((folder / "model.safetensors").read_bytes()[8:].split(b"}}")[0] + b"}}")
    config = json.loads((folder / "config.json").read_text())
    rows = 2**28 // config["n_embd"]
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": rows}))
    end = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            if name == "transformer.wte.weight":
                tensor["shape"][0] = rows
            size = 4 * math.prod(tensor["shape"])
            tensor["data_offsets"] = [end, end + size]
            end += size
    encoded = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.truncate(8 + len(encoded) + end)  # a sparse file
    code = (
        "from minitransformer.cli import app\n"
        f"try: app(['inspect', {str(folder)!r}])\nexcept SystemExit as end: assert not end.code\n"
        "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{rows} x {config['n_embd']}" in done.stdout
    assert int(done.stdout.split()[-1]) / 1024 < 700  # MiB at the peak, of which PyTorch is the most


def test_demo_answers_nine_tasks_and_looks_inside() -> None:
    result = run("demo")
    assert result.exit_code == 0, result.output
    for expected in ("toy checkpoints", "POSITIVE", "cosine", "guitar", "[CLS]", "float64", "Parity", "pooler"):
        assert expected in result.stdout


def test_version_and_help_start_without_torch() -> None:
    code = (
        "import sys\nfrom minitransformer.cli import app\n"
        "try: app(['--version'])\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [__version__, "False"]
