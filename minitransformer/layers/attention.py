"""Attention, by hand ("Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.2).

``attend`` is the whole idea in five lines: compare every query with every key (scores), hide what may not be seen
(mask), turn each row into weights that sum to one (pattern), and mix the values with these weights. What may be seen is
a ``View`` (view.py); quicker forms of the same function are in kernels.py, and a test holds them together.

Axes in comments: B batch, T queries, S keys, H heads, K size of a head, D hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from minitransformer.layers.kernels import attention, linear
from minitransformer.layers.making import remembers_arguments
from minitransformer.layers.part import Part
from minitransformer.layers.taps import Tap
from minitransformer.layers.view import View

_UNWATCHED = (nn.Identity(), nn.Identity(), nn.Identity())


def attend(
    query: Float[Tensor, "batch heads query head_size"],
    key: Float[Tensor, "batch kv_heads key head_size"],
    value: Float[Tensor, "batch kv_heads key head_size"],
    view: View | None = None,
    *,
    temperature: float,
    dropout: float = 0.0,
    sharing: int = 1,
    taps: tuple[nn.Module, nn.Module, nn.Module] = _UNWATCHED,
) -> Float[Tensor, "batch heads query head_size"]:
    """Scaled dot-product attention, each step visible.

    Args:
        query: one vector for each token that asks.
        key: one vector for each token that can be asked.
        value: what each of those tokens answers.
        view: what may be seen. A row that may attend to nothing attends to everything evenly.
        temperature: divides the dot products, usually ``sqrt(head_size)``, to keep them of the size of one.
        dropout: probability that a weight of the pattern is dropped.
        sharing: how many heads in a row ask the same keys (grouped-query attention); there are as many fewer of them.
        taps: see (and may replace) the scores before bias and mask, the scores after them, and the pattern.
    """
    view = view or View()
    raw_scores_tap, scores_tap, pattern_tap = taps
    if sharing > 1:
        key, value = key.repeat_interleave(sharing, dim=1), value.repeat_interleave(sharing, dim=1)
    scores = torch.einsum("bhtk, bhsk -> bhts", query, key) / temperature  # how well each query fits each key
    scores = raw_scores_tap(scores)
    if view.bias is not None:
        scores = scores + view.bias
    allowed = view.allowed(query.shape[2], key.shape[2], scores.device)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    pattern = pattern_tap(scores_tap(scores).softmax(dim=-1))  # each row sums to one
    pattern = F.dropout(pattern, dropout, training=dropout > 0)
    return torch.einsum("bhts, bhsk -> bhtk", pattern, value)  # weighted mean of the values


@remembers_arguments
class MultiHeadAttention(Part):
    """Several attentions side by side, each on its own projection of the input (section 3.2.2).

    Self-attention, or with a ``memory`` in the view cross-attention.

    Args:
        hidden_size: width of input and output.
        num_heads: number of heads.
        head_size: width of one head; ``hidden_size / num_heads`` if not given.
        num_kv_heads: number of heads of keys and values, each of which several heads share, so that a cache holds as
            many fewer (grouped-query attention, https://arxiv.org/abs/2305.13245); ``num_heads`` if not given.
        bias: whether the four projections have biases.
        dropout: probability on the attention weights, in training.
        temperature: divides the dot products; ``sqrt(head_size)`` if not given.
        rotary: called with queries, keys and the view before they meet, gives them back with their positions in them
            (``Rotary``).
        window: how many tokens a token sees to the left, itself included, and if it sees what comes to the right.

    Raises:
        ValueError: ``hidden_size`` is not a multiple of ``num_heads`` and no ``head_size`` is given, or ``num_heads``
            is not a multiple of ``num_kv_heads``.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        head_size: int | None = None,
        num_kv_heads: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        temperature: float | None = None,
        rotary: nn.Module | None = None,
        window: int | None = None,
    ) -> None:
        super().__init__()
        if head_size is None:
            if hidden_size % num_heads:
                raise ValueError(f"hidden_size {hidden_size} is not a multiple of num_heads {num_heads}")
            head_size = hidden_size // num_heads
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {num_heads} is not a multiple of num_kv_heads {num_kv_heads}")
        self.num_heads, self.head_size, self.dropout = num_heads, head_size, dropout
        self.temperature = head_size**0.5 if temperature is None else temperature
        self.window = window

        self.query = nn.Linear(hidden_size, num_heads * head_size, bias=bias)
        self.key = nn.Linear(hidden_size, self.num_kv_heads * head_size, bias=bias)
        self.value = nn.Linear(hidden_size, self.num_kv_heads * head_size, bias=bias)
        self.rotary = rotary
        self.output = nn.Linear(num_heads * head_size, hidden_size, bias=bias)

        self.q = Tap("batch heads query head_size")
        self.k = Tap("batch heads key head_size")
        self.v = Tap("batch heads key head_size")
        self.raw_scores = Tap("batch heads query key")
        self.scores = Tap("batch heads query key")
        self.pattern = Tap("batch heads query key")
        self.mixed = Tap("batch heads query head_size")
        self.out = Tap("batch query hidden_size")

    def forward(
        self, x: Float[Tensor, "batch query hidden_size"], view: View | None = None
    ) -> Float[Tensor, "batch query hidden_size"]:
        """Let every token of ``x`` gather from the tokens that it may see."""
        return self.out(linear(self.output, self.mix(x, view or View())))

    def mix(self, x: Float[Tensor, "batch query hidden_size"], view: View) -> Float[Tensor, "batch query all_heads"]:
        """What the heads gathered, side by side."""
        if self.window is not None:
            view = view.within(self.window)
        q, k, v = self.project(x, view)  # (B, H, T, K), (B, H, S, K) twice
        dropout = self.dropout if self.training else 0.0
        sharing, taps = self.num_heads // self.num_kv_heads, (self.raw_scores, self.scores, self.pattern)
        numbers: dict[str, Any] = {"temperature": self.temperature, "dropout": dropout, "sharing": sharing}
        mixed = self.mixed(attention(attend, q, k, v, view, **numbers, taps=taps))
        return mixed.transpose(1, 2).flatten(2)  # (B, T, H * K)

    def project(self, x: Tensor, view: View) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of ``x``; keys and values of the tokens to attend to, cached ones included.

        Self-attention appends to the cache; cross-attention fills it on the first call and reads it afterwards.
        """
        q, memory, cache = self._heads(self.query, x), view.memory, view.cache
        if memory is not None and cache is not None and cache.filled:
            if cache.copies > 1 and not (self.k.watched or self.v.watched):
                return self.q(q), *cache.stored
            return self.q(q), self.k(cache.keys), self.v(cache.values)
        k, v = (self._heads(layer, x if memory is None else memory) for layer in (self.key, self.value))
        if self.rotary is not None:
            q, k = self.rotary(q, k, view)
        if cache is not None:
            k, v = cache.append(k, v) if memory is None else cache.store(k, v)
        return self.q(q), self.k(k), self.v(v)

    def _heads(self, layer: nn.Module, x: Tensor) -> Tensor:
        """A projection, its heads apart: (B, H, T, K)."""
        return linear(layer, x).view(x.shape[0], x.shape[1], -1, self.head_size).transpose(1, 2)

    def extra_repr(self) -> str:
        shared = f", num_kv_heads={self.num_kv_heads}" if self.num_kv_heads != self.num_heads else ""
        window = "" if self.window is None else f", window={self.window}"
        return f"num_heads={self.num_heads}, head_size={self.head_size}{shared}{window}"
