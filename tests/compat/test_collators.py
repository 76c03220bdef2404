"""Collators give the batches of transformers' own, number by number and draw by draw."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import AutoTokenizer as TheirTokenizer

import minitransformer
from minitransformer import AutoTokenizer, MinitransformerError
from minitransformer.hub import embedded_folder

TEXTS = ["She opened the unbelievable door.", "No.", "It rained, and nobody remembered the umbrellas."]
FOLDER = embedded_folder("minitransformer/bert-books")
OURS, THEIRS = AutoTokenizer.from_pretrained(FOLDER), TheirTokenizer.from_pretrained(FOLDER)


def examples(**extra: list[Any]) -> list[dict[str, Any]]:
    rows = [dict(THEIRS(text)) for text in TEXTS]
    return [row | {name: values[i] for name, values in extra.items()} for i, row in enumerate(rows)]


def labels(offset: int = 0) -> list[list[int]]:
    return [list(range(len(THEIRS(text)["input_ids"]) - offset)) for text in TEXTS]


def same(ours: Any, theirs: Any) -> None:
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        if isinstance(value, Tensor):
            assert ours[name].dtype == value.dtype, name
            assert torch.equal(ours[name], value), name
        else:
            assert (ours[name] == value) if not hasattr(value, "shape") else (ours[name] == value).all(), name


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "name, options, rows",
    [
        ("DataCollatorWithPadding", {}, examples(label=[0, 1, 1])),
        ("DataCollatorWithPadding", {"padding": "max_length", "max_length": 24}, examples(label_ids=[0.5, 1.0, 2.0])),
        ("DataCollatorWithPadding", {"pad_to_multiple_of": 8}, examples()),
        ("DataCollatorForTokenClassification", {}, examples(labels=labels())),
        ("DataCollatorForTokenClassification", {"label_pad_token_id": -1}, examples(label=labels())),
        ("DataCollatorForTokenClassification", {}, examples()),
        ("DataCollatorForSeq2Seq", {}, examples(labels=labels(1))),
        ("DataCollatorForSeq2Seq", {"pad_to_multiple_of": 8}, examples(labels=labels(1))),
        ("DataCollatorForSeq2Seq", {"padding": "max_length", "max_length": 30}, examples(labels=labels())),
        ("DataCollatorForSeq2Seq", {}, examples(labels=[None, None, None])),
        ("DataCollatorForLanguageModeling", {"mlm": False}, examples()),
    ],
)
def test_padding_collators_give_the_batches_of_transformers(
    name: str, options: dict[str, Any], rows: list[dict[str, Any]], side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tokenizer in (OURS, THEIRS):
        monkeypatch.setattr(tokenizer, "padding_side", side)
    ours = getattr(minitransformer, name)(OURS, **options)([dict(row) for row in rows])
    theirs = getattr(transformers, name)(THEIRS, **options)([dict(row) for row in rows])
    same(ours, theirs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mlm_probability": 0.5},
        {"mask_replace_prob": 0.5, "random_replace_prob": 0.5},
        {"mask_replace_prob": 1.0, "random_replace_prob": 0.0},
        {"seed": 7},
        {"mlm_probability": 0.4, "pad_to_multiple_of": 16},
    ],
)
def test_masking_draws_what_transformers_draws(options: dict[str, Any]) -> None:
    torch.manual_seed(3)
    ours = minitransformer.DataCollatorForLanguageModeling(OURS, **options)
    first = [ours(examples()) for _ in range(4)]
    torch.manual_seed(3)
    theirs = transformers.DataCollatorForLanguageModeling(THEIRS, **options)
    for batch in first:
        same(batch, theirs(examples()))
    assert any((batch["labels"] != -100).any() for batch in first)


def test_whole_words_are_hidden_as_in_transformers() -> None:
    padded = THEIRS(TEXTS, padding=True, return_offsets_mapping=True)  # theirs cannot pad offsets
    rows = [{name: values[i] for name, values in padded.items()} for i in range(len(TEXTS))]
    options = {"whole_word_mask": True, "mlm_probability": 0.5, "mask_replace_prob": 1.0, "random_replace_prob": 0.0}
    torch.manual_seed(5)
    ours = minitransformer.DataCollatorForLanguageModeling(OURS, **options)([dict(row) for row in rows])
    torch.manual_seed(5)
    theirs = transformers.DataCollatorForLanguageModeling(THEIRS, **options)([dict(row) for row in rows])
    same(ours, theirs)


@pytest.mark.filterwarnings("ignore:DataCollatorForWholeWordMask is only suitable")
@pytest.mark.parametrize("seed", [None, 11])
def test_the_collator_of_whole_words_chooses_those_of_transformers(seed: int | None) -> None:
    slow = transformers.BertTokenizer(str(FOLDER / "vocab.txt")) if (FOLDER / "vocab.txt").exists() else THEIRS
    options: dict[str, Any] = {"mlm_probability": 0.5, "seed": seed}
    batches = []
    for library, tokenizer in ((minitransformer, OURS), (transformers, slow)):
        random.seed(1)
        torch.manual_seed(1)
        batches.append(library.DataCollatorForWholeWordMask(tokenizer, **options)(examples()))
    same(*batches)


def test_default_collators_stack_what_is_equal_in_length() -> None:
    rows = [{"x": [1, 2], "label": i, "text": "a", "none": None} for i in range(3)]
    same(minitransformer.default_data_collator(rows), transformers.default_data_collator(rows))
    rows = [{"x": torch.ones(2), "label_ids": [0.5, 1.0]} for _ in range(3)]
    same(minitransformer.DefaultDataCollator()(rows), transformers.DefaultDataCollator()(rows))


def test_several_choices_make_a_third_axis() -> None:
    rows = [{"input_ids": [[2, 5, 3], [2, 3]], "attention_mask": [[1, 1, 1], [1, 1]], "label": 1} for _ in range(2)]
    ours = minitransformer.DataCollatorForMultipleChoice(OURS)([dict(row) for row in rows])
    theirs = transformers.DataCollatorForMultipleChoice(THEIRS)([dict(row) for row in rows])
    same(ours, theirs)
    assert ours["input_ids"].shape == (2, 2, 3)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: minitransformer.default_data_collator([]), "examples"),
        (lambda: minitransformer.default_data_collator([{"x": [1]}, {"x": [1, 2]}]), "rows of x"),
        (lambda: minitransformer.DataCollatorWithPadding(OURS)([3, 4]), "dictionary"),
        (lambda: minitransformer.DataCollatorForLanguageModeling(OURS, mlm_probability=1.5), "mlm_probability"),
        (
            lambda: minitransformer.DataCollatorForLanguageModeling(
                OURS, mask_replace_prob=0.9, random_replace_prob=0.2
            ),
            "1 or less",
        ),
        (lambda: minitransformer.DataCollatorForLanguageModeling(OURS, mlm=False, whole_word_mask=True), "whole_word"),
        (
            lambda: minitransformer.DataCollatorForLanguageModeling(OURS, whole_word_mask=True)(examples()),
            "offset_mapping",
        ),
    ],
)
def test_what_no_collator_can_use_is_named(call: Any, says: str) -> None:
    with pytest.raises(MinitransformerError, match=says):
        call()
