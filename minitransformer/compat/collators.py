"""From examples to a batch: the collators that transformers has, under its names and with its random numbers.

An example is a dictionary of lists (``input_ids``, ``labels`` ...), as a tokenizer or a row of ``datasets`` gives it.
With the same seed the masking collators choose the tokens that those of transformers 4.57 choose.

Reference: transformers 4.57 ``data/data_collator.py``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from minitransformer.errors import ArgumentError
from minitransformer.tokenization.base import Tokenizer

IGNORED = -100
"""The label that no loss counts."""

Example = Mapping[str, Any]
Padding = bool | str
Kind = Literal["pt", "np"]


def default_data_collator(features: Sequence[Any], return_tensors: Kind = "pt") -> dict[str, Any]:
    """Stack examples of equal lengths; ``label`` and ``label_ids`` become ``labels``, texts and None stay out.

    Raises:
        ArgumentError: no examples, or rows of different lengths.
    """
    rows = _rows(features)
    batch: dict[str, Any] = {}
    for name, first in rows[0].items():
        if first is None or isinstance(first, str):
            continue
        values = [row[name] for row in rows]
        dtype = None
        if name in ("label", "label_ids"):
            number = first[0] if isinstance(first, (list, tuple)) else first
            whole = isinstance(number, int | np.integer) or (
                isinstance(number, Tensor) and not number.is_floating_point()
            )
            dtype = torch.int64 if whole else torch.float32
        batch["labels" if name in ("label", "label_ids") else name] = _stacked(values, name, return_tensors, dtype)
    return batch


@dataclass
class DefaultDataCollator:
    """``default_data_collator`` as an object."""

    return_tensors: Kind = "pt"

    def __call__(self, features: Sequence[Any], return_tensors: Kind | None = None) -> dict[str, Any]:
        """Stack examples."""
        return default_data_collator(features, return_tensors or self.return_tensors)


@dataclass
class DataCollatorWithPadding:
    """Pad examples to one length; a label of each becomes ``labels``.

    Args:
        tokenizer: knows how to pad.
        padding: True or "longest", "max_length", or False.
        max_length: for "max_length".
        pad_to_multiple_of: round the length up.
        return_tensors: "pt" or "np".
    """

    tokenizer: Tokenizer
    padding: Padding = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: Kind = "pt"

    def __call__(self, features: Sequence[Any]) -> dict[str, Any]:
        """Pad and stack examples.

        Raises:
            ArgumentError: no examples, or something that is no example.
        """
        batch = _padded(self, _rows(features), self.return_tensors)
        for name in ("label", "label_ids"):
            if name in batch:
                batch["labels"] = batch.pop(name)
        return batch


@dataclass
class DataCollatorForTokenClassification:
    """Pad examples, and their labels, one for each token, with ``label_pad_token_id``.

    Args:
        tokenizer: knows how to pad.
        padding: True or "longest", "max_length", or False.
        max_length: for "max_length".
        pad_to_multiple_of: round the length up.
        label_pad_token_id: the label of padding.
        return_tensors: "pt" or "np".
    """

    tokenizer: Tokenizer
    padding: Padding = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = IGNORED
    return_tensors: Kind = "pt"

    def __call__(self, features: Sequence[Any], return_tensors: Kind | None = None) -> dict[str, Any]:
        """Pad and stack examples."""
        kind = return_tensors or self.return_tensors
        rows, labels, name = _split_labels(_rows(features))
        batch = _padded(self, rows, kind if labels is None else "pt")
        if labels is not None:
            length = batch["input_ids"].shape[1]
            batch[name] = _pad_labels(labels, length, self.label_pad_token_id, self.tokenizer.padding_side)
        return _as_kind(batch, kind)


@dataclass
class DataCollatorForSeq2Seq:
    """Pad sources and targets apart; the decoder's input is made by the model, if there is one.

    Args:
        tokenizer: knows how to pad.
        model: one with ``prepare_decoder_input_ids_from_labels``.
        padding: True or "longest", "max_length", or False.
        max_length: for "max_length", of sources and targets.
        pad_to_multiple_of: round the lengths up.
        label_pad_token_id: the label of padding.
        return_tensors: "pt" or "np".
    """

    tokenizer: Tokenizer
    model: Any = None
    padding: Padding = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = IGNORED
    return_tensors: Kind = "pt"

    def __call__(self, features: Sequence[Any], return_tensors: Kind | None = None) -> dict[str, Any]:
        """Pad and stack examples."""
        kind = return_tensors or self.return_tensors
        rows, labels, _ = _split_labels(_rows(features))
        batch = _padded(self, rows, kind)
        if labels is None or all(row is None for row in labels):
            batch["labels"] = None
            return batch
        length = max(len(row) for row in labels)
        if self.padding == "max_length" and self.max_length is not None:
            length = self.max_length
        if self.pad_to_multiple_of is not None:
            length = -(-length // self.pad_to_multiple_of) * self.pad_to_multiple_of
        side = self.tokenizer.padding_side
        if self.padding in (False, "do_not_pad"):
            batch["labels"] = _stacked(list(labels), "labels", "pt", torch.int64)
        else:
            batch["labels"] = _pad_labels(labels, length, self.label_pad_token_id, side)
        if hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
            batch["decoder_input_ids"] = self.model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
        return _as_kind(batch, kind)


@dataclass
class DataCollatorForLanguageModeling:
    """Pad examples and make the labels of a language model: hidden words (``mlm``), or every word.

    Of the tokens that are chosen with probability ``mlm_probability``, ``mask_replace_prob`` become the mask token and
    ``random_replace_prob`` another word; the rest stay. Without ``mlm`` the labels are the ids, padding ignored; the
    model shifts them.

    Args:
        tokenizer: knows how to pad, and the mask token.
        mlm: hide words, as for BERT.
        whole_word_mask: hide all tokens of a word or none; examples need ``offset_mapping``.
        mlm_probability: that a token is chosen.
        mask_replace_prob: that a chosen token becomes the mask token.
        random_replace_prob: that a chosen token becomes another word.
        pad_to_multiple_of: round the length up.
        return_tensors: "pt" or "np"; random numbers are PyTorch's in both.
        seed: of a generator of its own; else PyTorch's global one is used.

    Raises:
        ArgumentError: a probability outside of 0 to 1, or a tokenizer without a mask token.
    """

    tokenizer: Tokenizer
    mlm: bool = True
    whole_word_mask: bool = False
    mlm_probability: float | None = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    pad_to_multiple_of: int | None = None
    return_tensors: Kind = "pt"
    seed: int | None = None
    generator: torch.Generator | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mlm and self.tokenizer.mask_token is None:
            raise ArgumentError("this tokenizer has no mask token: pass mlm=False, or set tokenizer.mask_token")
        if self.whole_word_mask and not self.mlm:
            raise ArgumentError("whole_word_mask=True hides words, which mlm=False does not: leave one of them out")
        for name in ("mlm_probability", "mask_replace_prob", "random_replace_prob"):
            value = getattr(self, name)
            if (self.mlm or name != "mlm_probability") and not (isinstance(value, int | float) and 0 <= value <= 1):
                raise ArgumentError(f"{name} must be a number from 0 to 1, not {value!r}")
        if self.mask_replace_prob + self.random_replace_prob > 1:
            raise ArgumentError("mask_replace_prob and random_replace_prob must be 1 or less together")
        if self.whole_word_mask:  # what the reference does: words become masks, none another word
            self.mask_replace_prob, self.random_replace_prob = 1.0, 0.0

    def __call__(self, features: Sequence[Any], return_tensors: Kind | None = None) -> dict[str, Any]:
        """Pad, stack and hide."""
        if self.seed and self.generator is None:
            self.generator = torch.Generator().manual_seed(self.seed)
        rows = _rows(features)
        offsets = [row.get("offset_mapping") for row in rows]
        rows = [{name: value for name, value in row.items() if name != "offset_mapping"} for row in rows]
        batch = _padded(self, rows, "pt")
        special = batch.pop("special_tokens_mask", None)
        if not self.mlm:
            labels = batch["input_ids"].clone()
            if self.tokenizer.pad_token_id is not None:
                labels[labels == self.tokenizer.pad_token_id] = IGNORED
            batch["labels"] = labels
        else:
            batch["input_ids"], batch["labels"] = self.torch_mask_tokens(batch["input_ids"], special, offsets)
        return _as_kind(batch, return_tensors or self.return_tensors)

    def torch_mask_tokens(
        self, inputs: Tensor, special_tokens_mask: Tensor | None = None, offset_mapping: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Ids with some hidden, and labels that ask for these, both (batch, token)."""
        labels = inputs.clone()
        special = self._special(labels) if special_tokens_mask is None else special_tokens_mask.bool()
        words = self._words(labels, special, offset_mapping) if self.whole_word_mask else None
        chances = torch.full(labels.shape, float(self.mlm_probability or 0.0))
        chances.masked_fill_(special if words is None else ~_is_first(words), 0.0)
        chosen = torch.bernoulli(chances, generator=self.generator).bool()
        if words is not None:
            chosen = torch.stack([_spread(row, of) for row, of in zip(chosen, words, strict=True)])
        return self._hide(inputs, labels, chosen)

    def _hide(self, inputs: Tensor, labels: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        labels[~chosen] = IGNORED
        hidden = self._draw(labels, self.mask_replace_prob) & chosen
        inputs[hidden] = int(self.tokenizer.mask_token_id or 0)  # there is one, see __post_init__
        if self.mask_replace_prob == 1 or self.random_replace_prob == 0:
            return inputs, labels
        others = self._draw(labels, self.random_replace_prob / (1 - self.mask_replace_prob)) & chosen & ~hidden
        words = torch.randint(len(self.tokenizer), labels.shape, dtype=torch.long, generator=self.generator)
        inputs[others] = words[others]
        return inputs, labels

    def _draw(self, like: Tensor, chance: float) -> Tensor:
        return torch.bernoulli(torch.full(like.shape, chance), generator=self.generator).bool()

    def _special(self, ids: Tensor) -> Tensor:
        masks = [self.tokenizer.get_special_tokens_mask(row, already_has_special_tokens=True) for row in ids.tolist()]
        return torch.tensor(masks, dtype=torch.bool)

    def _words(self, ids: Tensor, special: Tensor, offsets: Any) -> Tensor:
        """The number of each token's word, -1 for none: tokens that touch each other in the text are one word."""
        if offsets is None or any(row is None for row in offsets):
            raise ArgumentError(
                "whole_word_mask=True needs examples with offset_mapping: tokenizer(..., return_offsets_mapping=True)"
            )
        words = torch.full(ids.shape, -1)
        left = self.tokenizer.padding_side == "left"
        for place, row in enumerate(offsets):
            shift = ids.shape[1] - len(row) if left else 0
            number, end = -1, None
            for token, (start, stop) in enumerate(row):
                if special[place, token + shift]:
                    end = None
                    continue
                number += start != end
                words[place, token + shift], end = number, stop
        return words


@dataclass
class DataCollatorForWholeWordMask(DataCollatorForLanguageModeling):
    """Hide all pieces of a word or none, for vocabularies that mark what goes on with ``##`` (BERT)."""

    def __call__(self, features: Sequence[Any], return_tensors: Kind | None = None) -> dict[str, Any]:
        """Pad, stack and hide. Without a seed Python's ``random`` decides which words, as in transformers."""
        if self.seed and self.generator is None:
            self.generator = torch.Generator().manual_seed(self.seed)
        rows = [{"input_ids": list(row["input_ids"])} for row in _rows(features)]
        inputs = _padded(self, rows, "pt")["input_ids"]
        left = self.tokenizer.padding_side == "left"
        chosen = torch.zeros(inputs.shape, dtype=torch.bool)
        for place, row in enumerate(rows):
            shift = inputs.shape[1] - len(row["input_ids"]) if left else 0
            tokens = self.tokenizer.convert_ids_to_tokens(row["input_ids"])
            chosen[place, [token + shift for token in self._choose(tokens)]] = True
        labels = inputs.clone()
        chosen &= ~self._special(labels)
        if self.tokenizer.pad_token_id is not None:
            chosen &= labels != self.tokenizer.pad_token_id
        return _as_kind(dict(zip(("input_ids", "labels"), self._hide(inputs, labels, chosen), strict=True)), "pt")

    def _choose(self, tokens: list[str], most: int = 512) -> list[int]:
        words: list[list[int]] = []
        for place, token in enumerate(tokens):
            if token in ("[CLS]", "[SEP]"):
                continue
            if words and token.startswith("##"):
                words[-1].append(place)
            else:
                words.append([place])
        if self.seed is None:
            random.shuffle(words)
        else:
            words = [words[i] for i in torch.randperm(len(words), generator=self.generator).tolist()]
        wanted = min(most, max(1, round(len(tokens) * float(self.mlm_probability or 0.0))))
        chosen: list[int] = []
        for word in words:
            if len(chosen) >= wanted:
                break
            if len(chosen) + len(word) <= wanted:
                chosen += word
        return chosen


@dataclass
class DataCollatorForMultipleChoice(DataCollatorWithPadding):
    """Pad examples with several texts each; the batch has the shape (batch, choice, token)."""

    def __call__(self, features: Sequence[Any]) -> dict[str, Any]:
        """Pad and stack examples."""
        rows, labels, _ = _split_labels(_rows(features))
        choices = len(rows[0]["input_ids"])
        flat = [{name: values[i] for name, values in row.items()} for row in rows for i in range(choices)]
        batch = {name: x.view(len(rows), choices, -1) for name, x in _padded(self, flat, "pt").items()}
        if labels is not None:
            batch["labels"] = torch.tensor(labels, dtype=torch.int64)
        return _as_kind(batch, self.return_tensors)


def _rows(features: Sequence[Any]) -> list[dict[str, Any]]:
    """Examples as dictionaries: lists of ids and objects with attributes are taken too."""
    if not isinstance(features, Sequence) or not len(features):
        raise ArgumentError(f"a collator takes a list of examples, not {type(features).__name__} of none")
    rows = []
    for each in features:
        if isinstance(each, Mapping) or hasattr(each, "keys"):
            rows.append({name: each[name] for name in each.keys()})  # noqa: SIM118  (an Encoding has numbers too)
        elif isinstance(each, list | tuple | np.ndarray | Tensor):
            rows.append({"input_ids": each})
        elif hasattr(each, "__dict__"):
            rows.append(dict(vars(each)))
        else:
            raise ArgumentError(f"an example is a dictionary or a list of ids, not {type(each).__name__}")
    return rows


def _padded(collator: Any, rows: list[dict[str, Any]], kind: Kind) -> dict[str, Any]:
    return dict(
        collator.tokenizer.pad(
            rows,
            padding=getattr(collator, "padding", True),
            max_length=getattr(collator, "max_length", None),
            pad_to_multiple_of=collator.pad_to_multiple_of,
            return_tensors=kind,
        )
    )


def _split_labels(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Any] | None, str]:
    name = "label" if "label" in rows[0] else "labels"
    labels = [row[name] for row in rows] if name in rows[0] else None
    return [{key: value for key, value in row.items() if key != name} for row in rows], labels, name


def _pad_labels(labels: Sequence[Any], length: int, pad: int, side: str) -> Tensor:
    rows = [row.tolist() if hasattr(row, "tolist") else list(row) for row in labels]
    if any(len(row) > length for row in rows):
        raise ArgumentError(f"a row has more labels than the {length} tokens that it is padded to")
    gaps = [[pad] * (length - len(row)) for row in rows]
    return torch.tensor([row + gap if side == "right" else gap + row for row, gap in zip(rows, gaps, strict=True)])


def _stacked(values: list[Any], name: str, kind: Kind, dtype: torch.dtype | None) -> Any:
    try:
        if isinstance(values[0], Tensor):
            stacked = torch.stack(values)
        elif isinstance(values[0], np.ndarray):
            stacked = torch.from_numpy(np.stack(values))
        else:
            stacked = torch.tensor(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArgumentError(
            f"the rows of {name} make no tensor ({error}): pad them, with DataCollatorWithPadding(tokenizer)"
        ) from error
    stacked = stacked if dtype is None else stacked.to(dtype)
    return stacked.numpy() if kind == "np" else stacked


def _as_kind(batch: dict[str, Any], kind: Kind) -> dict[str, Any]:
    if kind == "pt":
        return batch
    return {name: value.numpy() if isinstance(value, Tensor) else value for name, value in batch.items()}


def _is_first(words: Tensor) -> Tensor:
    """Where a word begins, (batch, token)."""
    before = torch.nn.functional.pad(words[:, :-1], (1, 0), value=-1)
    return (words >= 0) & (words != before)


def _spread(chosen: Tensor, words: Tensor) -> Tensor:
    """All tokens of the words whose first token is chosen, (token,)."""
    return torch.isin(words, words[chosen]) & (words >= 0)
