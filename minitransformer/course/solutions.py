"""Solutions of the exercises, as a learner might write them; each lesson shows its own at the end, folded up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def guesses(logits: Tensor, place: int, k: int) -> tuple[Tensor, Tensor]:
    """Lesson 0: probabilities and ids of the k likeliest words at a place; logits are (token, vocabulary)."""
    probabilities = logits[place].softmax(-1)
    best = probabilities.topk(k)
    return best.values, best.indices


def sinusoidal_positions(num_positions: int, hidden_size: int) -> Tensor:
    """Lesson 1: (position, hidden_size), all sines before all cosines."""
    exponents = torch.arange(0, hidden_size, 2).double() / hidden_size
    angles = torch.arange(num_positions).double()[:, None] / 10000**exponents
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Lesson 2: (batch, heads, tokens, head_size) each; the mask is True where a query may look."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    pattern = scores.softmax(dim=-1)
    return pattern @ value


def post_norm_block(
    x: Tensor, attention: Callable[..., Tensor], feed_forward: Callable[..., Tensor], norm_1: Any, norm_2: Any
) -> Tensor:
    """Lesson 3: one block of the paper."""
    x = norm_1(x + attention(x))
    return norm_2(x + feed_forward(x))


def follows(patterns: Tensor, dependents: Sequence[int], governors: Sequence[int]) -> Tensor:
    """Lesson 4: for each head the share of dependents that look most at their governor, themselves left out."""
    itself = torch.eye(patterns.shape[-1], dtype=torch.bool)
    looks_at = patterns.masked_fill(itself, 0.0).argmax(dim=-1)
    return (looks_at[:, dependents] == torch.tensor(governors)).double().mean(dim=-1)


def causal_mask(queries: int, keys: int) -> Tensor:
    """Lesson 5: (queries, keys), True where a query may look; the last query is the last key."""
    place = torch.arange(keys - queries, keys)[:, None]
    return torch.arange(keys)[None] <= place


def induction_head(now: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lesson 6: queries, keys and values from the one-hot vectors of each token and of the one before it."""
    return now, before, now


def cross_attention(
    x: Tensor,
    memory: Tensor,
    query: Callable[[Tensor], Tensor],
    key: Callable[[Tensor], Tensor],
    value: Callable[[Tensor], Tensor],
    output: Callable[[Tensor], Tensor],
    num_heads: int,
) -> Tensor:
    """Lesson 7: x is the target's (batch, token, hidden_size), memory the source's."""

    def heads(y: Tensor) -> Tensor:
        return y.view(*y.shape[:2], num_heads, -1).transpose(1, 2)

    q, k, v = heads(query(x)), heads(key(memory)), heads(value(memory))
    pattern = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
    return output((pattern @ v).transpose(1, 2).flatten(2))


def greedy(loss: Callable[[frozenset[int]], float], heads: Sequence[int], budget: float) -> list[int]:
    """Lesson 8: heads in the order in which they go, while the loss rises by no more than the budget."""
    removed: list[int] = []
    start = loss(frozenset())
    while len(removed) < len(heads):
        left = [head for head in heads if head not in removed]
        cheapest = min(left, key=lambda head: loss(frozenset([*removed, head])))
        if loss(frozenset([*removed, cheapest])) - start > budget:
            break
        removed.append(cheapest)
    return removed


def effects(answer: Callable[[Tensor], float], base: Tensor, source: Tensor) -> Tensor:
    """Lesson 9: of each position, (answer of the base with it from the source - base's) / (source's - base's)."""
    low, high = answer(base), answer(source)
    result = []
    for position in range(base.shape[0]):
        patched = base.clone()
        patched[position] = source[position]
        result.append((answer(patched) - low) / (high - low))
    return torch.tensor(result, dtype=torch.float64)


def logit_lens(stream: Tensor, final_norm: Callable[[Tensor], Tensor], unembedding: Tensor) -> Tensor:
    """Lesson 10: (layer, token, hidden_size) -> (layer, token, vocabulary)."""
    return final_norm(stream) @ unembedding.T


def integrated_gradients(gradient: Callable[[Tensor], Tensor], x: Tensor, baseline: Tensor, steps: int) -> Tensor:
    """Lesson 11: (token,) from (token, hidden_size), by the middles of so many equal steps."""
    total = torch.zeros_like(x)
    for step in range(steps):
        share = (step + 0.5) / steps
        total += gradient(baseline + share * (x - baseline))
    return (total / steps * (x - baseline)).sum(-1)


def energy(table: Tensor) -> Tensor:
    """Lesson 12: the share of each frequency 1, 2, ... in the energy of (number, hidden_size), without the constant."""
    waves = torch.fft.rfft(table, dim=0)[1:]
    power = waves.abs().pow(2).sum(-1)
    return power / power.sum()


def nearest_mean(vectors: Tensor, labels: Tensor, new: Tensor) -> Tensor:
    """Lesson 13: for each new vector the class whose mean is nearest; a probe without training."""
    means = torch.stack([vectors[labels == one].mean(0) for one in range(int(labels.max()) + 1)])
    return torch.cdist(new, means).argmin(-1)


def corrupt(
    ids: Sequence[int], spans: Sequence[tuple[int, int]], sentinels: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Lesson 14: T5's source and target; spans are (first, behind the last), in order."""
    source: list[int] = []
    target: list[int] = []
    place = 0
    for (first, end), sentinel in zip(spans, sentinels, strict=False):
        source += [*ids[place:first], sentinel]
        target += [sentinel, *ids[first:end]]
        place = end
    return source + list(ids[place:]), [*target, sentinels[len(spans)]]


def top_p(logits: Tensor, p: float) -> Tensor:
    """Lesson 15: minus infinity for all but the fewest words that together have at least probability p."""
    ordered, order = logits.softmax(-1).sort(descending=True)
    before = ordered.cumsum(-1) - ordered
    dropped = order[before >= p]
    return logits.index_fill(-1, dropped, -math.inf)


def log_odds(one: Tensor, other: Tensor, words: Sequence[int]) -> Tensor:
    """Lesson 16: log p(word | one) - log p(word | other) from logits (template, vocabulary), mean over templates."""
    difference = one.log_softmax(-1) - other.log_softmax(-1)
    return difference[:, words].mean(0)


def bert(ids: Any, weights: dict[str, Any], num_heads: int) -> dict[str, Any]:
    """Lesson 17: BERT in NumPy; the tensors that are given back are compared by their names."""
    kept: dict[str, Any] = {}

    def linear(x: Any, name: str) -> Any:
        kept[name] = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        return kept[name]

    def norm(x: Any, name: str) -> Any:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12)
        kept[name] = x * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return kept[name]

    def attention(x: Any, name: str) -> Any:
        batch, tokens, hidden = x.shape
        parts = (linear(x, f"{name}.self.{part}") for part in ("query", "key", "value"))
        q, k, v = (part.reshape(batch, tokens, num_heads, -1).transpose(0, 2, 1, 3) for part in parts)
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(hidden // num_heads)
        pattern = np.exp(scores - scores.max(-1, keepdims=True))
        pattern = pattern / pattern.sum(-1, keepdims=True)
        kept[f"{name}.probs"] = pattern
        return linear((pattern @ v).transpose(0, 2, 1, 3).reshape(batch, tokens, hidden), f"{name}.output.dense")

    erf = np.vectorize(math.erf)
    words = weights["embeddings.word_embeddings.weight"][ids]
    types = weights["embeddings.token_type_embeddings.weight"][0]
    places = weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = norm(words + types + places, "embeddings.LayerNorm")
    for layer in (
        f"encoder.layer.{i}" for i in range(len([n for n in weights if n.endswith("intermediate.dense.bias")]))
    ):
        x = norm(x + attention(x, f"{layer}.attention"), f"{layer}.attention.output.LayerNorm")
        inner = linear(x, f"{layer}.intermediate.dense")
        kept[f"{layer}.act"] = inner = inner * (1 + erf(inner / math.sqrt(2))) / 2
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return kept


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Lesson 18: each pair of the first half and the second, turned by position * 10000^(-2i / head_size)."""
    frequencies = 10000.0 ** (-torch.arange(0, x.shape[-1], 2).double() / x.shape[-1])
    angles = positions[:, None, :, None] * frequencies
    first, second = x.chunk(2, dim=-1)
    turned = first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()
    return torch.cat(turned, dim=-1).to(x.dtype)
