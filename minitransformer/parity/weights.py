"""In which weights two models differ, under the names of the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from minitransformer.weights.engine import export_weights
from minitransformer.weights.table import template


@dataclass(frozen=True)
class WeightDifference:
    """One tensor of a checkpoint's format, in two models."""

    name: str
    """In the checkpoint."""
    state: str
    """"same", "differs", "another shape", "missing" (theirs lacks it) or "unknown" (ours does)."""
    largest: float
    """Largest difference, where the shapes are the same."""


def compare_weights(ours: Any, theirs: Any) -> list[WeightDifference]:
    """The parameters of two models under the checkpoint's names, so that layout and fused matrices do not matter.

    Args:
        ours: a model of this library.
        theirs: a model of transformers, another one of ours, or tensors by the checkpoint's names.
    """
    mine = _named_weights(ours)
    others = theirs if isinstance(theirs, Mapping) else _named_weights(theirs)
    result = []
    for name, x in mine.items():
        y = others.get(name)
        if y is None or x.shape != y.shape:
            result.append(WeightDifference(name, "missing" if y is None else "another shape", math.inf))
            continue
        largest = float((x.double() - y.double()).abs().max()) if x.numel() else 0.0
        result.append(WeightDifference(name, "same" if largest == 0 else "differs", largest))
    known = {tensor.data_ptr() for name, tensor in others.items() if name in mine}  # tied ones have several names
    idle = ours.WEIGHTS.ignore
    for name, y in others.items():
        if name not in mine and y.data_ptr() not in known and not any(template(row.hf).fullmatch(name) for row in idle):
            result.append(WeightDifference(name, "unknown", math.inf))
    return result


def _named_weights(model: Any) -> dict[str, Tensor]:
    """A model's tensors under the checkpoint's names."""
    if hasattr(model, "WEIGHTS"):
        return export_weights(model, model.WEIGHTS)
    return {name: x.detach() for name, x in model.state_dict().items()}
