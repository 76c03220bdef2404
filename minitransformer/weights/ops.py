"""What may happen to a tensor between a checkpoint file and the model: a closed set of moves, each with its inverse.

An op moves numbers and never computes with them, so that going there and back gives the same bits. One tensor of the
file becomes one or several of ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Op(ABC):
    """A move from a file's tensor to ours, and back."""

    @abstractmethod
    def apply(self, tensor: Tensor) -> list[Tensor]:
        """From the file's tensor to ours."""

    @abstractmethod
    def revert(self, tensors: Sequence[Tensor]) -> Tensor:
        """From our tensors to the file's."""

    @abstractmethod
    def file_shape(self, shapes: Sequence[Shape]) -> Shape:
        """The shape of the file's tensor, when ours have these; ValueError if there is none."""


@dataclass(frozen=True)
class Same(Op):
    """Nothing but another name."""

    def apply(self, tensor: Tensor) -> list[Tensor]:
        return [tensor]

    def revert(self, tensors: Sequence[Tensor]) -> Tensor:
        (tensor,) = tensors
        return tensor

    def file_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        return shape


@dataclass(frozen=True)
class Transpose(Op):
    """Swap the two axes: (in, out) in the file, (out, in) here."""

    def apply(self, tensor: Tensor) -> list[Tensor]:
        return [tensor.t()]

    def revert(self, tensors: Sequence[Tensor]) -> Tensor:
        (tensor,) = tensors
        return tensor.t()

    def file_shape(self, shapes: Sequence[Shape]) -> Shape:
        ((rows, columns),) = shapes
        return (columns, rows)


@dataclass(frozen=True)
class Split(Op):
    """Cut into equal parts along an axis: one matrix in the file, several here."""

    parts: int
    dim: int = 0

    def apply(self, tensor: Tensor) -> list[Tensor]:
        return list(tensor.chunk(self.parts, dim=self.dim))

    def revert(self, tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(tensors), dim=self.dim)

    def file_shape(self, shapes: Sequence[Shape]) -> Shape:
        if list(shapes) != [shapes[0]] * self.parts:
            raise ValueError(f"not {self.parts} parts of one shape")
        return tuple(size * self.parts if axis == self.dim else size for axis, size in enumerate(shapes[0]))


@dataclass(frozen=True)
class AddAxis(Op):
    """The file's tensor has one more axis, of length one."""

    dim: int

    def apply(self, tensor: Tensor) -> list[Tensor]:
        return [tensor.squeeze(self.dim)]

    def revert(self, tensors: Sequence[Tensor]) -> Tensor:
        (tensor,) = tensors
        return tensor.unsqueeze(self.dim)

    def file_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        return (*shape[: self.dim], 1, *shape[self.dim :])


@dataclass(frozen=True)
class Interleave(Op):
    """Rows of pairs, in each head: side by side in the file, first halves before second halves here (rotary positions).

    Of a head of six rows, the file's are 0a 0b 1a 1b 2a 2b, and ours 0a 1a 2a 0b 1b 2b.
    """

    head_size: int

    def apply(self, tensor: Tensor) -> list[Tensor]:
        return [self._swap(tensor, (-1, self.head_size // 2, 2))]

    def revert(self, tensors: Sequence[Tensor]) -> Tensor:
        (tensor,) = tensors
        return self._swap(tensor, (-1, 2, self.head_size // 2))

    def _swap(self, tensor: Tensor, heads: tuple[int, ...]) -> Tensor:
        return tensor.reshape((*heads, *tensor.shape[1:])).transpose(1, 2).flatten(0, 2)

    def file_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        if self.head_size % 2 or shape[0] % self.head_size:
            raise ValueError(f"no heads of {self.head_size} rows")
        return shape


@dataclass(frozen=True)
class Then(Op):
    """First one op, which gives one tensor, then another."""

    first: Op
    second: Op

    def apply(self, tensor: Tensor) -> list[Tensor]:
        (between,) = self.first.apply(tensor)
        return self.second.apply(between)

    def revert(self, tensors: Sequence[Tensor]) -> Tensor:
        return self.first.revert([self.second.revert(tensors)])

    def file_shape(self, shapes: Sequence[Shape]) -> Shape:
        return self.first.file_shape([self.second.file_shape(shapes)])
