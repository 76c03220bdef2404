"""Ids framed by hand, and the names under which other programs ask a tokenizer the same, against transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenization import vocabularies as make
from transformers import AutoTokenizer as Reference

from minitransformer import AutoTokenizer, TokenizerError

FAMILIES = {
    "albert": make.albert,
    "bert": make.wordpiece,
    "ctrl": make.ctrl,
    "fsmt": make.fsmt,
    "gpt": make.gpt,
    "gpt2": make.gpt2,
    "gpt2, bos": lambda path: make.gpt2(path, add_bos_token=True),
    "marian": make.marian,
    "mbart": make.mbart,
    "mbart-50": lambda path: make.mbart(path, tokenizer_class="MBart50Tokenizer", src_lang="gl_ES"),
    "roberta": make.roberta,
    "t5": make.t5,
    "transformer-xl": make.transformer_xl,
}
FIRST, SECOND = [7, 8, 9], [10, 11]


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return FAMILIES[request.param](tmp_path)


@pytest.mark.parametrize("second", [None, SECOND, []], ids=["one text", "a pair", "a pair with an empty text"])
def test_ids_are_framed_as_a_call_frames_them(folder: Path, second: list[int] | None) -> None:
    ours, theirs = AutoTokenizer.from_pretrained(folder), Reference.from_pretrained(folder)
    ours("a" * 50, truncation=True, max_length=8, padding="max_length" if ours.pad_token else False)  # leaves no trace
    framed = ours.build_inputs_with_special_tokens(FIRST, second)
    types = ours.create_token_type_ids_from_sequences(FIRST, second)
    mask = ours.get_special_tokens_mask(FIRST, second)
    assert len(framed) == len(types) == len(mask)
    assert [i for i, special in zip(framed, mask, strict=True) if not special] == FIRST + (second or [])
    assert sum(mask) == ours.num_special_tokens_to_add(second is not None)
    if not getattr(theirs, "add_bos_token", False):  # their fast tokenizer forgets it here
        assert framed == theirs.build_inputs_with_special_tokens(FIRST, second)
    expected = theirs.create_token_type_ids_from_sequences(FIRST, second)
    if len(expected) == len(framed) and (theirs.is_fast or second is None):
        assert types == expected
    assert ours.get_special_tokens_mask(framed, already_has_special_tokens=True) == theirs.get_special_tokens_mask(
        framed, already_has_special_tokens=True
    )
    with pytest.raises(TokenizerError, match="pass token_ids_0 only"):
        ours.get_special_tokens_mask(FIRST, SECOND, already_has_special_tokens=True)


def test_a_call_and_framing_agree(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for pair in (None, "had a key"):
        bare = [
            tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("The queen", pair) if text is not None
        ]
        whole = tokenizer("The queen", pair, return_token_type_ids=True, return_special_tokens_mask=True)
        assert tokenizer.build_inputs_with_special_tokens(*bare) == whole["input_ids"]
        assert tokenizer.create_token_type_ids_from_sequences(*bare) == whole["token_type_ids"]
        assert tokenizer.get_special_tokens_mask(*bare) == whole["special_tokens_mask"]


def test_old_names_of_a_call(folder: Path) -> None:
    ours, theirs = AutoTokenizer.from_pretrained(folder), Reference.from_pretrained(folder)
    options: dict[str, Any] = {"max_length": 6, "truncation": True, "return_special_tokens_mask": True}
    assert dict(ours.encode_plus("The queen said", **options)) == dict(theirs.encode_plus("The queen said", **options))
    assert dict(ours.encode_plus("The queen", "a key")) == dict(theirs.encode_plus("The queen", "a key"))
    texts = make.LINES[:3]
    assert dict(ours.batch_encode_plus(texts, **options)) == dict(theirs.batch_encode_plus(texts, **options))
    pairs = list(zip(texts, texts[::-1], strict=True))
    assert dict(ours.batch_encode_plus(pairs)) == dict(theirs.batch_encode_plus(pairs))
    with pytest.raises(TokenizerError, match="takes a list of texts"):
        ours.batch_encode_plus("The queen")
    assert ours.vocab == ours.get_vocab() and ours.is_fast == theirs.is_fast
    assert ours.num_special_tokens_to_add(pair=True) == theirs.num_special_tokens_to_add(pair=True)
    assert ours.backend_tokenizer is ours.backend


@pytest.mark.parametrize("build", [make.marian, lambda path: make.mbart(path, src_lang="de_DE", tgt_lang="ro_RO")])
def test_as_target_tokenizer(build: Any, tmp_path: Path) -> None:
    ours, theirs = AutoTokenizer.from_pretrained(build(tmp_path)), Reference.from_pretrained(tmp_path)
    with ours.as_target_tokenizer():
        target = ours(make.LINES[:3])
    with theirs.as_target_tokenizer():
        assert dict(target) == dict(theirs(make.LINES[:3]))
    assert dict(target) == dict(ours(text_target=make.LINES[:3]))
    assert dict(ours(make.LINES[:3])) == dict(theirs(make.LINES[:3]))
    with pytest.raises(ZeroDivisionError), ours.as_target_tokenizer():
        _ = 1 / 0
    assert dict(ours(make.LINES[:3])) == dict(theirs(make.LINES[:3]))
    both = {"text_target": "a key", "text_pair_target": "the door"}
    assert dict(ours("The queen", **both)) == dict(theirs("The queen", **both))


def test_places_are_asked_for_by_name(tmp_path: Path) -> None:
    """The names of arguments are those of transformers."""
    ours, theirs = (auto.from_pretrained(make.wordpiece(tmp_path)) for auto in (AutoTokenizer, Reference))
    a, b = ours(make.LINES[:2]), theirs(make.LINES[:2])
    questions: list[tuple[str, dict[str, int]]] = [
        *((name, {"batch_index": 1}) for name in ("tokens", "sequence_ids", "word_ids")),
        *((f"token_to_{what}", {"batch_or_token_index": 1, "token_index": 2}) for what in ("sequence", "word")),
        ("token_to_chars", {"batch_or_token_index": 3}),
        *((f"word_to_{what}", {"batch_or_word_index": 1, "word_index": 1}) for what in ("tokens", "chars")),
        *((f"char_to_{what}", {"batch_or_char_index": 1, "char_index": 2}) for what in ("token", "word")),
        ("char_to_token", {"batch_or_char_index": 4, "sequence_index": 0}),
    ]
    for name, arguments in questions:
        assert getattr(a, name)(**arguments) == getattr(b, name)(**arguments), name
    whole = ours("The queen").convert_to_tensors("pt", prepend_batch_axis=True)
    assert whole["input_ids"].shape == ours("The queen", return_tensors="pt")["input_ids"].shape
    assert ours.pad(encoded_inputs={"input_ids": [[1], [1, 2]]}) == theirs.pad(
        encoded_inputs={"input_ids": [[1], [1, 2]]}
    )


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("return_tensor", "return_tensors"), ("max_len", "max_length"), ("pad", "padding"), ("truncate", "truncation")],
)
def test_an_option_that_does_not_exist_names_the_nearest(wrong: str, meant: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make.wordpiece(tmp_path))
    for call in (tokenizer, tokenizer.encode, tokenizer.encode_plus, tokenizer.tokenize):
        for kind in (TypeError, TokenizerError):
            with pytest.raises(kind, match=f"no option '{wrong}'. Did you mean '{meant}'"):
                call("a text", **{wrong: True})


def test_verbose_says_whether_a_long_text_is_worth_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make.wordpiece(tmp_path, model_max_length=4))
    tokenizer("a rabbit with a key to the door", verbose=False)
    assert not caplog.records
    tokenizer("a rabbit with a key to the door")
    assert "more than the 4" in caplog.text
