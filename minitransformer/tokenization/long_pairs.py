"""Pairs of long texts, cut without making what is cut off.

The ``tokenizers`` library makes rows of what truncation leaves over, asked or not, and for a pair one of every piece of
the first text with every piece of the second: two texts of 40,000 characters, cut to 64 tokens, fill 8 GB. Here both
are first cut to a little more than can be kept, so that hardly anything is left over. Ids, offsets and everything else
are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import tokenizers

from minitransformer.tokenization.strategies import Request

_LONG = 8
"""From so many characters for each token that is kept, texts are cut here."""


def encode_rows(backend: tokenizers.Tokenizer, rows: Sequence[Any], request: Request) -> list[tokenizers.Encoding]:
    """``backend.encode_batch``; nobody else may use the backend meanwhile.

    Args:
        backend: truncation and padding are set in it.
        rows: texts, or pairs as tuples.
        request: what was asked for.
    """
    flags = {"add_special_tokens": request.add_special_tokens, "is_pretokenized": request.are_words}
    limit = request.lengths.max_length
    if request.overflow or limit is None or request.lengths.truncation != "longest_first":
        return backend.encode_batch(rows, **flags)
    are_long = [is_long_pair(row, limit, request.are_words) for row in rows]
    if not any(are_long):
        return backend.encode_batch(rows, **flags)
    padding = backend.padding
    backend.no_padding()
    encodings = [
        encode_long_pair(backend, row, **flags) if is_long else backend.encode_batch([row], **flags)[0]
        for row, is_long in zip(rows, are_long, strict=True)
    ]
    if padding is not None:
        backend.enable_padding(**padding)
        pad_together(encodings, padding)
    return encodings


def is_pair(row: Any, are_words: bool) -> bool:
    """Whether a row is two texts; the words of one text may come in a tuple, too."""
    return isinstance(row, tuple) and not (are_words and (not row or isinstance(row[0], str)))


def is_long_pair(row: Any, limit: int, are_words: bool) -> bool:
    """Whether both texts of a row are so long that their leftovers would be too many."""
    if not is_pair(row, are_words):
        return False
    return min(sum(map(len, text)) if are_words else len(text) for text in row) > _LONG * limit


def encode_long_pair(
    backend: tokenizers.Tokenizer, row: Any, *, add_special_tokens: bool, is_pretokenized: bool
) -> tokenizers.Encoding:
    """One pair, cut as the backend's truncation says."""
    truncation, processor = backend.truncation, backend.post_processor
    direction: Literal["left", "right"] = truncation["direction"]
    nothing: Any = [] if is_pretokenized else ""
    backend.no_truncation()
    backend.post_processor = None  # to have the bare tokens: it runs once, on what is kept
    try:
        first = backend.encode(row[0], is_pretokenized=is_pretokenized, add_special_tokens=False)
        second = backend.encode(nothing, row[1], is_pretokenized=is_pretokenized, add_special_tokens=False)
    finally:
        backend.post_processor = processor
        backend.enable_truncation(**truncation)
    room = truncation["max_length"]
    if min(len(first), len(second)) <= room:  # one of them has hardly any leftovers
        return backend.encode(*row, is_pretokenized=is_pretokenized, add_special_tokens=add_special_tokens)
    first_is_longer = len(first) > len(second)  # on which it depends whose an odd token is
    first.truncate(room + 1 + first_is_longer, direction=direction)
    second.truncate(room + 2 - first_is_longer, direction=direction)
    return backend.post_process(first, second, add_special_tokens)


def pad_together(encodings: Sequence[tokenizers.Encoding], padding: dict[str, Any]) -> None:
    """Fill rows up to one length, in place, as the backend's padding says."""
    length = padding["length"] or max(len(encoding) for encoding in encodings)
    if multiple := padding["pad_to_multiple_of"]:
        length = -(-length // multiple) * multiple
    for encoding in encodings:
        encoding.pad(
            length,
            direction=padding["direction"],
            pad_id=padding["pad_id"],
            pad_type_id=padding["pad_type_id"],
            pad_token=padding["pad_token"],
        )
