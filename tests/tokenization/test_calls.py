"""What a call takes and gives, against transformers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenization import vocabularies as make
from transformers import AutoTokenizer as Reference

from minitransformer import AutoTokenizer, TokenizerError
from minitransformer.tokenization import Encoding, Tokenizer

TEXTS = ["The queen said it was curious.", "Alice had a key", "a"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.wordpiece(tmp_path_factory.mktemp("bert"), model_max_length=12)


@pytest.fixture
def ours(bert: Path) -> Tokenizer:
    return AutoTokenizer.from_pretrained(bert)


@pytest.fixture
def theirs(bert: Path) -> Any:
    return Reference.from_pretrained(bert)


@pytest.mark.parametrize("kind", ["pt", "np"])
@pytest.mark.parametrize("texts", [TEXTS, TEXTS[0], [""]])
def test_tensors(ours: Tokenizer, theirs: Any, texts: Any, kind: str) -> None:
    options = {"padding": True, "return_tensors": kind, "return_offsets_mapping": True, "return_length": True}
    a, b = ours(texts, **options), theirs(texts, **options)
    assert set(a) == set(b)
    for name in b:
        assert type(a[name]) is type(b[name]) and a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(np.asarray(a[name]), np.asarray(b[name]))


def test_empty_tensor(tmp_path: Path) -> None:
    ours, theirs = (auto.from_pretrained(make.gpt2(tmp_path)) for auto in (AutoTokenizer, Reference))
    a, b = ours("", return_tensors="pt"), theirs("", return_tensors="pt")
    assert a["input_ids"].shape == b["input_ids"].shape == (1, 0)
    assert a["input_ids"].dtype == b["input_ids"].dtype == torch.int64


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"text_pair": "A little door."},
        {"text_pair": ""},
        {"return_token_type_ids": False, "return_attention_mask": False},
        {"add_special_tokens": False},
        {"max_length": 5},
        {"truncation": True},
        {"truncation": "only_first", "max_length": 5, "return_overflowing_tokens": True, "stride": 2},
        {"padding": "max_length"},
        {"padding": "max_length", "max_length": 20, "padding_side": "left"},
        {"padding": "longest", "pad_to_multiple_of": 8},
        {"split_special_tokens": True},
    ],
)
def test_one_text(ours: Tokenizer, theirs: Any, options: dict[str, Any]) -> None:
    text = "The queen [MASK] said it was curious."
    assert dict(ours(text, **options)) == dict(theirs(text, **options))
    assert ours.encode(text, **options) == theirs.encode(text, **options)


def test_pairs_in_a_list(ours: Tokenizer, theirs: Any) -> None:
    pairs = [("the queen", "a key"), ("Alice", "")]
    assert dict(ours(pairs)) == dict(theirs(pairs))
    assert dict(ours(["the", "queen"], ["key"], is_split_into_words=True)) == dict(
        theirs(["the", "queen"], ["key"], is_split_into_words=True)
    )


def test_targets(tmp_path: Path) -> None:
    """text_target: in the target language, returned as labels."""
    ours = AutoTokenizer.from_pretrained(make.marian(tmp_path))
    theirs = Reference.from_pretrained(tmp_path)
    source, target = make.LINES[:5], make.LINES[5:10]
    assert dict(ours(source, text_target=target)) == dict(theirs(source, text_target=target))
    assert dict(ours(text_target=target)) == dict(theirs(text_target=target))
    assert ours(source)["input_ids"] == theirs(source)["input_ids"]
    assert ours.batch_decode(ours(text_target=target)["input_ids"], skip_special_tokens=True) == theirs.batch_decode(
        theirs(text_target=target)["input_ids"], skip_special_tokens=True
    )


def test_separate_vocabularies(tmp_path: Path) -> None:
    folder = make.marian(tmp_path, separate_vocabs=True)
    vocabulary = AutoTokenizer.from_pretrained(make.marian(tmp_path / "one")).get_vocab()
    body = [token for token in vocabulary if token not in ("</s>", "<unk>", "<pad>")]
    order = ["</s>", "<unk>", *reversed(body), "<pad>"]
    make.write(folder / "target_vocab.json", {token: i for i, token in enumerate(order)})
    ours, theirs = AutoTokenizer.from_pretrained(folder), Reference.from_pretrained(folder)
    both = ours(make.LINES[:5], text_target=make.LINES[:5])
    assert dict(both) == dict(theirs(make.LINES[:5], text_target=make.LINES[:5]))
    assert both["labels"] != both["input_ids"]
    assert ours.batch_decode(both["labels"]) == theirs.batch_decode(both["labels"])


@pytest.mark.parametrize("change", [3, -3], ids=["larger", "smaller"])
def test_a_target_vocabulary_of_another_size(change: int, tmp_path: Path) -> None:
    folder = make.marian(tmp_path, separate_vocabs=True)
    vocabulary = AutoTokenizer.from_pretrained(make.marian(tmp_path / "one")).get_vocab()
    order = [token for token in sorted(vocabulary, key=vocabulary.__getitem__) if token != "<pad>"]
    order = [*(order[:change] if change < 0 else order), *(f"▁new{i}" for i in range(change)), "<pad>"]
    make.write(folder / "target_vocab.json", {token: i for i, token in enumerate(order)})
    ours = AutoTokenizer.from_pretrained(folder)
    last = len(order) - 2
    assert ours.decode([last, 0], skip_special_tokens=True) == order[last].replace("▁", " ").strip()
    with pytest.raises(TokenizerError, match=f"no token with id {len(order)}"):
        ours.decode([len(order)])
    assert ours(make.LINES[0])["input_ids"]  # the source is read with its own vocabulary


@pytest.mark.parametrize(
    ("build", "languages"),
    [
        (make.mbart, ["en_XX", "ro_RO", "fr_XX"]),
        (make.nllb, ["eng_Latn", "ron_Latn", "fra_Latn"]),
        (make.m2m100, ["en", "ro", "fr"]),
    ],
)
def test_languages(build: Any, languages: list[str], tmp_path: Path) -> None:
    pytest.importorskip("google.protobuf", reason="the reference reads SentencePiece files with protobuf")
    source, target, other = languages
    ours = AutoTokenizer.from_pretrained(build(tmp_path, src_lang=source, tgt_lang=target))
    theirs = Reference.from_pretrained(tmp_path)
    for tokenizer in (ours, theirs):
        tokenizer.src_lang = other
    assert dict(ours("hello", text_target="world")) == dict(theirs("hello", text_target="world"))
    assert dict(ours("hello")) == dict(theirs("hello"))
    if hasattr(theirs, "lang_code_to_id"):
        assert ours.lang_code_to_id == theirs.lang_code_to_id
    again = AutoTokenizer.from_pretrained(ours.save_pretrained(tmp_path / "again") and tmp_path / "again")
    assert (again.src_lang, again.tgt_lang, dict(again("hello"))) == (other, target, dict(ours("hello")))
    opened = Reference.from_pretrained(tmp_path / "again")
    assert dict(opened("hello", text_target="world")) == dict(theirs("hello", text_target="world"))
    for wrong in ("xx", None, 3):
        with pytest.raises(TokenizerError, match="src_lang .* is not known.* Known are "):
            ours.src_lang = wrong


def test_ids_that_only_fill_the_table_of_m2m100(tmp_path: Path) -> None:
    ours = AutoTokenizer.from_pretrained(make.m2m100(tmp_path))
    theirs, last = Reference.from_pretrained(tmp_path), len(ours) + 7
    assert ours.decode([5, last, 6]) == theirs.decode([5, last, 6])
    assert ours.get_lang_id("fr") == theirs.get_lang_id("fr") == ours.convert_tokens_to_ids(ours.get_lang_token("fr"))
    with pytest.raises(TokenizerError, match=f"no token with id {last + 1}"):
        ours.decode([last + 1])
    with pytest.raises(TokenizerError, match="language_codes must be one of m2m100, wmt21, not 'wmt22'.*wmt21"):
        AutoTokenizer.from_pretrained(tmp_path, language_codes="wmt22")


def test_a_wrong_offset_of_pegasus(tmp_path: Path) -> None:
    for offset in (-1, "103", 10**9):
        with pytest.raises(TokenizerError, match="offset must be an integer from 0 to "):
            AutoTokenizer.from_pretrained(make.pegasus(tmp_path), offset=offset)


@pytest.mark.parametrize(
    "rows",
    [
        {
            "input_ids": [[1, 2, 3], [4]],
            "token_type_ids": [[0, 0, 1], [0]],
            "special_tokens_mask": [[1, 0, 1], [1]],
        },
        [{"input_ids": [1, 2, 3]}, {"input_ids": [4]}],
        {"input_ids": [1, 2, 3]},
        {"input_ids": []},
        [{"input_ids": torch.tensor([1, 2])}, {"input_ids": torch.tensor([4])}],
        [{"input_ids": np.array([1, 2])}, {"input_ids": np.array([4])}],
    ],
)
@pytest.mark.parametrize(
    "options",
    [{}, {"padding": "max_length", "max_length": 5}, {"pad_to_multiple_of": 4, "padding_side": "left"}],
)
def test_pad(ours: Tokenizer, theirs: Any, rows: Any, options: dict[str, Any]) -> None:
    a, b = ours.pad(rows, **options), theirs.pad(rows, **options)
    assert {name: np.asarray(v).tolist() for name, v in a.items()} == {
        name: np.asarray(v).tolist() for name, v in b.items()
    }
    assert type(a["input_ids"]) is type(b["input_ids"])


def test_decoding_takes_all_kinds_of_ids(ours: Tokenizer, theirs: Any) -> None:
    ids = ours(TEXTS, padding=True)["input_ids"]
    for rows in (ids, torch.tensor(ids), np.array(ids), [torch.tensor(row) for row in ids]):
        assert ours.batch_decode(rows) == theirs.batch_decode(ids)
        assert ours.batch_decode(rows, skip_special_tokens=True) == theirs.batch_decode(ids, skip_special_tokens=True)
    for one in (7, torch.tensor(7), np.int64(7), [7]):
        assert ours.decode(one) == theirs.decode([7])
    assert ours.convert_ids_to_tokens(7) == theirs.convert_ids_to_tokens(7)
    assert ours.convert_tokens_to_ids(["the", "nonsense"]) == theirs.convert_tokens_to_ids(["the", "nonsense"])
    tokens = theirs.tokenize("the queen's rabbithole")
    assert ours.tokenize("the queen's rabbithole") == tokens
    assert ours.convert_tokens_to_string(tokens) == theirs.convert_tokens_to_string(tokens)
    assert ours.num_special_tokens_to_add(pair=True) == theirs.num_special_tokens_to_add(pair=True)


def test_encoding_relates_tokens_words_and_characters(ours: Tokenizer, theirs: Any) -> None:
    a, b = (t(TEXTS[:2], ["a door", "the rabbithole"]) for t in (ours, theirs))
    assert isinstance(a, Encoding) and a.input_ids == b.input_ids and len(a.encodings or []) == 2
    for row in (0, 1):
        assert (a.tokens(row), a.word_ids(row), a.sequence_ids(row)) == (
            b.tokens(row),
            b.word_ids(row),
            b.sequence_ids(row),
        )
        for token in range(1, 5):
            assert a.token_to_word(row, token) == b.token_to_word(row, token)
            assert a.token_to_chars(row, token) == b.token_to_chars(row, token)
            assert a.token_to_sequence(row, token) == b.token_to_sequence(row, token)
        for word in (0, 1):
            assert a.word_to_tokens(row, word) == b.word_to_tokens(row, word)
            assert a.word_to_chars(row, word) == b.word_to_chars(row, word)
            assert a.word_to_chars(row, word, sequence_index=1) == b.word_to_chars(row, word, sequence_index=1)
        for char in (0, 3, 5):
            assert a.char_to_token(row, char) == b.char_to_token(row, char)
            assert a.char_to_word(row, char) == b.char_to_word(row, char)
    assert a.token_to_word(2) == b.token_to_word(2)
    assert a.token_to_word(-2) == a.token_to_word(0, len(a.tokens()) - 2)
    assert a[0].tokens == b[0].tokens
    assert set(dict(**a)) == {"input_ids", "token_type_ids", "attention_mask"}
    with pytest.raises(AttributeError, match="nonsense"):
        _ = a.nonsense


def test_to_a_device(ours: Tokenizer) -> None:
    batch = ours(TEXTS, padding=True, return_tensors="pt")
    assert batch.to("meta")["input_ids"].device.type == "meta"


def test_threads_do_not_disturb_each_other(ours: Tokenizer) -> None:
    """Padding and truncation live in the backend while a call runs."""
    from concurrent.futures import ThreadPoolExecutor

    def run(length: int) -> set[int]:
        rows = ours(TEXTS * 3, padding="max_length", truncation=True, max_length=length)["input_ids"]
        return {len(row) for row in rows} - {length}

    with ThreadPoolExecutor(8) as pool:
        assert not set().union(*pool.map(run, [5, 9] * 100))


def test_neither_torch_nor_transformers_is_imported(bert: Path) -> None:
    code = (
        "import sys; from minitransformer.tokenization import AutoTokenizer as A; "
        f"A.from_pretrained({str(bert)!r})(['a'], return_tensors='np'); "
        "assert not {'torch', 'transformers', 'sentencepiece', 'google.protobuf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
