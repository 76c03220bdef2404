"""What goes wrong in ports: for each kind of operation, the other ways in which people compute it.

Each hypothesis is tried on the port's own inputs, and believed only if it brings the error down to the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from minitransformer.layers import ACTIVATIONS, relative_buckets
from minitransformer.parity import kinds
from minitransformer.parity.evaluation import Change, Evaluator
from minitransformer.parity.operations import Operation

if TYPE_CHECKING:
    from minitransformer.parity.traces import Trace

Hypothesis = tuple[str, Change]
NEIGHBOURS = 16
"""How many operations back another input is looked for."""


@dataclass
class Context:
    """What a hypothesis may look at beside the operation."""

    trace: Trace
    evaluator: Evaluator
    x: Tensor
    """Their result."""
    target: str
    """Whose it is; a later operation, where the dump lacks tensors."""


def causes(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """The hypotheses for an operation: those of its kind."""
    for start, table in TABLE.items():
        if operation.kind == start or operation.kind.startswith(f"{start}."):
            for make in table:
                yield from make(operation, context)


def general_causes(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """The hypotheses for operations of any kind, for which those of its own were not true."""
    yield from other_inputs(operation, context)
    yield from dropped(operation, context)


def _with(function: Callable[..., Tensor], **more: Any) -> Change:
    """The function of a kind with other constants."""
    return lambda roles, constants: function(**roles, **{**constants, **more})


def _without(function: Callable[..., Tensor], *names: str) -> Change:
    """The function of a kind without some of its roles."""
    return lambda roles, constants: function(
        **{role: x for role, x in roles.items() if role not in names},
        **{name: x for name, x in constants.items() if name not in names},
    )


def _of(function: Callable[..., Tensor], role: str, change: Callable[[Tensor], Tensor]) -> Change:
    """The function of a kind with one of its roles changed."""
    return lambda roles, constants: function(**{**roles, role: change(roles[role])}, **constants)


def projections(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of layers with a weight and perhaps a bias."""
    function = kinds.KINDS[operation.kind].function
    if "weight" not in operation.parameters:
        return
    if "bias" in operation.parameters:
        yield "the bias is missing", _without(function, "bias")
        yield "the bias is added twice", _of(function, "bias", lambda b: 2 * b)
        yield "the bias is subtracted", _of(function, "bias", lambda b: -b)
    if operation.kind.startswith("norm"):
        return
    shape = context.evaluator.parameters[operation.parameters["weight"]].shape
    told = operation.file_parameters.get("weight", {}).get("how", "")
    if shape[0] == shape[1]:
        why = " (the checkpoint stores it as (in, out))" if "transposed" in told else ""
        yield f"the weight is transposed{why}", _of(function, "weight", torch.t)
    own = operation.parameters["weight"]
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
    if operation.constants.get("scale", 1.0) != 1.0:
        yield "the factor before the projection is missing", _without(function, "scale")
        yield (
            "the factor before the projection is applied twice",
            _with(function, scale=operation.constants["scale"] ** 2),
        )
    if "tokens" in operation.constants:
        batch = len(operation.constants["tokens"])
        length = context.evaluator.value(operation.inputs["x"]).shape[1]
        for token in range(length):
            if [token] * batch != list(operation.constants["tokens"]):
                yield f"token {token} of each text is read", _with(function, tokens=[token] * batch)
        yield (
            "the mean of all tokens is read",
            lambda roles, c: F.linear(roles["x"].mean(1), roles["weight"], roles.get("bias")),
        )


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
    change = _of(
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
        _of(
            kinds.joined,
            "mixed",
            lambda m: m.reshape(m.shape[0], m.shape[2], m.shape[1], m.shape[3]).transpose(1, 2),
        ),
    )
    yield "the order of heads is reversed", _of(kinds.joined, "mixed", lambda m: m.flip(1))


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
            yield cause, _with(function, temperature=temperature)
    if "content_bias" in operation.parameters:
        yield "the content bias u is missing", _without(function, "content_bias")
    yield "the keys are not transposed", lambda r, c: r["q"] @ r["k"] / c["temperature"]
    yield "queries and keys are exchanged", lambda r, c: r["k"] @ r["q"].transpose(-1, -2) / c["temperature"]

    if context.evaluator.value(operation.inputs["k"]).shape[1] != heads:
        yield "the keys' heads are shared by turns, not by heads in a row", _of(function, "k", _by_turns(heads))


def _by_turns(heads: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x.repeat(1, heads // x.shape[1], 1, 1)


def turning(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of rotary positions."""
    function = kinds.rotated

    def side_by_side(roles: dict[str, Tensor], constants: dict[str, Any]) -> Tensor:
        halves = rearrange(roles["x"], "b h t (k two) -> b h t (two k)", two=2)
        return rearrange(function(**{**roles, "x": halves}, **constants), "b h t (two k) -> b h t (k two)", two=2)

    yield "positions are left out: nothing is turned", lambda roles, constants: roles["x"]
    yield "a head's pairs are taken side by side, not from its two halves", side_by_side
    yield "the pairs are turned the other way", _of(function, "positions", lambda p: -p)
    for shift in (1, -1):
        yield f"positions are off by {shift}", _of(function, "positions", lambda p, shift=shift: p + shift)
    yield (
        "positions count padding, and not along the mask",
        _of(function, "positions", lambda p: torch.arange(p.shape[-1])[None].expand(p.shape)),
    )
    for theta in (10000.0, 500000.0, 1000000.0):
        if theta != operation.constants["theta"]:
            yield f"theta is {theta:g}", _with(function, theta=theta)
    if operation.constants["scaling"].get("rope_type", "default") != "default":
        yield "the frequencies are not stretched (rope_scaling)", _with(function, scaling={})


def masking(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of biases and masks."""
    relative = operation.kind == "attention.scores.relative"
    function = kinds.relative_scores if relative else kinds.scores
    if relative:
        yield "the bias of distances is missing", lambda r, c: kinds.scores(r["raw_scores"], mask=r.get("mask"))
        yield "the distance bias v is missing", _of(function, "distance_bias", torch.zeros_like)
    if "bias" in operation.inputs:
        yield "the position bias is missing", _without(function, "bias")
        yield "the position bias is added twice", _of(function, "bias", lambda b: 2 * b)
        yield "the position bias is subtracted", _of(function, "bias", lambda b: -b)
        yield "the position bias has queries and keys exchanged", _of(function, "bias", lambda b: b.transpose(-1, -2))
        yield "the position bias has its heads in reverse order", _of(function, "bias", lambda b: b.flip(1))
    raw = context.evaluator.value(operation.inputs["raw_scores"])
    queries, keys = raw.shape[-2:]
    causal = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    if "mask" not in operation.inputs:
        yield "a causal mask is applied, which this model does not", _adding(function, causal)
        return
    mask = context.evaluator.given[operation.inputs["mask"]]
    yield "the mask is missing", _without(function, "mask")
    yield "the mask is inverted", _of(function, "mask", lambda m: ~m)
    yield "the mask is added as 0 and 1", _plus(function, mask.double())
    yield "the mask is added as 0 and 1, ones at what is hidden", _plus(function, (~mask).double())
    yield "the mask is multiplied", lambda r, c: _without(function, "mask")(r, c) * mask
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
        yield "the mask of padding hides the first keys, not the last", _of(function, "mask", lambda m: m.flip(-1))


def _padding(mask: Tensor, causal: Tensor) -> Tensor:
    """The keys that some query sees, of a causal mask with padding."""
    return mask.any(-2, keepdim=True)


def _adding(function: Callable[..., Tensor], mask: Tensor) -> Change:
    return lambda roles, constants: function(**{**roles, "mask": mask}, **constants)


def _plus(function: Callable[..., Tensor], addend: Tensor) -> Change:
    return lambda roles, constants: _without(function, "mask")(roles, constants) + addend


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
    yield "the pattern is transposed", _of(kinds.mixed, "pattern", lambda p: p.transpose(-1, -2))
    heads = context.evaluator.value(operation.inputs["pattern"]).shape[1]
    if context.evaluator.value(operation.inputs["v"]).shape[1] != heads:
        yield "the values' heads are shared by turns, not by heads in a row", _of(kinds.mixed, "v", _by_turns(heads))


def norming(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of norms."""
    kind = kinds.KINDS[operation.kind]
    for eps in (1e-5, 1e-6, 1e-12, 1e-8, 1e-7, 1e-3, 0.0):
        if eps != operation.constants["eps"]:
            yield f"eps is {eps:g}, not {operation.constants['eps']:g}", _with(kind.function, eps=eps)
    yield "the norm's weight is missing", _of(kind.function, "weight", torch.ones_like)
    yield "the norm's weight counts from one: 1 + weight", _of(kind.function, "weight", lambda w: 1 + w)

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
        yield "a layer norm stands in an RMS norm's place", _with(kinds.layer_norm)
    yield "the norm is missing", lambda r, c: r["x"]
    yield (
        "the norm runs over tokens, not over a token's numbers",
        lambda r, c: (
            kinds.layer_norm(r["x"].transpose(-1, -2), eps=c["eps"]).transpose(-1, -2) * r["weight"] + r.get("bias", 0)
        ),
    )


def bending(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of activations."""
    own = operation.constants["activation"]
    for name, function in ACTIVATIONS.items():
        if function is not ACTIVATIONS[own]:
            what = "no activation at all" if name == "linear" else f"the activation is {name}"
            yield f"{what}, not {own}", _with(kinds.activated, activation=name)
    if "gated" in operation.inputs:
        yield "the gate is missing", _without(kinds.activated, "gated")
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


def looking_up(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of tables."""
    if operation.kind != "embedding":
        return
    leaf = operation.name.rpartition(".")[2]
    for shift in (1, 2, -1, -2):
        what = "positions" if leaf == "positions" else "ids"
        yield (
            f"{what} are {abs(shift)} too {'large' if shift > 0 else 'small'}",
            _of(
                kinds.embedding,
                "ids",
                lambda i, shift=shift: i + shift,  # type: ignore[misc]
            ),
        )
    yield "all rows are row 0", _of(kinds.embedding, "ids", torch.zeros_like)
    if leaf == "positions":
        yield "positions count from the other end", _of(kinds.embedding, "ids", lambda i: i.flip(-1))
        yield (
            "positions count padding or tokens otherwise: 0, 1, 2 ...",
            _of(kinds.embedding, "ids", lambda i: torch.arange(i.shape[-1])[None].expand(i.shape)),
        )

        def halves(table: Tensor) -> Tensor:
            return torch.cat([table[:, 0::2], table[:, 1::2]], dim=1)

        def woven(table: Tensor) -> Tensor:
            half = (table.shape[1] + 1) // 2
            result = torch.empty_like(table)
            result[:, 0::2], result[:, 1::2] = table[:, :half], table[:, half:]
            return result

        yield "sines and cosines stand in halves, not in turns", _of(kinds.embedding, "table", halves)
        yield "sines and cosines stand in turns, not in halves", _of(kinds.embedding, "table", woven)
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
        yield "the factor sqrt(hidden_size) is missing", _with(function, scale=1.0)
        yield "the factor sqrt(hidden_size) is applied twice", _with(function, scale=own**2)
        yield (
            "the factor sqrt(hidden_size) is applied to positions, too",
            lambda r, c: _with(function, scale=1.0)(r, c) * c["scale"],
        )
        yield "the factor is divided by, not multiplied with", _with(function, scale=1 / own)
    else:
        yield (
            "the words are scaled by sqrt(hidden_size), which this model does not",
            _with(function, scale=math.sqrt(hidden)),
        )
    if "positions" in operation.inputs:
        yield "the positions are missing", _without(function, "positions")
    if "token_types" in operation.inputs:
        yield "the token types are missing", _without(function, "token_types")
    if "positions" in operation.inputs and "token_types" in operation.inputs:
        yield "positions and token types are missing", _without(function, "positions", "token_types")


def factors(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of factors."""
    yield "the factor is missing", _with(kinds.scale, scale=1.0)
    yield "the factor is applied twice", _with(kinds.scale, scale=operation.constants["scale"] ** 2)
    yield "the factor is divided by, not multiplied with", _with(kinds.scale, scale=1 / operation.constants["scale"])


def distances(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """Of T5's bias."""
    function, c = kinds.relative_positions, operation.constants
    other = "both directions" if not c["bidirectional"] else "one direction"
    yield f"the buckets are those of {other}", _with(function, bidirectional=not c["bidirectional"])

    def reversed_sign(roles: dict[str, Tensor], c: dict[str, Any]) -> Tensor:
        places = torch.arange(c["keys"])
        distances = places[c["keys"] - c["queries"] :, None] - places[None]
        buckets = relative_buckets(distances, c["num_buckets"], c["max_distance"], bidirectional=c["bidirectional"])
        return roles["table"][buckets].permute(2, 0, 1)[None]

    yield "distances have the other sign: query less key", reversed_sign
    yield "max_distance is 128", _with(function, max_distance=128)
    for shift in (1, -1):
        yield "the query's position is off by one", lambda r, c, shift=shift: _shifted(r, c, shift)  # type: ignore[misc]


def _shifted(roles: dict[str, Tensor], c: dict[str, Any], shift: int) -> Tensor:
    places = torch.arange(c["keys"])
    distances = places[None] - (places[c["keys"] - c["queries"] :, None] + shift)
    buckets = relative_buckets(distances, c["num_buckets"], c["max_distance"], bidirectional=c["bidirectional"])
    return roles["table"][buckets].permute(2, 0, 1)[None]


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


TABLE: dict[str, tuple[Callable[[Operation, Context], Iterator[Hypothesis]], ...]] = {
    "linear": (projections,),
    "attention.heads": (projections, cut_heads),
    "attention.rotated": (turning,),
    "attention.out": (projections, joined_heads),
    "attention.raw_scores": (scaling,),
    "attention.scores": (masking,),
    "attention.pattern": (weighing,),
    "attention.mixed": (mixing,),
    "norm": (norming, projections),
    "activation": (bending,),
    "residual": (adding,),
    "embedding": (looking_up,),
    "embedding.sum": (summing,),
    "scale": (factors,),
    "positions.relative": (distances,),
}
"""Kind, or how kinds begin -> what makes hypotheses."""
