"""Parts that do in fewer operations what the readable ones do; taps see the same tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minitransformer.layers import FeedForward, MultiHeadAttention, View
from minitransformer.optimize.products import ActivatedProduct, Product


class ProductLinear(nn.Linear):
    """A linear layer that is computed in another way, with weights in another form."""

    product: Product

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x)


class FastAttention(MultiHeadAttention):
    """Attention that compiled steps compute in plain loops."""

    def mix(self, x: Tensor, view: View) -> Tensor:
        if not torch.compiler.is_compiling():
            return super().mix(x, view)
        q, k, v = self.project(x, view)
        return self.mixed(attend_once(q, k, v, view, temperature=self.temperature)).transpose(1, 2).flatten(2)


class FusedAttention(FastAttention):
    """Self-attention whose queries, keys and values come from one product."""

    qkv: Product

    def project(self, x: Tensor, view: View) -> tuple[Tensor, Tensor, Tensor]:
        if view.memory is not None:
            return super().project(x, view)
        heads = self.qkv(x).view(*x.shape[:2], 3, self.num_heads, self.head_size)
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind()  # (B, H, T, K) each
        if view.cache is not None:
            k, v = view.cache.append(k, v)
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


def attend_once(query: Tensor, key: Tensor, value: Tensor, view: View, *, temperature: float) -> Tensor:
    """``attend`` for a single query, as plain loops for the compiler of steps; see ``steps.plain``."""
    scores = (query / temperature * key).sum(dim=-1)[:, :, None]  # (B, H, 1, S)
    if view.bias is not None:
        scores = scores + view.bias
    return (scores.softmax(dim=-1).mT * value).sum(dim=2, keepdim=True)
