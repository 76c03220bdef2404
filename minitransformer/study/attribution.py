"""Which input tokens does an answer rest on? Methods that differ, behind one call, each with the check that it allows.

Gradients are with respect to the word vectors, as they leave the table; in an encoder-decoder those of the source and
of the target so far. A metric that compares two words makes any of them contrastive (Yin & Neubig 2022,
https://arxiv.org/abs/2202.10419).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minitransformer.errors import StudyError, did_you_mean
from minitransformer.layers import tap_names
from minitransformer.study.results import Result
from minitransformer.study.runs import (
    TOKENS_AT_ONCE,
    Inputs,
    Metric,
    batch_size,
    chunks,
    copies,
    has_taps,
    length,
    measured,
    rows_of,
    run,
    token_mask,
)

METHODS = ("saliency", "input_x_gradient", "integrated_gradients", "occlusion")


def attribute_inputs(
    model: nn.Module,
    inputs: Inputs,
    metric: Metric,
    method: str = "integrated_gradients",
    *,
    baseline: int | Tensor | None = None,
    steps: int = 64,
) -> dict[str, Result]:
    """What each input token does for the metric.

    saliency: the norm of the gradient (Simonyan et al. 2013). input_x_gradient: gradient times vector, signed.
    integrated_gradients: the mean gradient on the way from a baseline, times the way (Sundararajan et al. 2017,
    https://arxiv.org/abs/1703.01365); the sum over all tokens is the difference of the metric, and
    ``about["completeness_error"]`` says how far it is from it, as a share. occlusion: how much the metric falls when
    the token's vector is the baseline.

    Args:
        model: in evaluation mode.
        inputs: a batch.
        metric: model output -> a number for each row, such as ``logit(token, foil)``.
        method: one of these.
        baseline: the id of a word that stands for nothing ([PAD], [MASK]), or a vector; by default zeros.
        steps: of integrated gradients, at the places of Gauss and Legendre.

    Returns:
        "source" and "target" of an encoder-decoder, else "input" -> axes row, token.

    Raises:
        StudyError: no such method, or the model has no tap at its word vectors.
    """
    if method not in METHODS:
        known = ", ".join(METHODS)
        raise StudyError(f"no method is called {method!r}.{did_you_mean(method, METHODS)} Known are {known}.")
    sides = word_taps(model, inputs)
    start = run(model, inputs, list(sides.values()))
    points = {side: start.calls[tap][0] for side, tap in sides.items()}
    nothing = {side: _baseline(model, tap, points[side], baseline) for side, tap in sides.items()}
    rows, about = batch_size(inputs), {"method": method}
    before = measured(metric, start.output, rows)
    if method == "occlusion":
        return _occlusion(model, inputs, metric, sides, points, nothing, before)
    if method == "integrated_gradients":
        spots, weights = (torch.tensor(x) for x in np.polynomial.legendre.leggauss(steps))
        spots, weights = (spots + 1) / 2, weights / 2
    else:
        spots, weights = torch.ones(1), torch.ones(1)
    means = {side: torch.zeros_like(x) for side, x in points.items()}
    at_once = max(1, TOKENS_AT_ONCE // max(1, length(inputs) * rows))
    for first, part in chunks(spots.tolist(), at_once):
        leaves = {
            side: torch.cat([nothing[side] + spot * (x - nothing[side]) for spot in part]).requires_grad_()
            for side, x in points.items()
        }
        edit = {tap: _constant(leaves[side]) for side, tap in sides.items()}
        with torch.enable_grad():
            output = run(model, copies(inputs, len(part)), edit=edit, grad=True).output
            total = sum(
                measured(metric, rows_of(output, i * rows, (i + 1) * rows, len(part) * rows), rows).sum()
                for i in range(len(part))
            )
            if not isinstance(total, Tensor) or not total.requires_grad:
                raise StudyError("the metric has no gradient: compute it from the output without detach() or item()")
            gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        for side, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                share = weights[first : first + len(part)].to(gradient).reshape(-1, *[1] * gradient.dim())
                means[side] += (gradient.reshape(len(part), rows, *gradient.shape[1:]) * share).sum(0)
    scores = {}
    for side, x in points.items():
        if method == "saliency":
            scores[side] = means[side].norm(dim=-1)
        else:
            scores[side] = (means[side] * (x - nothing[side] if method == "integrated_gradients" else x)).sum(-1)
    more: dict[str, Any] = {"metric": before if rows > 1 else float(before)}
    if method == "integrated_gradients":
        edit = {tap: _constant(nothing[side]) for side, tap in sides.items()}
        after = measured(metric, run(model, inputs, edit=edit).output, rows)
        summed = sum(score.sum(1) for score in scores.values())
        error = ((summed - (before - after)).abs() / (before - after).abs()).max()
        more |= {"completeness_error": float(error)}
    return {side: _result(side, score, about | more) for side, score in scores.items()}


def word_taps(model: nn.Module, inputs: Inputs) -> dict[str, str]:
    """The tap at which word vectors leave their table: "input", or "source" and "target" -> its name."""
    names = list(tap_names(model))
    words = [name for name in names if name.endswith(".words") or name == "words"]
    words = words or [name for name in names if "embeddings" in name and name.endswith("embeddings.output")]
    if not words:
        raise StudyError(f"{type(model).__name__} has no tap at its word vectors, such as embeddings.words")
    if len(words) == 1:
        return {"input": words[0]}
    return {"source": words[0], "target": words[1]}


def _constant(value: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: value


def _baseline(model: nn.Module, tap: str, like: Tensor, baseline: int | Tensor | None) -> Tensor:
    if baseline is None:
        return torch.zeros_like(like)
    if isinstance(baseline, int):
        module = model.get_submodule(tap.rpartition(".")[0])
        table = getattr(module, "word", None)
        if table is None:
            raise StudyError(f"{tap} has no table `word` beside it: give the baseline as a vector")
        with torch.no_grad():
            baseline = table(torch.tensor(baseline, device=like.device))
    vector = torch.as_tensor(baseline)
    if vector.shape[-1:] != like.shape[-1:]:
        raise StudyError(f"the baseline has the shape {tuple(vector.shape)}, a word vector {like.shape[-1]} numbers")
    return vector.to(like).expand_as(like)


def _occlusion(
    model: nn.Module,
    inputs: Inputs,
    metric: Metric,
    sides: Mapping[str, str],
    points: Mapping[str, Tensor],
    nothing: Mapping[str, Tensor],
    before: Tensor,
) -> dict[str, Result]:
    rows, found = len(before), {}
    at_once = max(1, TOKENS_AT_ONCE // max(1, length(inputs) * rows))
    for side, tap in sides.items():
        scores = []
        for _, part in chunks(range(points[side].shape[1]), at_once):
            x = points[side].repeat(len(part), 1, 1)
            for i, token in enumerate(part):
                x[i * rows : (i + 1) * rows, token] = nothing[side][:, token]
            output = run(model, copies(inputs, len(part)), edit={tap: _constant(x)}).output
            for i in range(len(part)):
                after = measured(metric, rows_of(output, i * rows, (i + 1) * rows, len(part) * rows), rows)
                scores.append(before - after)
        about = {"method": "occlusion", "metric": before if rows > 1 else float(before)}
        found[side] = _result(side, torch.stack(scores, dim=1), about)
    return found


def _result(side: str, scores: Tensor, about: dict[str, Any]) -> Result:
    return Result(scores, ("row", "token"), title=f"{about['method']} of the {side}", about=about)


def faithfulness(
    model: nn.Module, inputs: Inputs, metric: Metric, scores: Result, *, side: str | None = None, share: float = 0.2
) -> dict[str, float]:
    """Whether the tokens with the largest scores are what the answer needs (DeYoung et al. 2020).

    Args:
        model: in evaluation mode.
        inputs: a batch.
        metric: model output -> a number for each row.
        scores: axes row, token, from ``attribute_inputs``.
        side: whose scores they are; by default the first of the model's.
        share: of each text's tokens that is taken.

    Returns:
        "comprehensiveness": by how much the metric falls without these tokens; more is better. "sufficiency": by how
        much it falls with these alone; less is better.
    """
    sides = word_taps(model, inputs)
    tap = sides[side] if side else next(iter(sides.values()))
    start = run(model, inputs, tap)
    rows = batch_size(inputs)
    before, x = measured(metric, start.output, rows), start.calls[tap][0]
    mask = token_mask(inputs, tap).bool()
    ranked = scores.values.to(x).masked_fill(~mask, float("-inf")).argsort(1, descending=True).argsort(1)
    chosen = (ranked < (share * mask.sum(1, keepdim=True)).ceil()) & mask  # (B, T)
    told = {}
    for name, gone in (("comprehensiveness", chosen), ("sufficiency", mask & ~chosen)):
        output = run(model, inputs, edit={tap: _constant(x.masked_fill(gone[..., None], 0.0))}).output
        told[name] = float((before - measured(metric, output, rows)).mean())
    return told


# ---------------------------------------------------------------------------------------------- by attention


def rollout(patterns: Sequence[Tensor], residual: float = 0.5) -> Tensor:
    """Attention of all layers multiplied, a share of each layer being the residual stream.

    Abnar & Zuidema 2020 (https://arxiv.org/abs/2005.00928), section 3.

    Args:
        patterns: one (batch, heads, query, key) for each layer, first to last; or (batch, query, key).
        residual: that share.

    Returns:
        (batch, token of the last layer, input token).
    """
    result = None
    for layer in _with_residual(patterns, residual):
        result = layer if result is None else layer @ result
    if result is None:
        raise StudyError("rollout needs at least one layer")
    return result


def flow(patterns: Sequence[Tensor], position: int, residual: float = 0.5) -> Tensor:
    """The largest flow from one token of the last layer to each input token, attention being capacities.

    Abnar & Zuidema 2020, section 3. Slow: a maximum flow for each input token.

    Args:
        patterns: as for ``rollout``; one text.
        position: of the token in the last layer.
        residual: share of the residual stream.

    Returns:
        (input token,).
    """
    layers = [layer[0].double().tolist() for layer in _with_residual(patterns, residual)]
    T = len(layers[0])
    if not -T <= position < T:
        raise StudyError(f"position {position} lies outside of the {T} tokens")
    graph: dict[tuple[int, int], dict[tuple[int, int], float]] = {}
    for depth, layer in enumerate(layers):
        for query, row in enumerate(layer):
            for key, weight in enumerate(row):
                if weight > 0:
                    graph.setdefault((depth + 1, query), {})[depth, key] = weight
    start = (len(layers), position % T)
    return torch.tensor([_max_flow(graph, start, (0, token)) for token in range(T)], dtype=torch.float64)


def _max_flow(graph: dict[Any, dict[Any, float]], start: Any, end: Any) -> float:
    """Edmonds and Karp: fill the shortest way that has room, until there is none."""
    room: dict[Any, dict[Any, float]] = {}
    for a, edges in graph.items():
        for b, weight in edges.items():
            room.setdefault(a, {})[b] = weight
            room.setdefault(b, {}).setdefault(a, 0.0)
    total = 0.0
    while True:
        before, waiting = {start: start}, [start]
        for node in waiting:
            if node == end:
                break
            for neighbour, weight in room.get(node, {}).items():
                if weight > 1e-12 and neighbour not in before:
                    before[neighbour] = node
                    waiting.append(neighbour)
        if end not in before:
            return total
        way = [end]
        while way[-1] != start:
            way.append(before[way[-1]])
        steps = list(zip(way[1:], way, strict=False))
        least = min(room[a][b] for a, b in steps)
        for a, b in steps:
            room[a][b] -= least
            room[b][a] += least
        total += least


def _with_residual(patterns: Sequence[Tensor], residual: float) -> list[Tensor]:
    layers = [pattern.mean(1) if pattern.dim() == 4 else pattern for pattern in patterns]
    if any(layer.shape[-1] != layer.shape[-2] for layer in layers):
        raise StudyError("rollout and flow go through self-attention, where there are as many keys as queries")
    return [(1 - residual) * layer + residual * torch.eye(layer.shape[-1]).to(layer) for layer in layers]


def attention_norms(model: nn.Module, inputs: Inputs, *, by_head: bool = False) -> dict[str, Tensor]:
    """How long the vector is that each token takes from each other: ||sum over heads of alpha f(x)||.

    Kobayashi et al. 2020 (https://arxiv.org/abs/2004.10102): a large weight on a short vector moves nothing.

    Args:
        model: with attentions whose parts have the names of ``layers/attention.py``.
        inputs: a batch.
        by_head: give (batch, heads, query, key) instead of (batch, query, key).

    Returns:
        Name of the attention -> norms.
    """
    from minitransformer.study.detectors import per_head

    watched = run(model, inputs, ["*attn.pattern", "*attn.v"])
    found = {}
    for name in [name for name in watched.calls if name.endswith("attn.pattern")]:
        place = name.removesuffix(".pattern")
        out = per_head(model.get_submodule(place))[3]  # (H, D, K)
        for i, (pattern, v) in enumerate(zip(watched.calls[name], watched.calls[f"{place}.v"], strict=True)):
            moved = torch.einsum("bhsk, hdk -> bhsd", v, out)  # f(x): what each head would write of each token
            if by_head:
                norms = pattern * moved.norm(dim=-1)[:, :, None]
            else:
                norms = torch.stack([_joined(row, moved) for row in pattern.unbind(2)], dim=1)
            found[place if len(watched.calls[name]) == 1 else f"{place}[{i}]"] = norms
    return found


def _joined(pattern: Tensor, moved: Tensor) -> Tensor:
    """For one query: norms of the sum over heads, (batch, key). From (batch, heads, key) and (batch, heads, key, D)."""
    return torch.einsum("bhs, bhsd -> bsd", pattern, moved).norm(dim=-1)


def value_zeroing(model: nn.Module, inputs: Inputs, attention: str = "*.attn") -> dict[str, Tensor]:
    """How much a block's output for each token turns when another token's value vector is zero, in that block alone.

    Mohebbi et al. 2023 (https://arxiv.org/abs/2301.12971): 1 - cosine, each row divided by its sum.

    Args:
        model: in evaluation mode, with taps ``attn.v`` and ``output`` in each block.
        inputs: a batch.
        attention: pattern of the attentions.

    Returns:
        Name of the block -> (batch, token, token whose value is zero).
    """
    if not has_taps(model, f"{attention}.v"):
        raise StudyError(f"{type(model).__name__} has no tap {attention}.v, whose values could be zero")
    names = [name for name in tap_names(model, f"{attention}.v")]
    rows, found = batch_size(inputs), {}
    for name in names:
        block = name.removesuffix(".v").rpartition(".")[0]
        watched = run(model, inputs, [name, f"{block}.output"])
        if len(watched.calls[name]) > 1:
            raise StudyError(f"{name} is shared by layers and passed {len(watched.calls[name])} times")
        v, before = watched[name], watched[f"{block}.output"]
        parts = []
        for _, tokens in chunks(range(v.shape[2]), max(1, TOKENS_AT_ONCE // max(1, length(inputs) * rows))):

            def zero(x: Tensor, tokens: Sequence[int] = tokens) -> Tensor:
                x = x.clone()
                for i, token in enumerate(tokens):
                    x[i * rows : (i + 1) * rows, :, token] = 0.0
                return x

            after = run(model, copies(inputs, len(tokens)), f"{block}.output", edit={name: zero})[f"{block}.output"]
            turned = 1 - torch.cosine_similarity(after.reshape(len(tokens), *before.shape), before[None], dim=-1)
            parts.append(turned)  # (zeroed, B, T)
        turned = torch.cat(parts).permute(1, 2, 0)
        found[block] = turned / turned.sum(-1, keepdim=True)
    return found
