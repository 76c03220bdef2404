"""From texts to ids: in batches, framed by special tokens, packed into blocks."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from minitransformer.data import Record
from minitransformer.errors import DataError, TrainingError
from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.encoding import Encoding
from minitransformer.tokenization.strategies import NO_LIMIT

logger = logging.getLogger("minitransformer")

TEXTS_AT_ONCE = 2_000  # what the backend knows of each token takes a hundred times the token's room

END_OF_SENTENCE = re.compile(r"[.!?][\"'”’)\]]*")


def mask_of(tokenizer: Tokenizer, who: str) -> int:
    """The id of the mask token.

    Args:
        tokenizer: the tokenizer.
        who: needs it ("denoising needs"), for the error.

    Raises:
        TrainingError: the tokenizer has none.
    """
    if tokenizer.mask_token_id is None:
        raise TrainingError(f"{who} a tokenizer with a mask token, which this one lacks")
    return tokenizer.mask_token_id


@dataclass(frozen=True)
class Frame:
    """The special tokens that a tokenizer puts around a text."""

    before: list[int]
    after: list[int]

    def __len__(self) -> int:
        return len(self.before) + len(self.after)

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Frame:
        """The frame of a single text."""
        encoding = tokenizer("a", return_special_tokens_mask=True)
        ids, added = encoding["input_ids"], encoding["special_tokens_mask"]
        first = added.index(0) if 0 in added else len(ids)
        last = len(added) - added[::-1].index(0) if 0 in added else len(ids)
        return cls(ids[:first], ids[last:])


@dataclass(frozen=True)
class PairFrame:
    """The special tokens that a tokenizer puts around two texts, and the token types, if the tokenizer gives any."""

    before: list[int]
    between: list[int]
    after: list[int]
    types: tuple[int, int, int, int, int] | None  # of before, the first text, between, the second text, after

    def __len__(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> PairFrame:
        """The frame of a pair of texts."""
        first, second = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", "b"))
        encoding = tokenizer("a", "b", return_special_tokens_mask=True)
        ids = encoding["input_ids"]
        texts = [at for at, special in enumerate(encoding["special_tokens_mask"]) if not special]
        start, then = texts[0], texts[len(first)]
        stop, end = start + len(first), then + len(second)
        types = encoding.get("token_type_ids")
        if types is not None:  # what a part without tokens would have is never asked for
            types = tuple(types[min(at, len(ids) - 1)] for at in (0, start, stop, then, end))
        return cls(ids[:start], ids[stop:then], ids[end:], types)

    def join(self, first: list[int], second: list[int]) -> tuple[dict[str, list[int]], int]:
        """The pair as an example, and where in it the second text begins."""
        parts = [self.before, first, self.between, second, self.after]
        example = {"input_ids": list(chain.from_iterable(parts))}
        if self.types is not None:
            example["token_type_ids"] = [t for part, t in zip(parts, self.types, strict=True) for _ in part]
        return example, sum(map(len, parts[:3]))


def encode(
    tokenizer: Tokenizer,
    texts: Sequence[Any],
    pairs: Sequence[Any] | None = None,
    *,
    name: str = "text",
    **options: Any,
) -> Iterator[Encoding]:
    """Encode many texts (or pairs), some at a time; options as of a tokenizer's call.

    Args:
        tokenizer: the tokenizer.
        texts: the texts.
        pairs: the second texts.
        name: the argument that takes the texts: "text" or "text_target".
        **options: further arguments.
    """
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        part = slice(start, start + TEXTS_AT_ONCE)
        given: dict[str, Any] = {name: list(texts[part])}
        if pairs is not None:
            given["text_pair"] = list(pairs[part])
        yield tokenizer(**given, **options)


def count_cuts(encoding: Encoding) -> int:
    """How many texts were longer than they may be."""
    return sum(bool(row.overflowing) for row in encoding.encodings or ())


def bare_ids(tokenizer: Tokenizer, records: Sequence[Record], *, word_starts: bool) -> Iterator[dict[str, list[int]]]:
    """The ids of each record's text, without special tokens and uncut; texts that are empty are left out.

    Args:
        tokenizer: the tokenizer.
        records: with the field ``text``.
        word_starts: also give, under this name, 1 for each token that begins a word and 0 for the others.

    Raises:
        DataError: a record has no text, or none of them has any.
    """
    texts = [text for text in (record.need_text("text") for record in records) if text.strip()]
    if not texts:
        raise DataError("there is no text to learn from: all records are empty")
    if word_starts and not tokenizer.keeps_offsets:
        raise TrainingError(f"{tokenizer.class_name} does not know where words begin: leave whole_word out")
    options: dict[str, Any] = {"truncation": False, "max_length": NO_LIMIT, "add_special_tokens": False}
    options |= {"return_attention_mask": False, "return_token_type_ids": False}
    for encoding in encode(tokenizer, texts, **options):
        for i, ids in enumerate(encoding["input_ids"]):
            if ids:
                starts = {"word_starts": begins_word(encoding.word_ids(i))} if word_starts else {}
                yield {"input_ids": ids, **starts}


def begins_word(word_ids: Sequence[int | None]) -> list[int]:
    """1 where another word begins, else 0."""
    return [int(i == 0 or word != word_ids[i - 1]) for i, word in enumerate(word_ids)]


def sentence_ends(tokenizer: Tokenizer) -> Bool[Tensor, " vocabulary"]:
    """Which tokens end a sentence: full stops and their like, with a closing quotation mark or without."""
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return torch.tensor([END_OF_SENTENCE.fullmatch(piece.lstrip("Ġ▁#")) is not None for piece in pieces])


def split_sentences(ids: Sequence[int], ends: Collection[int]) -> list[list[int]]:
    """The ids in sentences, each with the token that ends it; what no such token ends is a sentence too."""
    found: list[list[int]] = [[]]
    for i in ids:
        found[-1].append(i)
        if i in ends:
            found.append([])
    return found if found[-1] else found[:-1]


def pack(rows: Iterator[Mapping[str, list[int]]], size: int, between: Mapping[str, list[int]]) -> list[Any]:
    """Join rows and cut the result into blocks of one size; the last one may be shorter.

    Args:
        rows: lists of one length, by name.
        size: items of a block.
        between: what goes between two rows, by name.
    """
    columns: dict[str, list[list[int]]] = {name: [] for name in between}
    for row in rows:
        for name, column in columns.items():
            column += [row[name], between[name]]
    flat = {name: list(chain.from_iterable(column[:-1])) for name, column in columns.items()}
    length = len(flat["input_ids"])
    return [{name: column[at : at + size] for name, column in flat.items()} for at in range(0, length, size)]


def cut(rows: Iterator[dict[str, list[int]]], size: int) -> list[Any]:
    """Each row by itself, at most ``size`` items of it; how many were longer is logged."""
    found = list(rows)
    report_cuts(sum(len(row["input_ids"]) > size for row in found), len(found), size)
    return [{name: column[:size] for name, column in row.items()} for row in found]


def report_cuts(number: int, total: int, size: int, what: str = "texts") -> None:
    """Log that some texts were longer than examples may be."""
    if number:
        logger.warning("%d of %d %s are longer than %d tokens; the rest of them is not used", number, total, what, size)
