"""Places of a sweep; and those that change one token of a block's output alone, for which the block computes no other.

Behind attention a block treats each token by itself. So where one token is changed there, the rest of the block runs
for this token only, and what comes out is put into the output that the base has anyway: copies of a text become whole
in the next block, whose attention spreads the change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import StudyError
from minitransformer.layers import FeedForward, MultiHeadAttention, PostNormBlock, PreNormBlock
from minitransformer.layers.feedforward import GatedFeedForward

AXES = {
    "head": ("heads",),
    "position": ("query", "token", "key", "target"),
    "key": ("key",),
    "neuron": ("intermediate_size",),
}
"""What ``by`` may name beside "tap" -> the axis of the tap that is meant, the first of these that it has."""

FFN = tuple(f"ffn.{name}" for name in ("pre", "gated", "hidden", "out"))
BEHIND_ATTENTION: dict[Any, dict[str, str | None]] = {
    PostNormBlock.forward: dict.fromkeys(("attn.mixed", "attn.out"), "after_attn")
    | dict.fromkeys(FFN, "after_ffn")
    | dict.fromkeys(("after_attn", "attn_normed", "after_ffn", "ffn_normed")),
    PreNormBlock.forward: dict.fromkeys(("attn.mixed", "attn.out"), "after_attn")
    | dict.fromkeys((*FFN, "ffn_normed"), "after_ffn")
    | dict.fromkeys(("after_attn", "after_ffn")),
}
"""For each wiring the taps behind attention -> where the sublayer meets the other tokens again, in the residual."""


@dataclass(frozen=True)
class Cell:
    """One place of a sweep: taps, and for each the part of its tensor that is replaced."""

    taps: tuple[str, ...]
    places: tuple[tuple[str, int], ...]
    """Pairs of a word of ``by`` and a number."""


def axis_of(name: str, axes: tuple[str, ...], word: str) -> int:
    """The number of the axis of the tap ``name`` that ``word`` means.

    Raises:
        StudyError: it has none.
    """
    found = [axes.index(axis) for axis in AXES[word] if axis in axes]
    if not found:
        raise StudyError(f"{name} has the axes ({' '.join(axes)}) and cannot be patched by {word!r}")
    if axes[0] not in ("batch", "#batch"):
        raise StudyError(f"{name} is the same for all rows, its axes are ({' '.join(axes)}): it cannot be patched")
    return found[0]


def token_alone(model: nn.Module, block: str, cell: Cell) -> str | None:
    """The tap of a cell that changes one token behind the attention of a usual block; None for others."""
    part: Any = model.get_submodule(block)
    (name,) = cell.taps
    usual = type(part.attn) is MultiHeadAttention and type(part.ffn) in (FeedForward, GatedFeedForward)
    behind = BEHIND_ATTENTION.get(type(part).forward, {})
    changes_one = usual and name.removeprefix(f"{block}.") in behind and "position" in dict(cell.places)
    return name if changes_one else None


def of_tokens_alone(
    block: str, tap: str, wiring: Any, cells: list[Cell], axes: tuple[str, ...], value: Tensor, usual: Tensor
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Edits by which a block computes, of copies of the one row, the changed tokens alone.

    Args:
        block: name of the block.
        tap: what is changed, one of ``BEHIND_ATTENTION``.
        wiring: the ``forward`` of the block's class.
        cells: what is changed in each copy.
        axes: names of the tap's axes.
        value: what is put in, of one row.
        usual: the block's output without a change, (1, token, hidden_size).
    """
    positions = torch.tensor([dict(cell.places)["position"] for cell in cells], device=usual.device)
    copies = torch.arange(len(cells), device=usual.device)
    axis = axis_of(tap, axes, "position")

    def of_token(x: Tensor) -> Tensor:
        """A copy of the one row for each cell, of its token alone."""
        return x[0].index_select(axis - 1, positions).movedim(axis - 1, 0).unsqueeze(axis)

    def put(x: Tensor) -> Tensor:
        x, new = of_token(x).clone(), of_token(value)
        for i, cell in enumerate(cells):
            index: list[Any] = [slice(None)] * x.dim()
            for word, place in cell.places:
                if word != "position":
                    index[axis_of(tap, axes, word)] = place
            x[i][tuple(index[1:])] = new[i][tuple(index[1:])]
        return x

    def back(x: Tensor) -> Tensor:
        whole = usual.repeat(len(cells), 1, 1)
        whole[copies, positions] = x[:, 0]
        return whole

    edits: dict[str, Callable[[Tensor], Tensor]] = {tap: put, f"{block}.output": back}
    residual = BEHIND_ATTENTION[wiring][tap.removeprefix(f"{block}.")]
    if residual is not None:
        edits[f"{block}.{residual}"] = lambda x: x[copies, positions][:, None]
    return edits
