"""What goes wrong where ids become vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from minitransformer.parity import kinds
from minitransformer.parity.hypotheses.base import Context, Hypothesis, changing, replacing, without
from minitransformer.parity.hypotheses.ids import ids_of_rows, told_difference
from minitransformer.parity.operations import Operation


def looking_up(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of tables."""
    if operation.kind != "embedding":
        return
    leaf = operation.name.rpartition(".")[2]
    for shift in (1, 2, -1, -2):
        what = "positions" if leaf == "positions" else "ids"
        yield (
            f"{what} are {abs(shift)} too {'large' if shift > 0 else 'small'}",
            replacing(
                kinds.embedding,
                "ids",
                lambda i, shift=shift: i + shift,  # type: ignore[misc]
            ),
        )
    yield "all rows are row 0", replacing(kinds.embedding, "ids", torch.zeros_like)
    if operation.name == context.target and leaf == "words":
        yield from _other_ids(operation, context)
    if leaf == "positions":
        yield "positions count from the other end", replacing(kinds.embedding, "ids", lambda i: i.flip(-1))
        yield (
            "positions count padding or tokens otherwise: 0, 1, 2 ...",
            replacing(kinds.embedding, "ids", lambda i: torch.arange(i.shape[-1])[None].expand(i.shape)),
        )

        def halves(table: Tensor) -> Tensor:
            return torch.cat([table[:, 0::2], table[:, 1::2]], dim=1)

        def woven(table: Tensor) -> Tensor:
            half = (table.shape[1] + 1) // 2
            result = torch.empty_like(table)
            result[:, 0::2], result[:, 1::2] = table[:, :half], table[:, half:]
            return result

        yield "sines and cosines stand in halves, not in turns", replacing(kinds.embedding, "table", halves)
        yield "sines and cosines stand in turns, not in halves", replacing(kinds.embedding, "table", woven)
    hidden = context.x.shape[-1]
    if operation.name == context.target and leaf == "words":
        yield (
            "the words are scaled by sqrt(hidden_size) here already",
            lambda r, c: kinds.compute("embedding", r, c) * math.sqrt(hidden),
        )


def summing(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of embeddings."""
    function, own = kinds.embedding_sum, operation.constants["scale"]
    hidden = operation.shape[-1]
    if own != 1.0:
        yield "the factor sqrt(hidden_size) is missing", changing(function, scale=1.0)
        yield "the factor sqrt(hidden_size) is applied twice", changing(function, scale=own**2)
        yield (
            "the factor sqrt(hidden_size) is applied to positions, too",
            lambda r, c: changing(function, scale=1.0)(r, c) * c["scale"],
        )
        yield "the factor is divided by, not multiplied with", changing(function, scale=1 / own)
    else:
        yield (
            "the words are scaled by sqrt(hidden_size), which this model does not",
            changing(function, scale=math.sqrt(hidden)),
        )
    if "positions" in operation.inputs:
        yield "the positions are missing", without(function, "positions")
    if "token_types" in operation.inputs:
        yield "the token types are missing", without(function, "token_types")
    if "positions" in operation.inputs and "token_types" in operation.inputs:
        yield "positions and token types are missing", without(function, "positions", "token_types")


def factors(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of factors."""
    yield "the factor is missing", changing(kinds.scale, scale=1.0)
    yield "the factor is applied twice", changing(kinds.scale, scale=operation.constants["scale"] ** 2)
    yield "the factor is divided by, not multiplied with", changing(kinds.scale, scale=1 / operation.constants["scale"])


def _other_ids(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    roles = context.evaluator.roles(operation)
    limit = 8 * operation.noise.get(str(context.worked).removeprefix("torch."), 1e-6)
    ids, own = ids_of_rows(context.x, roles["table"], limit), roles["ids"]
    if ids is None or not bool(ids.any()):
        return
    moved = ids - own
    if bool((moved != moved[0, 0]).any()):  # all by one number is told above
        yield told_difference(ids, own), replacing(kinds.embedding, "ids", lambda i: ids)
