"""``minitransformer train``: one command from a text file to a folder, which the same command takes up again."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import tiny_folders
from processes import ROOT, torchrun
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from minitransformer.cli import app
from minitransformer.training import logs

RECIPE = """
[tokenizer]
kind = "wordpiece"
vocab_size = 80
lowercase = true
[model]
architecture = "bert"
[model.config]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 32
max_position_embeddings = 32
[objective]
name = "masked_lm"
packing = false
[data.train]
files = "text.txt"
format = "lines"
[training]
steps = 4
batch_size = 2
precision = "float64"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("\n".join(tiny_folders.TEXT.split(" . ")))
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path / "tiny.toml"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(logs, "draw_curve", lambda *_: None)
    monkeypatch.setattr(logs, "_tensorboard", lambda *_: None)
    monkeypatch.chdir(tmp_path)


def train(*words: str) -> Result:
    return CliRunner().invoke(app, ["train", *words])


def test_train_tells_where_the_model_is(recipe: Path, tmp_path: Path) -> None:
    result = train("tiny.toml")
    assert result.exit_code == 0, result.output
    assert result.stdout == "runs/tiny/final\n"
    for said in ("5 records to learn from", "a new BertForMaskedLM with", "4 steps, in runs/tiny"):
        assert said in result.stderr
    assert json.loads(Path("runs/tiny/final/config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    assert not logging.getLogger("minitransformer").handlers  # the command leaves nothing behind


def test_the_first_recipe_of_the_examples() -> None:
    """As its page shows it, but for the number of steps."""
    result = train(str(ROOT / "examples" / "recipes" / "tiny.toml"), "--set", "training.steps=3")
    assert result.exit_code == 0, result.output
    assert result.stdout == "runs/tiny/final\n" and "18 records to learn from, 2 to validate" in result.stderr
    words = ["run", "fill-mask", "This is the [MASK] that Jack built.", "--model", "runs/tiny/final"]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 0 and len(json.loads(answer.stdout)) == 5


def test_options_of_the_command(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "text.txt").rename(tmp_path / "data" / "words.txt")
    options = ("--data", "data", "--output", "out", "--set", "data.train.files=words.txt", "--set", "training.steps=2")
    first = train("tiny.toml", *options, "--minutes", "1e-9")
    assert first.exit_code == 0, first.output
    assert first.stdout == "out\n" and "stopped after 1 steps (minutes); start again to go on" in first.stderr
    assert train("tiny.toml", *options).stdout == "out/final\n"


def test_check_only(recipe: Path) -> None:
    result = train("tiny.toml", "--check")
    assert result.exit_code == 0 and result.stdout == "" and "4 steps" in result.stderr
    assert not Path("runs/tiny/final").exists() and not Path("runs/tiny/log.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tinny.toml"], "there is no recipe tinny.toml. Did you mean 'tiny.toml'"),
        (["tiny.toml", "--set", "training.step=3"], "[training]: the trainer has no option 'step'."),
        (["tiny.toml", "--set", "steps=3"], "not of the form TABLE.KEY=VALUE"),
        (["tiny.toml", "--data", "nowhere"], "there is no data folder nowhere"),
        (["tiny.toml", "--set", "data.train.files=txt.txt"], "Did you mean 'text.txt'"),
        (["tiny.toml", "--set", "data.train.columns.text=sentence"], "text.txt, line 1: there is no column 'sentence'"),
        (["tiny.toml", "--minutes", "0"], "minutes must be a number above 0"),
    ],
)
def test_mistakes_are_one_clear_line(words: list[str], said: str, recipe: Path) -> None:
    result = train(*words)
    assert result.exit_code == 2
    assert said in result.stderr and result.stdout == "" and "Traceback" not in result.output


def test_several_processes_learn_what_one_does(recipe: Path, tmp_path: Path) -> None:
    """A new vocabulary, too: the first process learns it, the others read it."""
    options = (
        "--set",
        "model.config.hidden_dropout_prob=0.0",
        "--set",
        "model.config.attention_probs_dropout_prob=0.0",
    )
    assert train("tiny.toml", "--output", "one", *options).exit_code == 0
    done = torchrun("train", "tiny.toml", "--output", "two", *options, folder=tmp_path)
    assert done.stdout == "two/final\n", done.stderr
    assert done.stderr.count("5 records to learn from") == 1  # the others are silent
    one, two = (load_file(f"{name}/final/model.safetensors") for name in ("one", "two"))
    assert all((one[name] - two[name]).abs().max() < 1e-9 for name in one)
    assert Path("one/final/vocab.txt").read_bytes() == Path("two/final/vocab.txt").read_bytes()
