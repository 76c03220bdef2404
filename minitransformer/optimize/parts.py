"""Parts that do in fewer operations what the readable ones do; taps see the same tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minitransformer.layers import FeedForward, MultiHeadAttention
from minitransformer.layers.attention import attend_fused
from minitransformer.layers.cache import KVCache
from minitransformer.optimize.products import ActivatedProduct, Product


class FastAttention(MultiHeadAttention):
    """Attention in fewer calls: axes move by views alone, and nothing is asked about training."""

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        if self.raw_scores.watched or self.scores.watched or self.pattern.watched:
            return super().forward(x, memory, mask, bias, cache)
        return self.out(self.output(self.mix(x, memory, mask, bias, cache)))

    def mix(
        self, x: Tensor, memory: Tensor | None, mask: Tensor | None, bias: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        """What the heads gathered, side by side (B, T, H * K): all of ``forward`` but the last projection."""
        q, k, v = self._project(x, memory, cache)  # (B, H, T, K), (B, H, S, K) twice
        attend = attend_once if torch.compiler.is_compiling() else attend_fused
        mixed = self.mixed(attend(q, k, v, mask, bias, temperature=self.temperature))  # (B, H, T, K)
        return mixed.transpose(1, 2).flatten(2)

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, self.head_size).transpose(1, 2)


class FusedAttention(FastAttention):
    """Self-attention whose queries, keys and values come from one product."""

    qkv: Product

    def _project(self, x: Tensor, memory: Tensor | None, cache: KVCache | None) -> tuple[Tensor, Tensor, Tensor]:
        if memory is not None:
            return super()._project(x, memory, cache)
        heads = self.qkv(x).view(*x.shape[:2], 3, self.num_heads, self.head_size)
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind()  # (B, H, T, K) each
        if cache is not None:
            k, v = cache.append(k, v)
        return self.q(q), self.k(k), self.v(v)


class FusedFeedForward(FeedForward):
    """A feed-forward network whose first product applies the activation before it writes its result."""

    widen: ActivatedProduct

    def forward(self, x: Tensor) -> Tensor:
        if self.pre.watched:
            hidden = self.activation(self.pre(self.widen.linear_part(x)))
        else:
            hidden = self.widen(x)
        return self.out(self.down(self.hidden(hidden)))


class NoDropout(nn.Dropout):
    """What is left of dropout in a model that never trains."""

    def __call__(self, x: Tensor) -> Tensor:
        return x


def attend_once(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, *, temperature: float
) -> Tensor:
    """``attend`` for a single query, as plain loops for the compiler of steps."""
    scores = (query / temperature * key).sum(dim=-1)[:, :, None]  # (B, H, 1, S)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return (scores.softmax(dim=-1).mT * value).sum(dim=2, keepdim=True)
