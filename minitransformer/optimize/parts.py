"""Parts that do in one product what the readable ones do in several; taps see the same tensors."""

from __future__ import annotations

from torch import Tensor

from minitransformer.layers import FeedForward, MultiHeadAttention
from minitransformer.layers.cache import KVCache
from minitransformer.optimize.products import Product


class FusedAttention(MultiHeadAttention):
    """Self-attention whose queries, keys and values come from one product."""

    qkv: Product

    def _project(self, x: Tensor, memory: Tensor | None, cache: KVCache | None) -> tuple[Tensor, Tensor, Tensor]:
        if memory is not None:
            return super()._project(x, memory, cache)
        q, k, v = (self._split_heads(part) for part in self.qkv(x).chunk(3, dim=-1))
        if cache is not None:
            k, v = cache.append(k, v)
        return self.q(q), self.k(k), self.v(v)


class FusedFeedForward(FeedForward):
    """A feed-forward network whose first product applies the activation before it writes its result."""

    widen: Product

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.down(self.hidden(self.widen(x))))
