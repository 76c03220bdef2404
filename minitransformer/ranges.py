"""What the sizes, rates and ids of a config may be: types that stand beside the fields, with their ranges as data.

A range is where a number makes sense in any model there is, or might be. It is no promise that a model of that size
fits into memory: what a checkpoint's config asks for is compared with its weights before anything is built.
"""

from __future__ import annotations

import dataclasses
import typing
from functools import cache
from typing import Annotated, Any, NamedTuple

from minitransformer.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Range:
    """From the least to the largest number, both of which are in it."""

    least: float
    most: float


class IsInFile:
    """Marks a count of parts, each of which has tensors of its own in the weights."""


class IsToken:
    """Marks the id of a token of the vocabulary."""


Width = Annotated[int, Range(1, 2**24)]
"""A side of a weight: of the vocabulary, of a vector."""
Layers = Annotated[int, Range(1, 1000), IsInFile]
"""Layers one upon another, each with its own weights."""
Depth = Annotated[int, Range(1, 1000)]
"""How often layers are applied, which may share weights."""
Count = Annotated[int, Range(1, 2**16)]
"""Heads, buckets and the like."""
Positions = Annotated[int, Range(1, 2**20)]
"""Places in a text that a model knows."""
Length = Annotated[int, Range(-1, 2**20)]
"""Of a memory; 0 or -1 for none."""
Rate = Annotated[float, Range(0, 1)]
"""A probability, or another small number."""
Spread = Annotated[float, Range(0, 1000)]
"""Of random weights."""
Theta = Annotated[float, Range(1, 2**50)]  # where a float still tells one number from the next
"""In how many tokens the slowest of rotary positions turn by one radian."""
TokenId = Annotated[int, IsToken]
"""Of a token of the vocabulary."""

MOST_LABELS = 2**20
"""Classes of a head."""


class _Bound(NamedTuple):
    name: str
    key: str
    mark: Any
    default: Any


@cache
def bounds(cls: Any) -> tuple[_Bound, ...]:
    """The fields of a config class that have a range, and the marks of their types."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = []
    for field in dataclasses.fields(cls):
        key = field.metadata.get("key") or field.name
        marks = {mark for kind in _parts(hints[field.name]) for mark in getattr(kind, "__metadata__", ())}
        found += [_Bound(field.name, key, mark, field.default) for mark in marks]
    return tuple(found)


def _parts(kind: Any) -> list[Any]:
    """A type, and those that it is made of."""
    inner = () if hasattr(kind, "__metadata__") else typing.get_args(kind)
    return [kind, *(part for one in inner for part in _parts(one))]


def check_ranges(config: Any) -> None:
    """Raise a ConfigError for the first number of a config that is outside of its range, or does not divide."""
    cls: Any = type(config)
    for name, key, mark, default in bounds(cls):
        value = getattr(config, name)
        if value is None or value == default and name != "pad_token_id":  # its row of the embedding is another one
            continue
        if isinstance(mark, Range):
            if not all(mark.least <= number <= mark.most for number in (value if isinstance(value, list) else [value])):
                raise ConfigError(f"{key} must be from {mark.least} to {mark.most}, not {value!r:.100}")
        elif mark is IsToken:
            ids = value if isinstance(value, list) else [value]
            size = largest_vocabulary(config)
            if not all(type(i) is int and 0 <= i < size for i in ids):
                raise ConfigError(f"{key} must be an id of the vocabulary, from 0 to {size - 1}, not {value!r:.100}")

    keys = {name: key for name, key, _, _ in bounds(cls)}
    for name in {"num_heads", "decoder_attention_heads"} & keys.keys() if "head_size" not in keys else ():
        heads = getattr(config, name)
        if config.hidden_size % heads:
            raise ConfigError(f"{keys['hidden_size']}={config.hidden_size} is not a multiple of {keys[name]}={heads}")


def largest_vocabulary(config: Any) -> int:
    """Tokens of the larger vocabulary, where there are two."""
    return max(getattr(config, name, None) or 0 for name in ("vocab_size", "target_vocab_size", "decoder_vocab_size"))
