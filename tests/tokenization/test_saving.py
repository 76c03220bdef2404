"""Saved by ours, opened by transformers and by ours; saved by transformers, opened by ours."""

from __future__ import annotations

import copy
import pickle
import shutil
from pathlib import Path

import pytest
from tokenization import vocabularies as make
from tokenization.comparison import HARD, Comparison
from tokenization.test_families import FAST, SENTENCEPIECE, SLOW
from transformers import AutoTokenizer as Reference

from minitransformer import AutoTokenizer

TEXTS = make.LINES[:8] + HARD
ALL = {**FAST, **SENTENCEPIECE, **SLOW}


@pytest.mark.parametrize("name", ALL)
def test_round_trip(name: str, tmp_path: Path) -> None:
    build, config = ALL[name]
    source = build(tmp_path / "source", **config)
    if name in SENTENCEPIECE:
        pytest.importorskip("google.protobuf", reason="the reference reads SentencePiece files with protobuf")
    theirs, ours = Reference.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    for tokenizer, folder in ((ours, tmp_path / "ours"), (theirs, tmp_path / "theirs")):
        tokenizer.save_pretrained(folder)
        shutil.copy(source / "config.json", folder)
    assert Comparison(ours, Reference.from_pretrained(tmp_path / "ours")).everything(TEXTS, calls=8).equal()
    again = AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert type(again) is type(ours)
    assert Comparison(again, theirs).everything(TEXTS, calls=8).equal()
    assert Comparison(AutoTokenizer.from_pretrained(tmp_path / "theirs"), theirs).everything(TEXTS, calls=8).equal()


def test_changes_are_saved(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make.gpt2(tmp_path / "a"))
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    tokenizer.model_max_length = 77
    tokenizer.add_special_tokens({"additional_special_tokens": ["<user>"]})
    tokenizer.add_tokens(["newword"])
    tokenizer(["a", "b c"], padding=True, truncation=True, max_length=2)  # leaves no trace in the files
    tokenizer.save_pretrained(tmp_path / "b")
    theirs = Reference.from_pretrained(tmp_path / "b")
    assert (theirs.pad_token_id, theirs.padding_side, theirs.model_max_length) == (
        tokenizer.pad_token_id,
        "left",
        77,
    )
    comparison = Comparison(AutoTokenizer.from_pretrained(tmp_path / "b"), theirs)
    assert comparison.everything([*TEXTS, "a newword <user> b"], calls=8).equal()


def test_saving_onto_itself_and_unknown_settings(tmp_path: Path) -> None:
    folder = make.t5(tmp_path, chat_template="{{ x }}", extra_ids=10)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    before = (folder / "spiece.model").read_bytes()
    tokenizer.save_pretrained(folder)
    assert (folder / "spiece.model").read_bytes() == before
    assert AutoTokenizer.from_pretrained(folder).unused_settings["chat_template"] == "{{ x }}"


@pytest.mark.parametrize("build", [make.wordpiece, make.marian])
def test_pickle_and_copy(build: object, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(build(tmp_path))  # type: ignore[operator]
    for other in (pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer)):
        assert other(make.LINES[0])["input_ids"] == tokenizer(make.LINES[0])["input_ids"]
