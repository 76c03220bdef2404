"""What goes wrong in attention: heads, dot products, biases and masks, the softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from minitransformer.layers import relative_buckets
from minitransformer.parity import kinds
from minitransformer.parity.evaluation import Change
from minitransformer.parity.hypotheses.base import Context, Hypothesis, changing, replacing, without
from minitransformer.parity.operations import Operation


def cut_heads(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of projections that are cut into heads."""
    heads = operation.constants["heads"]

    def cut(pattern: str) -> Change:
        def change(roles: dict[str, Tensor], constants: dict[str, Any]) -> Tensor:
            x = kinds.compute(operation.kind, roles, constants)
            return rearrange(rearrange(x, "b h t k -> b t (h k)"), pattern, h=heads)

        return change

    if operation.kind == "attention.heads.distances":
        return
    yield "heads are cut interleaved: (head_size, heads), not (heads, head_size)", cut("b t (k h) -> b h t k")
    yield (
        "heads are cut before tokens: reshaped to (heads, tokens, head_size) without a transposition",
        lambda roles, c: (y := rearrange(kinds.compute(operation.kind, roles, c), "b h t k -> b t (h k)")).reshape(
            y.shape[0], heads, y.shape[1], -1
        ),
    )
    yield "the order of heads is reversed", lambda roles, c: kinds.compute(operation.kind, roles, c).flip(1)


def joined_heads(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of the projection behind attention."""
    change = replacing(
        kinds.joined,
        "mixed",
        lambda m: (
            rearrange(m, "b h t k -> b t k h")
            .reshape(m.shape[0], m.shape[2], -1)[:, :, None]
            .reshape(m.shape[0], m.shape[2], m.shape[1], m.shape[3])
            .transpose(1, 2)
        ),
    )
    yield "heads are joined interleaved: (head_size, heads), not (heads, head_size)", change
    yield (
        "heads are joined without moving their axis behind the tokens'",
        replacing(
            kinds.joined,
            "mixed",
            lambda m: m.reshape(m.shape[0], m.shape[2], m.shape[1], m.shape[3]).transpose(1, 2),
        ),
    )
    yield "the order of heads is reversed", replacing(kinds.joined, "mixed", lambda m: m.flip(1))


def scaling(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of dot products."""
    function, own = kinds.raw_scores, operation.constants["temperature"]
    _, heads, _, size = context.evaluator.value(operation.inputs["q"]).shape
    others = {
        "the scores are not divided by sqrt(head_size)": 1.0,
        "the scores are divided by sqrt(hidden_size), not sqrt(head_size)": math.sqrt(heads * size),
        "the scores are divided twice": own**2,
        "the scores are divided by head_size, not its root": float(size),
        "the scores are multiplied by sqrt(head_size), not divided": 1 / own,
        "the scores are divided by sqrt(head_size), which this model does not": math.sqrt(size),
        "the scores are divided by sqrt(heads), not sqrt(head_size)": math.sqrt(heads),
    }
    tried = {own}
    for cause, temperature in others.items():
        if all(abs(temperature - one) > 1e-9 for one in tried):
            tried.add(temperature)
            yield cause, changing(function, temperature=temperature)
    if "content_bias" in operation.parameters:
        yield "the content bias u is missing", without(function, "content_bias")
    yield "the keys are not transposed", lambda r, c: r["q"] @ r["k"] / c["temperature"]
    yield "queries and keys are exchanged", lambda r, c: r["k"] @ r["q"].transpose(-1, -2) / c["temperature"]

    if context.evaluator.value(operation.inputs["k"]).shape[1] != heads:
        yield "the keys' heads are shared by turns, not by heads in a row", replacing(function, "k", _by_turns(heads))


def _by_turns(heads: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x.repeat(1, heads // x.shape[1], 1, 1)


def turning(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of rotary positions."""
    function = kinds.rotated

    def side_by_side(roles: dict[str, Tensor], constants: dict[str, Any]) -> Tensor:
        halves = rearrange(roles["x"], "b h t (k two) -> b h t (two k)", two=2)
        turned = kinds.compute(operation.kind, {**roles, "x": halves}, constants)
        return rearrange(turned, "b h t (two k) -> b h t (k two)", two=2)

    yield "positions are left out: nothing is turned", lambda roles, constants: roles["x"]
    yield "a head's pairs are taken side by side, not from its two halves", side_by_side
    yield "the pairs are turned the other way", replacing(function, "positions", torch.neg)
    yield "positions count from 1", replacing(function, "positions", lambda p: p + 1)
    yield "positions count from -1", replacing(function, "positions", lambda p: p - 1)
    yield (
        "positions count padding, and not along the mask",
        replacing(function, "positions", lambda p: torch.arange(p.shape[-1])[None].expand(p.shape)),
    )
    for theta in (10000.0, 500000.0, 1000000.0):
        if theta != operation.constants["theta"]:
            yield f"theta is {theta:g}", changing(function, theta=theta)
    if operation.constants["scaling"].get("rope_type", "default") != "default":
        yield "the frequencies are not stretched (rope_scaling)", changing(function, scaling={})


def masking(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of biases and masks."""
    relative = operation.kind == "attention.scores.relative"
    function = kinds.relative_scores if relative else kinds.scores
    if relative:
        yield "the bias of distances is missing", lambda r, c: kinds.scores(r["raw_scores"], mask=r.get("mask"))
        yield "the distance bias v is missing", replacing(function, "distance_bias", torch.zeros_like)
    if "bias" in operation.inputs:
        yield "the position bias is missing", without(function, "bias")
        yield "the position bias is added twice", replacing(function, "bias", lambda b: 2 * b)
        yield "the position bias is subtracted", replacing(function, "bias", lambda b: -b)
        yield (
            "the position bias has queries and keys exchanged",
            replacing(function, "bias", lambda b: b.transpose(-1, -2)),
        )
        yield "the position bias has its heads in reverse order", replacing(function, "bias", lambda b: b.flip(1))
    raw = context.evaluator.value(operation.inputs["raw_scores"])
    queries, keys = raw.shape[-2:]
    causal = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    if "mask" not in operation.inputs:
        yield "a causal mask is applied, which this model does not", _adding(function, causal)
        return
    mask = context.evaluator.given[operation.inputs["mask"]]
    yield "the mask is missing", without(function, "mask")
    yield "the mask is inverted", replacing(function, "mask", lambda m: ~m)
    yield "the mask is added as 0 and 1", _plus(function, mask.double())
    yield "the mask is added as 0 and 1, ones at what is hidden", _plus(function, (~mask).double())
    yield "the mask is multiplied", lambda r, c: without(function, "mask")(r, c) * mask
    for shift in (1, -1):
        word = "one token into the future" if shift == 1 else "not the token itself"
        other = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries + shift)
        if bool((mask & ~causal).any()):  # not causal
            break
        yield f"the causal mask is off by one: it lets see {word}", _adding(function, other & _padding(mask, causal))
    if not bool((mask & ~causal).any()) and queries > 1:
        padding = _padding(mask, causal)
        yield "the causal mask is missing", _adding(function, padding.expand(mask.shape))
        yield "the mask of padding is missing", _adding(function, causal.expand(mask.shape))
        yield "the causal mask looks the other way", _adding(function, causal.flip(-1).flip(-2) & padding)
    else:
        yield "a causal mask is applied, which this model does not", _adding(function, mask & causal)
        yield (
            "the mask of padding hides the first keys, not the last",
            replacing(function, "mask", lambda m: m.flip(-1)),
        )


def _padding(mask: Tensor, causal: Tensor) -> Tensor:
    """The keys that some query sees, of a causal mask with padding."""
    return mask.any(-2, keepdim=True)


def _adding(function: Callable[..., Tensor], mask: Tensor) -> Change:
    return lambda roles, constants: function(**{**roles, "mask": mask}, **constants)


def _plus(function: Callable[..., Tensor], addend: Tensor) -> Change:
    return lambda roles, constants: without(function, "mask")(roles, constants) + addend


def weighing(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of the softmax."""
    yield "the softmax runs over queries, not keys", lambda r, c: r["scores"].softmax(-2)
    yield "the softmax runs over heads, not keys", lambda r, c: r["scores"].softmax(1)
    yield "a logistic function stands in the softmax's place", lambda r, c: r["scores"].sigmoid()
    raw = operation.name.replace(".pattern", ".raw_scores")
    if raw in context.evaluator.by_name:
        yield "the softmax reads the scores before bias and mask", lambda r, c: context.evaluator.value(raw).softmax(-1)
        hidden = context.evaluator.value(operation.inputs["scores"]) > -1e300
        yield "the mask is applied after the softmax", lambda r, c: context.evaluator.value(raw).softmax(-1) * hidden
    yield "the softmax is one of base 2", lambda r, c: (r["scores"].clamp(min=-1e30) * math.log(2)).softmax(-1)


def mixing(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of the mean of values."""
    yield "the pattern is transposed", replacing(kinds.mixed, "pattern", lambda p: p.transpose(-1, -2))
    heads = context.evaluator.value(operation.inputs["pattern"]).shape[1]
    if context.evaluator.value(operation.inputs["v"]).shape[1] != heads:
        told = "the values' heads are shared by turns, not by heads in a row"
        yield told, replacing(kinds.mixed, "v", _by_turns(heads))


def distances(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of T5's bias."""
    function, c = kinds.relative_positions, operation.constants
    other = "both directions" if not c["bidirectional"] else "one direction"
    yield f"the buckets are those of {other}", changing(function, bidirectional=not c["bidirectional"])

    def reversed_sign(roles: dict[str, Tensor], c: dict[str, Any]) -> Tensor:
        places = torch.arange(c["keys"])
        distances = places[c["keys"] - c["queries"] :, None] - places[None]
        buckets = relative_buckets(distances, c["num_buckets"], c["max_distance"], bidirectional=c["bidirectional"])
        return roles["table"][buckets].permute(2, 0, 1)[None]

    yield "distances have the other sign: query less key", reversed_sign
    yield "max_distance is 128", changing(function, max_distance=128)
    for shift in (1, -1):
        yield "the query's position is off by one", lambda r, c, shift=shift: _shifted(r, c, shift)  # type: ignore[misc]


def _shifted(roles: dict[str, Tensor], c: dict[str, Any], shift: int) -> Tensor:
    places = torch.arange(c["keys"])
    distances = places[None] - (places[c["keys"] - c["queries"] :, None] + shift)
    buckets = relative_buckets(distances, c["num_buckets"], c["max_distance"], bidirectional=c["bidirectional"])
    return roles["table"][buckets].permute(2, 0, 1)[None]
