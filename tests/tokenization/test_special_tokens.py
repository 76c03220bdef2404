"""Special tokens: read, set, added; against transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenization import vocabularies as make
from tokenizers import AddedToken
from transformers import AutoTokenizer as Reference

from minitransformer import AutoTokenizer, TokenizerError


@pytest.fixture
def both(tmp_path: Path) -> tuple[Any, Any]:
    folder = make.gpt2(tmp_path)
    return AutoTokenizer.from_pretrained(folder), Reference.from_pretrained(folder)


def test_a_role_given_to_a_known_token_adds_none(both: tuple[Any, Any]) -> None:
    sizes = []
    for tokenizer in both:
        before = len(tokenizer)
        tokenizer.pad_token = tokenizer.eos_token
        assert len(tokenizer) == before
        sizes.append((tokenizer.pad_token_id, tokenizer.special_tokens_map, tokenizer.all_special_ids))
        tokenizer.padding_side = "left"
    assert sizes[0] == sizes[1]
    ours, theirs = both
    assert dict(ours(["a", "b c d"], padding=True)) == dict(theirs(["a", "b c d"], padding=True))
    ours.pad_token_id = theirs.pad_token_id = 5
    assert ours.pad_token == theirs.pad_token
    ours.pad_token = None
    assert ours.pad_token_id is None and "pad_token" not in ours.special_tokens_map


def test_adding_tokens(both: tuple[Any, Any]) -> None:
    results = []
    for tokenizer in both:
        new = tokenizer.add_special_tokens({"pad_token": "[PAD]", "additional_special_tokens": ["<a>", "<b>"]})
        new += tokenizer.add_tokens(["word", AddedToken("<c>", lstrip=True)])
        new += tokenizer.add_tokens("word")
        more = {"additional_special_tokens": ["<d>", "<a>"]}
        new += tokenizer.add_special_tokens(more, replace_additional_special_tokens=False)
        ids = tokenizer("x <a>wordy  <c> <d>", padding="max_length", max_length=20)["input_ids"]
        shown = tokenizer.decode(ids, skip_special_tokens=True), tokenizer.get_added_vocab(), len(tokenizer)
        results.append((new, ids, shown, tokenizer.special_tokens_map, tokenizer.vocab_size))
    assert results[0] == results[1]


def test_given_as_dictionaries_and_by_added_tokens_decoder(tmp_path: Path) -> None:
    token = {"content": "<mask>", "lstrip": False, "rstrip": True, "single_word": False, "normalized": False}
    decoder = {"4": {**token, "special": True}, "0": {**token, "content": "<s>", "special": True}}
    folder = make.roberta(tmp_path, mask_token={"__type": "AddedToken", **token}, added_tokens_decoder=decoder)
    ours, theirs = AutoTokenizer.from_pretrained(folder), Reference.from_pretrained(folder)
    text = "a <mask>  b<mask>  <s>  c"
    assert dict(ours(text, return_offsets_mapping=True)) == dict(theirs(text, return_offsets_mapping=True))


def test_roles_refuse_strangers(both: tuple[Any, Any]) -> None:
    ours = both[0]
    with pytest.raises(TokenizerError, match=r"'\[PAD\]' is not in the vocabulary.*add_special_tokens"):
        ours.pad_token = "[PAD]"
    with pytest.raises(TokenizerError, match="pad_token must be a string"):
        ours.pad_token = 3
    with pytest.raises(TokenizerError, match="no token with id 99999"):
        ours.pad_token_id = 99999
    with pytest.raises(TokenizerError, match="no special token 'padtoken'.*Did you mean 'pad_token'"):
        ours.add_special_tokens({"padtoken": "x"})
    assert ours.pad_token is None
