"""What goes wrong in layers with a weight and perhaps a bias."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.parity import kinds
from minitransformer.parity.evaluation import Evaluator
from minitransformer.parity.hypotheses.base import Context, Hypothesis, changing, replacing, without
from minitransformer.parity.operations import Operation


def projections(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of layers with a weight and perhaps a bias."""
    function = kinds.KINDS[operation.kind].function
    if "weight" not in operation.parameters:
        return
    if "bias" in operation.parameters:
        yield "the bias is missing", without(function, "bias")
        yield "the bias is added twice", replacing(function, "bias", lambda b: 2 * b)
        yield "the bias is subtracted", replacing(function, "bias", lambda b: -b)
    if operation.kind.startswith("norm"):
        return
    shape = context.evaluator.parameters[operation.parameters["weight"]].shape
    told = operation.file_parameters.get("weight", {}).get("how", "")
    if shape[0] == shape[1]:
        why = " (the checkpoint stores it as (in, out))" if "transposed" in told else ""
        yield f"the weight is transposed{why}", replacing(function, "weight", torch.t)
    own = operation.parameters["weight"]
    if operation.name.endswith("logits") and operation.kind == "linear":
        yield from _other_tables(operation, context)
    for name, x in context.evaluator.parameters.items():
        if name == own or x.shape != shape or not name.endswith(".weight"):
            continue
        if name.rpartition(".")[0].rpartition(".")[0] != own.rpartition(".")[0].rpartition(".")[0]:
            if name.rpartition(".")[0].rpartition(".")[2] != own.rpartition(".")[0].rpartition(".")[2]:
                continue
        bias = f"{name.removesuffix('weight')}bias"

        def swapped(roles: dict[str, Tensor], constants: dict[str, Any], name: str = name, bias: str = bias) -> Tensor:
            more = {"weight": Evaluator.widened(context.evaluator.parameters[name])}
            if "bias" in roles and bias in context.evaluator.parameters:
                more["bias"] = Evaluator.widened(context.evaluator.parameters[bias])
            return function(**{**roles, **more}, **constants)

        yield f"the parameters are those of {name.removesuffix('.weight')}", swapped
    if operation.name.endswith("logits") and operation.constants.get("scale", 1.0) == 1.0:
        yield (
            "the states are scaled by 1 / sqrt(hidden_size) before the projection, which this model does not",
            changing(function, scale=shape[1] ** -0.5),
        )
    if operation.constants.get("scale", 1.0) != 1.0:
        yield "the factor before the projection is missing", without(function, "scale")
        yield (
            "the factor before the projection is applied twice",
            changing(function, scale=operation.constants["scale"] ** 2),
        )
    if "tokens" in operation.constants:
        batch = len(operation.constants["tokens"])
        length = context.evaluator.value(operation.inputs["x"]).shape[1]
        for token in range(length):
            if [token] * batch != list(operation.constants["tokens"]):
                yield f"token {token} of each text is read", changing(function, tokens=[token] * batch)
        yield (
            "the mean of all tokens is read",
            lambda roles, c: F.linear(roles["x"].mean(1), roles["weight"], roles.get("bias")),
        )


def _other_tables(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """A head that reads a table of embeddings which is not its own."""
    parameters = context.evaluator.parameters
    own = parameters[operation.parameters["weight"]]
    for name, x in parameters.items():
        if name.endswith("embeddings.word.weight") and x.shape == own.shape and not torch.equal(x, own):
            table = Evaluator.widened(x)
            yield (
                f"the head is tied to {name.removesuffix('.weight')}, which it is not in this model",
                replacing(kinds.linear, "weight", lambda w, table=table: table),  # type: ignore[misc]
            )
