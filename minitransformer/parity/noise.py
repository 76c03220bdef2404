"""How far rounding alone carries an operation from its exact result, measured: the yardstick of every comparison.

An error is the largest difference as a share of the root mean square of what is right, so that it means the same for
logits and for attention weights. What a mask hides is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from minitransformer.parity.kinds import KINDS, compute
from minitransformer.parity.operations import Operation

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MOST_NUMBERS = 2**20
"""Of a result on which noise is measured; of larger ones the first tokens are taken."""


def error(x: Tensor, right: Tensor, mask: Tensor | None = None) -> float:
    """The largest difference of ``x`` from what is right, as a share of its root mean square.

    Args:
        x: of the shape of ``right``.
        right: what it should be.
        mask: true at what counts.
    """
    x, right = x.to(torch.float64), right.to(torch.float64)
    if mask is not None:
        mask = mask.expand(right.shape)
        x, right = x[mask], right[mask]
    if not right.numel():
        return 0.0
    size = float(right.pow(2).mean().sqrt())
    largest = float((x - right).abs().max())
    if largest != largest:
        return float("inf")
    return largest / size if size else (largest and float("inf"))


def measure(operation: Operation, tensors: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, float]:
    """Type -> error of the operation computed in it, on recorded inputs: the largest of three orders of summation."""
    roles, constants = operation.roles(tensors, parameters), dict(operation.constants)
    if operation.kind == "linear" and _product(operation.shape) > MOST_NUMBERS:
        x = roles["x"]
        rows = max(1, MOST_NUMBERS // max(1, operation.shape[-1] * len(x)))
        roles["x"] = x[:, :rows] if x.dim() > 2 and "tokens" not in constants else x
    return {name: max(_errors(operation, roles, constants, dtype)) for name, dtype in DTYPES.items()}


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result


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
