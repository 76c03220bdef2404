"""How far rounding alone carries an operation from its exact result, measured: the yardstick of every comparison.

An error is the largest difference as a share of the root mean square of what is right, so that it means the same for
logits and for attention weights. What a mask hides is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from minitransformer.parity.kinds import KINDS, compute
from minitransformer.parity.operations import Operation

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MOST_NUMBERS = 2**20
"""That are compared at once."""
ENOUGH = 2**18
"""Numbers of a result on which noise is measured; of larger ones some tokens are taken."""


def error(x: Tensor, right: Tensor, mask: Tensor | None = None) -> float:
    """The largest difference of ``x`` from what is right, as a share of its root mean square.

    Args:
        x: of the shape of ``right``.
        right: what it should be.
        mask: true at what counts.
    """
    if not x.numel():
        return 0.0
    count, square, largest = 0, 0.0, 0.0
    seen = None if mask is None else mask.expand(right.shape).flatten()
    a, b = x.flatten(), right.flatten()
    for start in range(0, len(a), MOST_NUMBERS):  # a large one at once would need several times its memory
        part = slice(start, start + MOST_NUMBERS)
        mine, theirs = b[part].double(), a[part].double()
        if seen is not None:
            mine, theirs = mine[seen[part]], theirs[seen[part]]
        if not len(mine):
            continue
        furthest = float((theirs - mine).abs().max())
        if furthest != furthest:
            return float("inf")
        count, square, largest = count + len(mine), square + float(mine.pow(2).sum()), max(largest, furthest)
    size = (square / max(count, 1)) ** 0.5
    return largest / size if size else (largest and float("inf"))


def measure(operation: Operation, tensors: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, float]:
    """Type -> error of the operation computed in it, on recorded inputs: the largest of three orders of summation."""
    roles, constants = operation.roles(tensors, parameters), dict(operation.constants)
    if math.prod(operation.shape) > ENOUGH and "tokens" not in constants:
        roles = _fewer(operation, roles)
    return {name: max(_errors(operation, roles, constants, dtype)) for name, dtype in DTYPES.items()}


MOST_OUTPUTS = 4096
"""Rows of a projection's weight on which noise is measured."""
TOKENS = {
    "linear": {"x": -2},
    "attention.heads": {"x": -2},
    "attention.out": {"mixed": -2},
    "residual": {"x": -2, "sublayer": -2},
    "activation": {"x": -2, "gated": -2},
    "norm.layer": {"x": -2},
    "norm.rms": {"x": -2},
    "attention.raw_scores": {"q": -2},
    "attention.scores": {"raw_scores": -2, "bias": -2, "mask": -2},
    "attention.pattern": {"scores": -2},
    "attention.mixed": {"pattern": -2},
}
"""Kinds of which results are large -> their roles, and where they have the axis of tokens that ask."""


def _fewer(operation: Operation, roles: dict[str, Tensor]) -> dict[str, Tensor]:
    """The roles for some tokens, evenly spread; their results have about `ENOUGH` numbers."""
    axes = TOKENS.get(operation.kind, {})
    if not axes:
        return roles
    first = next(iter(axes))
    length = roles[first].shape[axes[first]]
    count = min(length, max(16, length * ENOUGH // math.prod(operation.shape)))
    places = torch.linspace(0, length - 1, count).round().long()
    fewer = {
        role: x.index_select(axes[role], places) if role in axes and x.shape[axes[role]] == length else x
        for role, x in roles.items()
    }
    if operation.kind == "linear" and len(roles["weight"]) > MOST_OUTPUTS:  # words of a vocabulary
        words = torch.linspace(0, len(roles["weight"]) - 1, MOST_OUTPUTS).round().long()
        fewer |= {role: fewer[role][words] for role in ("weight", "bias") if role in fewer}
    return fewer


def _errors(operation: Operation, roles: dict[str, Tensor], constants: dict[str, Any], dtype: torch.dtype) -> Any:
    yield torch.finfo(dtype).eps / 2
    names = set(operation.inputs)
    low = {role: lowered(x, dtype) for role, x in roles.items()}
    exact = {role: low[role].double() if x.is_floating_point() and role in names else x for role, x in roles.items()}
    exact = {role: x.double() if x.is_floating_point() else x for role, x in exact.items()}
    mask = roles.get("mask")
    right = compute(operation.kind, exact, constants)
    for order in ("as it is", "backwards", "in strides"):
        reordered, back = _reorder(operation.kind, low, order)
        if order != "as it is" and reordered is low:
            return
        yield error(back(compute(operation.kind, reordered, constants)), right, mask)


def lowered(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x`` in a type, if it is made of floating-point numbers; what overflows there stays finite."""
    if not x.is_floating_point():
        return x
    limit = torch.finfo(dtype).max
    return x.clamp(-limit, limit).to(dtype)


def _reorder(kind: str, roles: dict[str, Tensor], order: str) -> tuple[dict[str, Tensor], Any]:
    """The same operation with its sum in another order, and what puts its result's axis back."""
    axes = KINDS[kind].contracts
    if axes is None or order == "as it is":
        return roles, lambda x: x
    first = next(role for role in axes if role in roles)
    size = roles[first].shape[axes[first]]
    places = torch.arange(size)
    places = places.flip(0) if order == "backwards" else torch.cat([places[i::7] for i in range(7)])
    changed = {
        role: x.index_select(axes[role], places) if role in axes and x.shape[axes[role]] == size else x
        for role, x in roles.items()
    }
    if "result" in axes:
        return changed, lambda x: x.index_select(axes["result"], places.argsort())
    return changed, lambda x: x
