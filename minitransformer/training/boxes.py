"""Boxes of tensors: what one process has of a tensor, and what a file holds of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class TensorFileError(ValueError):
    """Files that hold other tensors than a training's, or only a part of them."""


class Box(NamedTuple):
    """A box of a larger tensor.

    Attributes:
        whole: shape of the tensor.
        begin: where the box begins, on each axis.
        shape: of the box.
    """

    whole: tuple[int, ...]
    begin: tuple[int, ...]
    shape: tuple[int, ...]

    def common(self, other: Box) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
        """What two boxes share, as places in each; None for nothing."""
        low = [max(a, b) for a, b in zip(self.begin, other.begin, strict=True)]
        ends = zip(self.begin, self.shape, other.begin, other.shape, strict=True)
        high = [min(a + n, b + m) for a, n, b, m in ends]
        if any(a >= b for a, b in zip(low, high, strict=True)):
            return None
        mine, theirs = (
            tuple(slice(a - start, b - start) for a, b, start in zip(low, high, box.begin, strict=True))
            for box in (self, other)
        )
        return mine, theirs


class Stored(Protocol):
    """The tensors of a checkpoint."""

    def boxes(self, name: str) -> Sequence[tuple[Box, Any]]:
        """The boxes of a tensor that there are, each with where it lies; none if there is no such tensor."""

    def read(self, name: str, where: Any, place: tuple[slice, ...]) -> Tensor:
        """The numbers at a place of a box."""


def fill(name: str, local: Tensor, own: Box, stored: Stored) -> None:
    """Fill this process's box of a tensor from the boxes that are stored.

    Args:
        name: of the tensor.
        local: the numbers of this process.
        own: which box they are.
        stored: reads.

    Raises:
        TensorFileError: they are not stored, or not all of them, or are of another type.
    """
    boxes = stored.boxes(name)
    if not boxes:
        raise TensorFileError(f"it has no tensor {name}")
    filled = torch.zeros(local.shape, dtype=torch.bool)
    for box, where in boxes:
        if box.whole != own.whole:
            raise TensorFileError(f"{name} is of shape {box.whole}, not {own.whole}")
        common = own.common(box)
        if common is not None:
            here, there = common
            numbers = stored.read(name, where, there)
            if numbers.dtype != local.dtype:
                raise TensorFileError(f"{name} is of type {numbers.dtype}, not {local.dtype}")
            local[here].copy_(numbers)
            filled[here] = True
    if not filled.all():
        raise TensorFileError(f"a part of {name} is not there")
