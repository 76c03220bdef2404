"""FSMT's tokenizer, which has two vocabularies, against transformers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenization import vocabularies as make
from tokenization.comparison import HARD, Comparison
from transformers import AutoTokenizer as Reference

from minitransformer import AutoTokenizer
from minitransformer.errors import MinitransformerError, TokenizerError

PUNCTUATION = [
    "，x。  y、z”“∶：？《》）！（；１２３４５６７８９０」「．   ～’…━〈〉【】％",
    'Well-known e-mail - it\'s <b> & "so" on… 3,000.50 | [x]',
    "«Ja», „sagte“ er; z.B. am 3. Mai.",
]
TEXTS = [*make.LINES[:30], *PUNCTUATION, *HARD]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"do_lower_case": True, "langs": ["ru", "en"], "model_max_length": 64},
        {"eos_token": "</s>", "additional_special_tokens": ["<new>"], "padding_side": "left"},
    ],
)
def test_equals_reference(config: dict[str, Any], tmp_path: Path) -> None:
    folder = make.fsmt(tmp_path, **config)
    ours, theirs = AutoTokenizer.from_pretrained(folder), Reference.from_pretrained(folder)
    assert type(ours).__name__ == "FSMTTokenizer"
    comparison = Comparison(ours, theirs).everything([*TEXTS, "The <new> rabbit<new>!"])
    for start in range(0, theirs.tgt_vocab_size - 10, 10):  # every target id, not only those of sources
        ids = list(range(start, start + 10))
        for skip in (False, True):
            comparison.check(f"text of {ids}", ours.decode(ids, skip), theirs.decode(ids, skip))
    assert comparison.equal()


def test_files_written_are_read_by_both(tmp_path: Path) -> None:
    ours = AutoTokenizer.from_pretrained(make.fsmt(tmp_path / "a", do_lower_case=True, model_max_length=50))
    ours.save_pretrained(tmp_path / "b")
    again, theirs = AutoTokenizer.from_pretrained(tmp_path / "b"), Reference.from_pretrained(tmp_path / "b")
    assert Comparison(ours, theirs).everything(TEXTS[:20], calls=5).equal()
    assert Comparison(again, theirs).everything(TEXTS[:20], calls=5).equal()
    theirs.save_pretrained(tmp_path / "c")
    assert AutoTokenizer.from_pretrained(tmp_path / "c")(TEXTS)["input_ids"] == ours(TEXTS)["input_ids"]


def test_the_files_tell_the_family(tmp_path: Path) -> None:
    (make.fsmt(tmp_path) / "config.json").unlink()
    assert type(AutoTokenizer.from_pretrained(tmp_path)).__name__ == "FSMTTokenizer"


def test_labels_are_of_the_target(tmp_path: Path) -> None:
    """The reference looks labels up in the vocabulary of the source, in which they mean other words."""
    tokenizer = AutoTokenizer.from_pretrained(make.fsmt(tmp_path))
    text = "Little Alice had the key."
    before = tokenizer(text)["input_ids"]
    labels = tokenizer(text, text_target=text)["labels"]
    assert labels != before and tokenizer(text)["input_ids"] == before
    assert tokenizer.decode(labels, skip_special_tokens=True) == text


def test_bad_files(tmp_path: Path) -> None:
    folder = make.fsmt(tmp_path, langs=["en"])
    with pytest.raises(TokenizerError, match=r"langs must be two languages.*not \['en'\].*pass langs="):
        AutoTokenizer.from_pretrained(folder)
    AutoTokenizer.from_pretrained(folder, langs=["en", "de"])
    tokenizer = AutoTokenizer.from_pretrained(make.fsmt(tmp_path))
    with pytest.raises(TokenizerError, match="no token with id 5000 in the target's vocabulary: ids go from 0 to"):
        tokenizer.decode([4, 5000])
    merges = (folder / "merges.txt").read_text(encoding="utf-8")
    (folder / "merges.txt").write_text("a b 3\nalone\n" + merges, encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"line 2 of .*merges.txt should be two tokens"):
        AutoTokenizer.from_pretrained(folder)
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    known = json.loads((folder / "vocab-tgt.json").read_text(encoding="utf-8"))
    make.write(folder / "vocab-tgt.json", {token: i for token, i in known.items() if token != "<unk>"})
    with pytest.raises(TokenizerError, match="vocab-tgt.json has .* none with the id 3"):
        AutoTokenizer.from_pretrained(folder)
    (folder / "vocab-tgt.json").unlink()
    with pytest.raises(MinitransformerError, match="missing: vocab-tgt.json"):
        AutoTokenizer.from_pretrained(folder)


def test_needs_sacremoses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    with pytest.raises(TokenizerError, match="FSMT's words need the package sacremoses: pip install sacremoses"):
        AutoTokenizer.from_pretrained(make.fsmt(tmp_path))
