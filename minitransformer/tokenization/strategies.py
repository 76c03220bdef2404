"""What ``padding=`` and ``truncation=`` mean, and padding rows that are already encoded.

Reference: ``transformers/tokenization_utils_base.py`` (_get_padding_truncation_strategies, pad).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from minitransformer.errors import TokenizerError
from minitransformer.options import CAPPED, Natural, Option, Range, read_value

logger = logging.getLogger("minitransformer")

Padding = Literal["longest", "max_length"]
Truncation = Literal["longest_first", "only_first", "only_second"]
Side = Literal["left", "right"]

PaddingOption = bool | Literal["longest", "max_length", "do_not_pad"] | None
TruncationOption = bool | Literal["longest_first", "only_first", "only_second", "do_not_truncate"] | None

NO_LIMIT = int(1e30)
"""``model_max_length`` of a tokenizer whose files name none."""
LARGEST_LIMIT = 2**62
"""Above this, a limit is taken as none."""
MOST_PADDING = 2**24
"""Tokens that a row is filled up to, at most; longer ones would take the machine's memory for nothing."""


@dataclass(frozen=True)
class Lengths:
    """How rows are cut and filled up; None where they are left as they are."""

    padding: Padding | None
    truncation: Truncation | None
    max_length: int | None
    stride: int
    multiple: int | None
    side: Side


@dataclass(frozen=True)
class Request:
    """What one call of a tokenizer asks for."""

    names: tuple[str, ...]
    lengths: Lengths
    add_special_tokens: bool
    are_words: bool
    split_special: bool
    overflow: bool
    tensors: str | None
    warns: bool


Longest = Annotated[int, Range(least=0), CAPPED]
Multiple = Annotated[int, Range(least=1, most=MOST_PADDING)]
LENGTH_OPTIONS = {
    name: Option(name, hint)
    for name, hint in {
        "padding": PaddingOption,
        "truncation": TruncationOption,
        "max_length": Longest,
        "stride": Natural,
        "pad_to_multiple_of": Multiple,
    }.items()
}


def resolve_lengths(
    padding: Any,
    truncation: Any,
    max_length: int | None,
    stride: int,
    multiple: int | None,
    side: Side,
    model_max_length: int,
) -> Lengths:
    """Read the options of a tokenizer call.

    Args:
        padding: False, True or "longest", "max_length", "do_not_pad".
        truncation: None, False, True or "longest_first", "only_first", "only_second", "do_not_truncate".
        max_length: tokens of a row, special ones included; None for the tokenizer's own limit.
        stride: tokens that a row repeats of the row before it.
        multiple: round the padded length up to a multiple of this.
        side: where padding goes.
        model_max_length: the tokenizer's own limit.

    Raises:
        TokenizerError: an option has a value that it cannot have, or two contradict each other.
    """
    if max_length is not None:
        max_length = LENGTH_OPTIONS["max_length"].read(max_length, TokenizerError)
    if stride is not None and (type(stride) is not int or stride):  # 0 is what is never given wrongly
        stride = LENGTH_OPTIONS["stride"].read(stride, TokenizerError)
    if multiple is not None:
        multiple = LENGTH_OPTIONS["pad_to_multiple_of"].read(multiple, TokenizerError)
    if max_length is not None and padding is False and truncation is None:
        truncation = True  # a limit alone means: cut there
    pad = cast(Padding | None, _choose("padding", padding, "longest", "do_not_pad"))
    cut = cast(Truncation | None, _choose("truncation", truncation, "longest_first", "do_not_truncate"))
    if pad == "longest" and max_length is not None and cut is None:
        logger.warning("max_length has no effect with padding=True: pass padding='max_length' or truncation=True")
    if max_length is None and (pad == "max_length" or cut):
        if model_max_length <= LARGEST_LIMIT:
            max_length = model_max_length
        else:
            logger.warning(
                "the tokenizer names no longest input, so nothing is cut or filled up to it: pass max_length"
            )
            pad, cut = (None if pad == "max_length" else pad), None
    if pad == "max_length" and max_length is not None and max_length > MOST_PADDING:
        raise TokenizerError(
            f"padding to max_length={max_length} is more than the {MOST_PADDING} tokens that it may be"
        )
    if pad and cut and multiple and max_length is not None and max_length % multiple:
        raise TokenizerError(
            f"max_length {max_length} is not a multiple of pad_to_multiple_of {multiple}, and both apply"
        )
    return Lengths(pad, cut, max_length, stride, multiple, side)


def _choose(name: str, value: Any, default: str, off: str) -> Any:
    if value is None or value is False:
        return None
    found = default if value is True else LENGTH_OPTIONS[name].read(value, TokenizerError)
    return None if found in (False, off) else default if found is True else found


def check_side(value: Any, name: str) -> Side:
    """``value`` itself, if it is "left" or "right"."""
    if isinstance(value, str) and value in ("left", "right"):
        return cast(Side, value)
    return cast(Side, read_value(name, value, Side, TokenizerError))


def pad_rows(columns: dict[str, list[Any]], fill: dict[str, Any], lengths: Lengths) -> dict[str, list[Any]]:
    """Fill up rows that are already encoded.

    Args:
        columns: for each name, the rows; those whose name is not in ``fill`` are left as they are.
        fill: what goes into the gaps, by name.
        lengths: how far, and on which side.
    """
    if lengths.padding is None:
        return columns
    sizes = [len(row) for row in columns["input_ids"]]
    target = max(sizes, default=0) if lengths.padding == "longest" else lengths.max_length or 0
    if lengths.multiple:
        target = -(-target // lengths.multiple) * lengths.multiple

    def padded(row: list[Any], size: int, value: Any) -> list[Any]:
        gap = [value] * (target - size)
        return row + gap if lengths.side == "right" else gap + row

    return {
        name: [padded(row, size, fill[name]) for row, size in zip(rows, sizes, strict=True)] if name in fill else rows
        for name, rows in columns.items()
    }
