"""The kinds of operations that models are made of: for each, what it computes, as a formula and as a function.

The functions are written for checking, not for speed: they take what a trace has recorded, by role, and are a second
implementation beside that of the layers. ``docs/parity-testing.md`` shows them at work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from minitransformer.layers import ACTIVATIONS, relative_buckets, rotary_frequencies


@dataclass(frozen=True)
class Kind:
    """What an operation computes.

    Args:
        formula: with the names of the roles that its inputs, parameters and constants play.
        function: called with all of them by name.
        contracts: role -> axis along which the operation sums, for other orders of summation; the axis of the result
            that goes with it under "result".
    """

    formula: str
    function: Callable[..., Tensor]
    contracts: dict[str, int] | None = None


def embedding(ids: Tensor, table: Tensor, *, offset: int = 0) -> Tensor:
    """Rows of a table."""
    return table[ids + offset]


def embedding_adaptive(ids: Tensor, *, clusters: Sequence[tuple[int, int]], **tables: Tensor) -> Tensor:
    """Rows of the table of each word's cluster, brought to one length."""
    first = tables["table.0"]
    width = tables["projection.0"].shape[0] if "projection.0" in tables else first.shape[1]
    result = first.new_zeros(*ids.shape, width)
    for i, (begin, end) in enumerate(clusters):
        inside = (ids >= begin) & (ids < end)
        rows = tables[f"table.{i}"][ids[inside] - begin]
        result[inside] = rows @ tables[f"projection.{i}"].T if f"projection.{i}" in tables else rows
    return result


def embedding_sum(
    words: Tensor, token_types: Tensor | None = None, positions: Tensor | None = None, *, scale: float = 1.0
) -> Tensor:
    """All that is known of a token."""
    x = words if token_types is None else words + token_types
    x = x * scale
    return x if positions is None else x + positions


def identity(x: Tensor) -> Tensor:
    """Nothing happens."""
    return x


def scale(x: Tensor, *, scale: float) -> Tensor:
    """A factor."""
    return x * scale


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float) -> Tensor:
    """Mean zero, variance one, then weighed."""
    centred = x - x.mean(-1, keepdim=True)
    normed = centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    normed = normed if weight is None else normed * weight
    return normed if bias is None else normed + bias


def rms_norm(x: Tensor, weight: Tensor, *, eps: float) -> Tensor:
    """Root mean square one, then weighed."""
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, tokens: Sequence[int] = (), scale: float = 1.0
) -> Tensor:
    """A projection; of one token of each text, where ``tokens`` says which."""
    if len(tokens):
        x = x[torch.arange(len(x)), torch.as_tensor(tokens)]
    return F.linear(x * scale if scale != 1.0 else x, weight, bias)


def heads(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, heads: int) -> Tensor:
    """A projection, cut into heads."""
    return rearrange(F.linear(x, weight, bias), "b t (h k) -> b h t k", h=heads)


def heads_normed(
    x: Tensor, weight: Tensor, norm: Tensor, bias: Tensor | None = None, *, heads: int, eps: float
) -> Tensor:
    """The same, the root mean square of each head's numbers made one, and weighed."""
    return rms_norm(rearrange(F.linear(x, weight, bias), "b t (h k) -> b h t k", h=heads), norm, eps=eps)


def rotated(x: Tensor, positions: Tensor, *, theta: float, scaling: Mapping[str, Any]) -> Tensor:
    """A head's halves, turned in pairs by the angles of the tokens' positions."""
    angles = positions[:, None, :, None].float() * rotary_frequencies(x.shape[-1], theta, scaling)
    real, imaginary = (half.float() if x.dtype.itemsize == 2 else half for half in x.chunk(2, dim=-1))
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1).to(x.dtype)


def shared(x: Tensor, heads: int) -> Tensor:
    """Keys or values, once for each of the heads in a row that share them."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


def heads_remembered(
    x: Tensor, remembered: Tensor, weight: Tensor, bias: Tensor | None = None, *, heads: int
) -> Tensor:
    """The same, of tokens remembered and new."""
    return rearrange(F.linear(torch.cat([remembered, x], dim=1), weight, bias), "b t (h k) -> b h t k", h=heads)


def heads_of_distances(x: Tensor, weight: Tensor, *, heads: int) -> Tensor:
    """Keys of distances, cut into heads."""
    return rearrange(F.linear(x, weight), "d (h k) -> h d k", h=heads)


def raw_scores(q: Tensor, k: Tensor, content_bias: Tensor | None = None, *, temperature: float) -> Tensor:
    """How well each query fits each key."""
    asking = q if content_bias is None else q + content_bias[:, None]
    return asking @ shared(k, q.shape[1]).transpose(-1, -2) / temperature


def scores(raw_scores: Tensor, bias: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Biased, and the lowest number there is where nothing may be seen."""
    result = raw_scores if bias is None else raw_scores + bias
    return result if mask is None else result.masked_fill(~mask, torch.finfo(result.dtype).min)


def relative_scores(
    raw_scores: Tensor,
    q: Tensor,
    r: Tensor,
    distance: Tensor,
    distance_bias: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: float,
) -> Tensor:
    """Transformer-XL's: plus how well each query fits the distance of each key."""
    by_distance = torch.einsum("bhtk,hdk->bhtd", q + distance_bias[:, None], r)
    index = distance.clamp(min=0)[:, None].expand(*by_distance.shape[:3], -1)
    return scores(raw_scores, by_distance.gather(-1, index) / temperature, mask)


def pattern(scores: Tensor) -> Tensor:
    """Each row sums to one."""
    return scores.softmax(dim=-1)


def mixed(pattern: Tensor, v: Tensor) -> Tensor:
    """The mean of the values."""
    return pattern @ shared(v, pattern.shape[1])


def joined(mixed: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Heads side by side, projected."""
    return F.linear(rearrange(mixed, "b h t k -> b t (h k)"), weight, bias)


def residual(x: Tensor, sublayer: Tensor) -> Tensor:
    """What came in, plus what was computed of it."""
    return x + sublayer


def mean(x: Tensor, counted: Tensor | None = None) -> Tensor:
    """The mean of a text's vectors, without padding."""
    share = x.new_ones(x.shape[:2]) if counted is None else counted.to(x.dtype)
    return torch.einsum("bt,btd->bd", share / share.sum(1, keepdim=True), x)


def activated(x: Tensor, gated: Tensor | None = None, *, activation: str) -> Tensor:
    """Bent, and let through a gate."""
    result = ACTIVATIONS[activation](x)
    return result if gated is None else result * gated


def relative_positions(
    table: Tensor, *, queries: int, keys: int, num_buckets: int, max_distance: int, bidirectional: bool
) -> Tensor:
    """T5's bias on the scores."""
    places = torch.arange(keys)
    distances = places[None] - places[keys - queries :, None]
    return table[relative_buckets(distances, num_buckets, max_distance, bidirectional=bidirectional)].permute(2, 0, 1)[
        None
    ]


def adaptive_frequent(x: Tensor, *, shortlist: int, **tables: Tensor) -> Tensor:
    """Log probabilities of frequent words and of clusters."""
    if "projection.0" in tables:
        x = x @ tables["projection.0"]
    parts = [F.linear(x, tables["words.0"][:shortlist], tables["bias.0"][:shortlist])]
    if "clusters" in tables:
        parts.append(F.linear(x, tables["clusters"], tables["clusters_bias"]))
    return torch.cat(parts, dim=-1).log_softmax(-1)


def adaptive_logits(x: Tensor, frequent: Tensor, *, clusters: Sequence[tuple[int, int]], **tables: Tensor) -> Tensor:
    """Log probabilities of all words."""
    shortlist = clusters[0][1]
    parts = [frequent[..., :shortlist]]
    for i, (begin, end) in enumerate(clusters[1:], start=1):
        inner = x @ tables[f"projection.{i}"] if f"projection.{i}" in tables else x
        own = f"words.{i}" in tables
        rows = slice(None) if own else slice(begin, end)
        weight, bias = (tables[f"{part}.{i if own else 0}"][rows] for part in ("words", "bias"))
        parts.append(frequent[..., shortlist + i - 1, None] + F.linear(inner, weight, bias).log_softmax(-1))
    return torch.cat(parts, dim=-1)


_LINEAR = {"x": -1, "weight": -1}
_NORM = {"x": -1, "weight": -1, "bias": -1, "result": -1}

KINDS: dict[str, Kind] = {
    "embedding": Kind("table[ids + offset]", embedding),
    "embedding.adaptive": Kind("for each cluster: table.i[ids - first] @ projection.i.T", embedding_adaptive),
    "embedding.sum": Kind("(words + token_types) * scale + positions", embedding_sum),
    "identity": Kind("x", identity),
    "scale": Kind("x * scale", scale),
    "norm.layer": Kind("(x - mean(x)) / sqrt(var(x) + eps) * weight + bias", layer_norm, _NORM),
    "norm.rms": Kind("x / sqrt(mean(x ** 2) + eps) * weight", rms_norm, _NORM),
    "linear": Kind("x[tokens] * scale @ weight.T + bias", linear, _LINEAR),
    "attention.heads": Kind("split_heads(x @ weight.T + bias)", heads, _LINEAR),
    "attention.heads.normed": Kind("norm(split_heads(x @ weight.T + bias), eps) * norm", heads_normed, _LINEAR),
    "attention.rotated": Kind("x * cos(positions * f) + concat(-x2, x1) * sin(positions * f)", rotated),
    "attention.heads.remembered": Kind(
        "split_heads(concat(remembered, x) @ weight.T + bias)",
        heads_remembered,
        {"x": -1, "remembered": -1, "weight": -1},
    ),
    "attention.heads.distances": Kind("split_heads(x @ weight.T)", heads_of_distances, _LINEAR),
    "attention.raw_scores": Kind(
        "einsum('bhtk,bhsk->bhts', q + content_bias, k) / temperature; heads in a row may share k",
        raw_scores,
        {"q": -1, "k": -1, "content_bias": -1},
    ),
    "attention.scores": Kind("raw_scores + bias, the lowest number where mask is false", scores),
    "attention.scores.relative": Kind(
        "raw_scores + gather(einsum('bhtk,hdk->bhtd', q + distance_bias, r), distance) / temperature, "
        "the lowest number where mask is false",
        relative_scores,
        {"q": -1, "r": -1, "distance_bias": -1},
    ),
    "attention.pattern": Kind("softmax(scores) over keys", pattern, {"scores": -1, "result": -1}),
    "attention.mixed": Kind(
        "einsum('bhts,bhsk->bhtk', pattern, v); heads in a row may share v", mixed, {"pattern": -1, "v": -2}
    ),
    "attention.out": Kind("join_heads(mixed) @ weight.T + bias", joined),
    "residual": Kind("x + sublayer", residual),
    "activation": Kind("activation(x) * gated", activated),
    "mean": Kind("sum(x * counted) / sum(counted) over tokens", mean),
    "positions.relative": Kind("table[bucket(key - query)]", relative_positions),
    "head.frequent": Kind("log_softmax(concat(x @ words.T + bias, x @ clusters.T + clusters_bias))", adaptive_frequent),
    "head.adaptive": Kind(
        "frequent, and for each cluster its entry + log_softmax(x @ words.T + bias)", adaptive_logits
    ),
}


def compute(kind: str, roles: dict[str, Any], constants: dict[str, Any]) -> Tensor:
    """What an operation of this kind gives.

    Args:
        kind: one of `KINDS`.
        roles: its inputs and parameters.
        constants: by role, too.
    """
    return KINDS[kind].function(**roles, **constants)
