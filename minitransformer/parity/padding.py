"""Which tokens count: what a port computes at padding is nobody's business."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Keep = Callable[[Tensor], Tensor]
"""Takes the tokens that count out of a tensor of one shape; the other axes stay."""


def of_side(name: str, masks: Mapping[str, Tensor], *, two_sides: bool) -> Tensor | None:
    """The mask of the tokens that a tensor speaks of, true at those that count.

    Args:
        name: of the tensor.
        masks: ``attention_mask`` and perhaps ``decoder_attention_mask``.
        two_sides: whether the model has an encoder and a decoder.
    """
    dotted = f".{name}"
    of_source = ".encoder" in dotted or dotted.endswith((".cross_attn.k", ".cross_attn.v"))
    key = "attention_mask" if of_source or not two_sides else "decoder_attention_mask"
    mask = masks.get(key)
    return None if mask is None or bool(mask.all()) else mask.bool()


def keeping(axes: str, shape: tuple[int, ...], mask: Tensor | None) -> Keep | None:
    """What takes the tokens that count; None if all do, or the tensor has no axis of tokens.

    Args:
        axes: names of the axes, "..." for one of tokens, if there is one.
        shape: of the tensor.
        mask: (batch, token).
    """
    names = axes.split()
    if mask is None or len(names) != len(shape) or names[0] != "batch":
        return None
    axis = next((i for i, name in enumerate(names) if name in ("token", "query", "...")), None)
    axis = names.index("key") if axis is None and "key" in names else axis
    if axis is None or tuple(mask.shape) != (shape[0], shape[axis]):
        return None

    def take(x: Tensor) -> Tensor:
        return x.expand(*shape[: axis + 1], *x.shape[axis + 1 :]).movedim(axis, 1)[mask]

    return take


def masks_of(inputs: Mapping[str, object]) -> dict[str, Tensor]:
    """The masks among inputs."""
    return {name: torch.as_tensor(x) for name, x in inputs.items() if name.endswith("attention_mask")}
