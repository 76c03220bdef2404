"""What goes wrong in operations of any kind: other inputs, dropout, numbers of too few bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from minitransformer.parity import kinds
from minitransformer.parity.evaluation import Evaluator
from minitransformer.parity.hypotheses.base import Context, Hypothesis
from minitransformer.parity.operations import Operation

NEIGHBOURS = 16
"""How many operations back another input is looked for."""


def other_inputs(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """It reads another tensor of the same shape: the norm before or behind its place, a residual from elsewhere."""
    names = list(context.evaluator.by_name)
    place = operation.index
    for role, own in operation.inputs.items():
        if own not in context.evaluator.by_name:
            continue
        shape = context.evaluator.by_name[own].shape
        for name in names[max(0, place - NEIGHBOURS) : place][::-1]:
            other = context.evaluator.by_name[name]
            if name != own and other.shape == shape and not _same_tensor(context.evaluator, name, own):
                cause = f"it reads {_short(name)}, not {_short(own)}"

                def change(
                    roles: dict[str, Tensor], constants: dict[str, Any], role: str = role, name: str = name
                ) -> Tensor:
                    roles = {**roles, role: context.evaluator.value(name)}
                    return kinds.compute(operation.kind, roles, constants)

                yield cause, change


def _same_tensor(evaluator: Evaluator, one: str, two: str) -> bool:
    return _root(evaluator, one) == _root(evaluator, two)


def _root(evaluator: Evaluator, name: str) -> str:
    while name in evaluator.by_name and evaluator.by_name[name].kind == "identity":
        name = evaluator.by_name[name].inputs["x"]
    return name


def _short(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[parts.index("blocks") :]) if "blocks" in parts else name.removeprefix("backbone.")


def dropped(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Dropout that was left on: zeros here and there, and the rest made larger by one factor."""

    def change(roles: dict[str, Tensor], constants: dict[str, Any]) -> Tensor:
        right = kinds.compute(operation.kind, roles, constants)
        gone = (context.x == 0) & (right.abs() > 0)
        share = float(gone.double().mean())
        if operation.name != context.target or not 0.005 < share < 0.95:
            return torch.full_like(right, float("nan"))
        kept = ~gone & (right.abs() > 1e-6 * right.abs().max())
        factor = float((context.x[kept] / right[kept]).median())
        return (right * factor).masked_fill(gone, 0.0) if factor > 1.0 else torch.full_like(right, float("nan"))

    yield "dropout is on: call the port in evaluation mode", change


def other_weights(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Its parameters have other numbers, where theirs are known."""
    differing = {}
    for role, name in operation.parameters.items():
        theirs, own = context.weights.get(name), context.evaluator.parameters[name]
        if theirs is not None and theirs.shape == own.shape and not torch.equal(theirs.double(), own.double()):
            differing[role] = (name, Evaluator.widened(theirs))
    if not differing:
        return
    told = operation.file_parameters
    names = [told[role]["name"] if role in told else name for role, (name, _) in differing.items()]

    def change(roles: dict[str, Tensor], constants: dict[str, Any]) -> Tensor:
        return kinds.compute(operation.kind, {**roles, **{role: x for role, (_, x) in differing.items()}}, constants)

    yield f"{' and '.join(names)} {'have' if len(names) > 1 else 'has'} other numbers than ours", change


def few_bits(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Computed in a type of fewer bits than the rest, or beyond the largest number of float16."""
    x = context.x
    if operation.name != context.target or not operation.noise:
        return
    for dtype, name in ((torch.bfloat16, "bfloat16"), (torch.float16, "float16")):  # most of the first fit the second
        if torch.finfo(context.worked).bits <= 16 or not _is_of(x, dtype):
            continue
        noise = operation.noise["bfloat16"] * (2.0**-3 if dtype == torch.float16 else 1.0)

        def change(roles: dict[str, Tensor], c: dict[str, Any], noise: float = noise) -> Tensor:
            right = kinds.compute(operation.kind, roles, c)
            near = (x - right).abs().max() <= 8 * noise * right.pow(2).mean().sqrt()
            return x if bool(near) else torch.full_like(right, float("nan"))

        yield f"it is computed in {name}, unlike the rest", change
        return

    def beyond(roles: dict[str, Tensor], constants: dict[str, Any]) -> Tensor:
        right = kinds.compute(operation.kind, roles, constants)
        largest = torch.finfo(torch.float16).max
        return right.masked_fill(right > largest, float("inf")).masked_fill(right < -largest, float("-inf"))

    yield "numbers beyond 65504 become infinite: it is computed in float16", beyond


def _is_of(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether numbers are those of a type of 16 bits, its last bit in use; others are rounded for another reason."""
    narrow = x.to(dtype)
    if not bool((narrow.double() == x).all()):
        return False
    used = narrow[narrow.abs() > torch.finfo(dtype).tiny].view(torch.int16) & 1
    return len(used) > 0 and float(used.double().mean()) > 0.3
