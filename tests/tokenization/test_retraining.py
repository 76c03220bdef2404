"""A new vocabulary for the rules of an old tokenizer, against transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenization import vocabularies as make
from tokenizers import AddedToken
from transformers import AutoTokenizer as Reference

from minitransformer import AutoTokenizer, TokenizerError

FAMILIES: dict[str, Any] = {
    "albert": make.albert,
    "bert": make.wordpiece,
    "gpt": make.gpt,
    "gpt2": make.gpt2,
    "gpt2, bos": lambda path: make.gpt2(path, add_bos_token=True),
    "mbart": make.mbart,
    "roberta": lambda path: make.roberta(path, model_max_length=64),
    "t5": make.t5,
}
NEW = make.make_lines(300, seed=9)
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "with new tokens": {"new_special_tokens": ["<one>", AddedToken("<two>", lstrip=True)]},
    "with options": {"min_frequency": 3, "show_progress": False, "length": len(NEW)},
}


def rules(backend: Any) -> dict[str, Any]:
    """Everything in a backend but what was learnt, which the library decides by chance where counts are equal."""
    state = json.loads(backend.to_str())
    model = {name: value for name, value in state.pop("model").items() if name not in ("vocab", "merges", "unk_id")}
    return {**state, "model": model}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_new_vocabulary_with_the_old_rules(name: str, way: str, tmp_path: Path) -> None:
    if "albert" in name or "t5" in name or "mbart" in name:
        pytest.importorskip("google.protobuf", reason="the reference reads SentencePiece files with protobuf")
    folder = FAMILIES[name](tmp_path / "old")
    options = dict(WAYS[way])
    if name in ("albert", "t5", "mbart"):
        options.pop("min_frequency", None)
    batches = [NEW[at : at + 50] for at in range(0, len(NEW), 50)]
    old = AutoTokenizer.from_pretrained(folder)
    before = old(make.LINES[:5])
    ours = old.train_new_from_iterator(iter(batches), 400, **options)
    theirs = Reference.from_pretrained(folder).train_new_from_iterator(iter(batches), 400, **options)
    assert type(ours) is type(old)
    assert old(make.LINES[:5]) == before, "the old one is as it was"
    assert rules(ours.backend) == rules(theirs.backend_tokenizer)
    texts = [*NEW[:20], "<one> a<two> <mask> [MASK] </s> <extra_id_0>"]
    if "gpt2" in name or name == "roberta":
        assert ours.get_vocab() == theirs.get_vocab()
        assert dict(ours(texts)) == dict(theirs(texts))
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.all_special_ids == theirs.all_special_ids
    assert (ours.model_max_length, len(ours)) == (theirs.model_max_length, len(theirs))
    ours.save_pretrained(tmp_path / "new")
    for auto in (AutoTokenizer, Reference):
        assert dict(auto.from_pretrained(tmp_path / "new")(texts)) == dict(ours(texts))


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2, bos", "albert"])
def test_special_tokens_get_new_names(name: str, tmp_path: Path) -> None:
    folder = FAMILIES[name](tmp_path / "old")
    ours, theirs = AutoTokenizer.from_pretrained(folder), Reference.from_pretrained(folder)
    names = {token: f"<{i}>" for i, token in enumerate(ours.all_special_tokens)}
    new = [t.train_new_from_iterator(NEW, 400, special_tokens_map=names) for t in (ours, theirs)]
    assert rules(new[0].backend) == rules(new[1].backend_tokenizer)
    assert new[0].special_tokens_map == new[1].special_tokens_map
    assert new[0].all_special_ids == new[1].all_special_ids
    assert new[0]("")["input_ids"] == new[1]("")["input_ids"]


def test_what_cannot_be_learnt_says_why(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="rules of its own"):
        AutoTokenizer.from_pretrained(make.ctrl(tmp_path / "a")).train_new_from_iterator(NEW, 400)
    bert = AutoTokenizer.from_pretrained(make.wordpiece(tmp_path / "b"))
    for texts, options, message in (
        ([3], {}, "no vocabulary of 400 tokens could be learnt"),
        (NEW, {"min_frequency": "x"}, "no vocabulary of 400 tokens could be learnt"),
        (NEW, {"min_frequenzy": 2}, "no option 'min_frequenzy'. Did you mean 'min_frequency'"),
    ):
        with pytest.raises(TokenizerError, match=message):
            bert.train_new_from_iterator(texts, 400, **options)
