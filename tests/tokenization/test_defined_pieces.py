"""Pieces that the maker of a SentencePiece model has defined: cut by the model itself, or by compat as 4.57 does."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenization import vocabularies as make

from minitransformer import AutoTokenizer, TokenizerError, pipeline

sentencepiece = pytest.importorskip("sentencepiece")
pytest.importorskip("google.protobuf", reason="the reference reads SentencePiece files with protobuf")

GOOGLES = ["(", ")", '"', "-", ".", "–", "£", "€"]
"""Of ALBERT's published models."""
ODD = [*GOOGLES, "\n", "<sep>", "…", "½cup"]
"""A line break and others that the model's table would replace."""
LINES = [
    *make.LINES,
    *['A (small) test, that\'s – so to say - "good". 10-12 (of 3,000) … £5 or €6; one cup <sep> two ½ cups.'] * 40,
]
TEXTS = [
    "A (small) test.",
    "(small)",
    "( small )",
    'a-b "c" (d) . e..f – g–h £5 (9,5)',
    "state-of-the-art, e.g. this one.",
    "...",
    "the queen (",
    "a.b",
    "x( y )z",
    *make.LINES[:40],
]


def albert(path: Path, symbols: list[str] = GOOGLES) -> Path:
    make.folder(path, "albert", {})
    special = ["[CLS]", "[SEP]", "[MASK]"]
    options = {"control_symbols": special, "user_defined_symbols": symbols}
    make.spm(path / "spiece.model", LINES, 360, pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, **options)
    return path


def t5(path: Path, symbols: list[str] = GOOGLES) -> Path:
    make.folder(path, "t5", {})
    make.spm(path / "spiece.model", LINES, 360, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, user_defined_symbols=symbols)
    return path


def mbart(path: Path, symbols: list[str] = GOOGLES) -> Path:
    make.folder(path, "mbart", {})
    make.spm(path / "sentencepiece.bpe.model", LINES, 360, user_defined_symbols=symbols)
    return path


FAMILIES = {"albert": albert, "t5": t5, "mbart": mbart}


def prepared(text: str) -> str:
    """What ALBERT does to a text before its model sees it."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).lower()


def model_of(folder: Path) -> Any:
    return sentencepiece.SentencePieceProcessor(model_file=str(next(folder.glob("*.model"))))


@pytest.mark.parametrize("symbols", [GOOGLES, ODD], ids=["ALBERT's", "odd ones"])
@pytest.mark.parametrize("name", FAMILIES)
def test_texts_are_cut_as_the_model_cuts_them(name: str, symbols: list[str], tmp_path: Path) -> None:
    folder = FAMILIES[name](tmp_path, symbols)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), model_of(folder)
    odd = ["a<sep>b <sep> c", "a…b … c", "one ½cup two", "the\nqueen\n\nsaid"]
    texts = TEXTS if symbols is GOOGLES else [*TEXTS, *odd]
    for text in texts:
        given = prepared(text) if name == "albert" else text
        pieces = model.encode(given, out_type=str)
        if any(len(p) > 1 and p[-1] == "," and p[-2].isdigit() for p in pieces) or ".. ." in text:
            continue  # ALBERT's rule for numbers; ties
        assert tokenizer.tokenize(text) == pieces, text
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if tokenizer.unk_token_id not in ids:
            assert tokenizer.decode(ids) == model.decode(pieces)


def test_the_slow_tokenizer_agrees(tmp_path: Path) -> None:
    """Google's own, which ran SentencePiece."""
    ours = AutoTokenizer.from_pretrained(albert(tmp_path))
    theirs = transformers.AlbertTokenizer.from_pretrained(tmp_path)
    for text in (text for text in TEXTS if ".. ." not in text):
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text
    assert ours.tokenize("A (small) test.")[:4] == ["▁a", "▁", "(", "s"]


@pytest.mark.parametrize("name", FAMILIES)
def test_compat_cuts_them_as_transformers_does(name: str, tmp_path: Path) -> None:
    folder = FAMILIES[name](tmp_path)
    ours = AutoTokenizer.from_pretrained(folder, compat="transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text
        assert ours.decode(ours(text)["input_ids"]) == theirs.decode(theirs(text)["input_ids"])
    with pytest.raises(TokenizerError, match="compat"):
        AutoTokenizer.from_pretrained(folder, compat="transformer")  # type: ignore[arg-type]


@pytest.mark.parametrize("compat", [None, "transformers"])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_saved_cuts_the_same(name: str, compat: Any, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(FAMILIES[name](tmp_path / "a", ODD), compat=compat)
    tokenizer.save_pretrained(tmp_path / "b")
    for again in (AutoTokenizer, transformers.AutoTokenizer):
        reloaded = again.from_pretrained(tmp_path / "b")
        assert reloaded([*TEXTS, "a\nb"])["input_ids"] == tokenizer([*TEXTS, "a\nb"])["input_ids"]
        assert not hasattr(reloaded, "compat")


def test_a_pipeline_says_it_to_its_tokenizer(tmp_path: Path) -> None:
    albert(tmp_path)
    size = len(AutoTokenizer.from_pretrained(tmp_path))
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.AlbertConfig(vocab_size=size, embedding_size=6, **sizes)
    transformers.AlbertModel(config).save_pretrained(tmp_path)
    for compat in (None, "transformers"):
        pipe = pipeline("feature-extraction", str(tmp_path), compat=compat)
        assert ("(" in pipe.tokenizer.get_added_vocab()) == (compat is not None)
