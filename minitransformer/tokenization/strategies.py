"""What ``padding=`` and ``truncation=`` mean, and padding rows that are already encoded.

Reference: ``transformers/tokenization_utils_base.py`` (_get_padding_truncation_strategies, pad).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal, cast

from minitransformer.errors import TokenizerError, did_you_mean

logger = logging.getLogger("minitransformer")

Padding = Literal["longest", "max_length"]
Truncation = Literal["longest_first", "only_first", "only_second"]
Side = Literal["left", "right"]

NO_LIMIT = int(1e30)
"""``model_max_length`` of a tokenizer whose files name none."""
LARGEST_LIMIT = 10**20
"""Above this, a limit is taken as none."""


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
    for name, number, least in (
        ("max_length", max_length, 0),
        ("stride", stride, 0),
        ("pad_to_multiple_of", multiple, 1),
    ):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < least):
            raise TokenizerError(f"{name} must be an integer of at least {least}, not {number!r}")
    if max_length is not None and padding is False and truncation is None:
        truncation = True  # a limit alone means: cut there
    pad = cast(Padding | None, _choose("padding", padding, "longest", ("longest", "max_length"), "do_not_pad"))
    ways = ("longest_first", "only_first", "only_second")
    cut = cast(Truncation | None, _choose("truncation", truncation, "longest_first", ways, "do_not_truncate"))
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
    if pad and cut and multiple and max_length is not None and max_length % multiple:
        raise TokenizerError(
            f"max_length {max_length} is not a multiple of pad_to_multiple_of {multiple}, and both apply"
        )
    return Lengths(pad, cut, max_length, stride, multiple, side)


def _choose(name: str, value: Any, default: str, choices: tuple[str, ...], off: str) -> str | None:
    value = getattr(value, "value", value)  # an enumeration's member
    if value is None or value is False or value == off:
        return None
    if value is True:
        return default
    if value in choices:
        return str(value)
    known = (*choices, off)
    raise TokenizerError(
        f"{name} must be True, False or one of {', '.join(known)}, not {value!r}.{did_you_mean(str(value), known)}"
    )


def check_side(value: Any, name: str) -> Side:
    """``value`` itself, if it is "left" or "right"."""
    if value not in ("left", "right"):
        raise TokenizerError(f"{name} must be 'left' or 'right', not {value!r}")
    return cast(Side, value)


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
