"""What goes wrong in what is done to each token by itself: norms, activations, residuals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from minitransformer.layers import ACTIVATIONS
from minitransformer.parity import kinds
from minitransformer.parity.hypotheses.base import Context, Hypothesis, changing, replacing, without
from minitransformer.parity.operations import Operation


def norming(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of norms."""
    kind = kinds.KINDS[operation.kind]
    for eps in dict.fromkeys((1e-5, 1e-6, 1e-12, 1e-8, 1e-7, 1e-3, 0.0, *_their_eps(operation, context))):
        if eps != operation.constants["eps"]:
            yield f"eps is {eps:g}, not {operation.constants['eps']:g}", changing(kind.function, eps=eps)
    yield "the norm's weight is missing", replacing(kind.function, "weight", torch.ones_like)
    yield "the norm's weight counts from one: 1 + weight", replacing(kind.function, "weight", lambda w: 1 + w)

    def outside(roles: dict[str, Tensor], c: dict[str, Any]) -> Tensor:
        x = roles["x"] - (roles["x"].mean(-1, keepdim=True) if operation.kind == "norm.layer" else 0)
        return x / (x.pow(2).mean(-1, keepdim=True).sqrt() + c["eps"]) * roles["weight"] + roles.get("bias", 0)

    yield "eps is added to the root, not under it", outside
    if operation.kind == "norm.layer":

        def unbiased(roles: dict[str, Tensor], c: dict[str, Any]) -> Tensor:
            x = roles["x"] - roles["x"].mean(-1, keepdim=True)
            x = x / (x.pow(2).sum(-1, keepdim=True) / (x.shape[-1] - 1) + c["eps"]).sqrt()
            return x * roles["weight"] + roles.get("bias", 0)

        def deviation(roles: dict[str, Tensor], c: dict[str, Any]) -> Tensor:
            x = roles["x"]
            return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + c["eps"]) * roles["weight"] + roles.get(
                "bias", 0
            )

        yield "the variance is the unbiased one: divided by n - 1", unbiased
        yield "the standard deviation is the unbiased one, and eps is added to it", deviation
        yield (
            "an RMS norm stands in a layer norm's place",
            lambda r, c: kinds.rms_norm(r["x"], r["weight"], eps=c["eps"]) + r.get("bias", 0),
        )
        yield (
            "an RMS norm stands in a layer norm's place",
            lambda r, c: kinds.rms_norm(r["x"], r["weight"], eps=c["eps"]),
        )
    else:
        yield "a layer norm stands in an RMS norm's place", changing(kinds.layer_norm)
    yield "the norm is missing", lambda r, c: r["x"]
    yield (
        "the norm runs over tokens, not over a token's numbers",
        lambda r, c: (
            kinds.layer_norm(r["x"].transpose(-1, -2), eps=c["eps"]).transpose(-1, -2) * r["weight"] + r.get("bias", 0)
        ),
    )


def _their_eps(operation: Operation, context: Context) -> Iterator[float]:
    """The eps with which a norm gives their numbers, to one digit."""
    if operation.name != context.target:
        return
    roles = context.evaluator.roles(operation)
    x = roles["x"] - (roles["x"].mean(-1, keepdim=True) if operation.kind == "norm.layer" else 0)
    normed = (context.x - roles.get("bias", 0)) / roles["weight"]
    eps = float(((x / normed).pow(2) - x.pow(2).mean(-1, keepdim=True)).median())
    if 1e-14 < eps < 10:
        yield float(f"{eps:.0e}")


def bending(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of activations."""
    own = operation.constants["activation"]
    others = {function: name for name, function in reversed(ACTIVATIONS.items()) if function is not ACTIVATIONS[own]}
    for name in others.values():  # one name for each function
        what = "no activation at all" if name == "linear" else f"the activation is {name}"
        yield f"{what}, not {own}", changing(kinds.activated, activation=name)
    if "gated" in operation.inputs:
        yield "the gate is missing", without(kinds.activated, "gated")
        yield (
            "the activation is on the wrong branch of the gate",
            lambda r, c: kinds.activated(r["gated"], r["x"], activation=c["activation"]),
        )


def adding(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of residuals."""
    yield "the residual is missing: the sublayer's output goes on alone", lambda r, c: r["sublayer"]
    yield "the sublayer's output is missing", lambda r, c: r["x"]
    yield "the residual is added twice", lambda r, c: 2 * r["x"] + r["sublayer"]
    yield "the sublayer's output is subtracted", lambda r, c: r["x"] - r["sublayer"]
    yield "the sum is halved", lambda r, c: (r["x"] + r["sublayer"]) / 2
