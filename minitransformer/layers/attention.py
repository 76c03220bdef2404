"""Attention, by hand ("Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.2).

``attend`` is the whole idea in five lines: compare every query with every key (scores), hide what may not be seen
(mask), turn each row into weights that sum to one (pattern), and mix the values with these weights. ``attend_fused``
computes the same function in one PyTorch kernel that never stores the scores; ``MultiHeadAttention`` uses it whenever
nobody looks at scores or pattern. A test holds the two together.

Axes in comments: B batch, T queries, S keys, H heads, K size of a head, D hidden size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from minitransformer.layers.cache import KVCache
from minitransformer.layers.linear import Linear
from minitransformer.layers.taps import Tap

_UNWATCHED = nn.Identity()


def attend(
    query: Float[Tensor, "batch heads query head_size"],
    key: Float[Tensor, "batch heads key head_size"],
    value: Float[Tensor, "batch heads key head_size"],
    mask: Bool[Tensor, "#batch #heads #query #key"] | None = None,
    bias: Float[Tensor, "#batch #heads query key"] | None = None,
    *,
    temperature: float,
    dropout: float = 0.0,
    raw_scores_tap: nn.Module = _UNWATCHED,
    scores_tap: nn.Module = _UNWATCHED,
    pattern_tap: nn.Module = _UNWATCHED,
) -> Float[Tensor, "batch heads query head_size"]:
    """Scaled dot-product attention, each step visible.

    Args:
        query: one vector for each token that asks.
        key: one vector for each token that can be asked.
        value: what each of those tokens answers.
        mask: True where a query may attend to a key. A row that may attend to nothing attends to everything evenly.
        bias: added to the scores before the mask (relative positions).
        temperature: divides the dot products, usually ``sqrt(head_size)``, to keep them of the size of one.
        dropout: probability that a weight of the pattern is dropped.
        raw_scores_tap: sees (and may replace) the scores before bias and mask.
        scores_tap: sees (and may replace) the scores, after bias and mask.
        pattern_tap: sees (and may replace) the attention weights.
    """
    scores = torch.einsum("bhtk, bhsk -> bhts", query, key) / temperature  # how well each query fits each key
    scores = raw_scores_tap(scores)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    scores = scores_tap(scores)
    pattern = pattern_tap(scores.softmax(dim=-1))  # each row sums to one
    pattern = F.dropout(pattern, dropout, training=dropout > 0)
    return torch.einsum("bhts, bhsk -> bhtk", pattern, value)  # weighted mean of the values


def attend_fused(
    query: Float[Tensor, "batch heads query head_size"],
    key: Float[Tensor, "batch heads key head_size"],
    value: Float[Tensor, "batch heads key head_size"],
    mask: Bool[Tensor, "#batch #heads #query #key"] | None = None,
    bias: Float[Tensor, "#batch #heads query key"] | None = None,
    *,
    temperature: float,
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads query head_size"]:
    """The function of ``attend`` in one fused kernel; scores and pattern never exist as tensors."""
    if mask is not None:
        # A float mask, because for a row without any True the kernels disagree on what a boolean one means.
        lowest = torch.finfo(query.dtype).min
        hidden = torch.zeros_like(mask, dtype=query.dtype) if bias is None else bias
        bias = hidden.masked_fill(~mask, lowest)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout, scale=1 / temperature)


def gradient_is_slow(query: Tensor) -> bool:
    """Whether the way back through the fused kernel takes longer than through the readable function.

    It does in half precision on CPUs: training in bfloat16 is 1.6 times as quick without it.
    """
    return query.requires_grad and query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16)


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each on its own projection of the input (section 3.2.2).

    Self-attention when called with ``x`` alone; cross-attention when ``memory`` gives the tokens to attend to.

    Args:
        hidden_size: width of input and output.
        num_heads: number of heads.
        head_size: width of one head; ``hidden_size / num_heads`` if not given.
        bias: whether the four projections have biases.
        dropout: probability on the attention weights, in training.
        temperature: divides the dot products; ``sqrt(head_size)`` if not given.

    Raises:
        ValueError: ``hidden_size`` is not a multiple of ``num_heads`` and no ``head_size`` is given.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        head_size: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        temperature: float | None = None,
    ) -> None:
        super().__init__()
        if head_size is None:
            if hidden_size % num_heads:
                raise ValueError(f"hidden_size {hidden_size} is not a multiple of num_heads {num_heads}")
            head_size = hidden_size // num_heads
        self.num_heads, self.head_size, self.dropout = num_heads, head_size, dropout
        self.temperature = head_size**0.5 if temperature is None else temperature

        self.query = Linear(hidden_size, num_heads * head_size, bias=bias)
        self.key = Linear(hidden_size, num_heads * head_size, bias=bias)
        self.value = Linear(hidden_size, num_heads * head_size, bias=bias)
        self.output = Linear(num_heads * head_size, hidden_size, bias=bias)

        self.q = Tap("batch heads query head_size")
        self.k = Tap("batch heads key head_size")
        self.v = Tap("batch heads key head_size")
        self.raw_scores = Tap("batch heads query key")
        self.scores = Tap("batch heads query key")
        self.pattern = Tap("batch heads query key")
        self.mixed = Tap("batch heads query head_size")
        self.out = Tap("batch query hidden_size")

    def forward(
        self,
        x: Float[Tensor, "batch query hidden_size"],
        memory: Float[Tensor, "batch key hidden_size"] | None = None,
        mask: Bool[Tensor, "#batch #heads #query #key"] | None = None,
        bias: Float[Tensor, "#batch #heads query key"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "batch query hidden_size"]:
        """Let every token of ``x`` gather from the tokens of ``memory``, or of ``x`` itself.

        Args:
            x: the tokens that ask.
            memory: the tokens that answer; None for self-attention.
            mask: True where a query may attend to a key; keys count cached tokens too.
            bias: added to the scores.
            cache: keys and values of earlier calls. Self-attention appends to it; cross-attention fills it on the
                first call and reads it afterwards.
        """
        q, k, v = self._project(x, memory, cache)  # (B, H, T, K), (B, H, S, K) twice
        dropout = self.dropout if self.training else 0.0

        if self.raw_scores.watched or self.scores.watched or self.pattern.watched or gradient_is_slow(q):
            taps = {"raw_scores_tap": self.raw_scores, "scores_tap": self.scores, "pattern_tap": self.pattern}
            mixed = attend(q, k, v, mask, bias, temperature=self.temperature, dropout=dropout, **taps)
        else:
            mixed = attend_fused(q, k, v, mask, bias, temperature=self.temperature, dropout=dropout)

        mixed = self.mixed(mixed)  # (B, H, T, K)
        return self.out(self.output(rearrange(mixed, "b h t k -> b t (h k)")))

    def _project(self, x: Tensor, memory: Tensor | None, cache: KVCache | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of ``x``; keys and values of the tokens to attend to, cached ones included."""
        q = self.q(self._split_heads(self.query(x)))
        if memory is not None and cache is not None and cache.filled:
            return q, self.k(cache.keys), self.v(cache.values)
        source = x if memory is None else memory
        k = self._split_heads(self.key(source))
        v = self._split_heads(self.value(source))
        if cache is not None and memory is None:
            k, v = cache.append(k, v)
        elif cache is not None:
            cache.store(k, v)
        return q, self.k(k), self.v(v)

    def _split_heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b t (h k) -> b h t k", h=self.num_heads)

    def extra_repr(self) -> str:
        return f"num_heads={self.num_heads}, head_size={self.head_size}"
