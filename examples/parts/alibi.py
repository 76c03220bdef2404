"""Attention that looks less at what is further away, head by head ("Train Short, Test Long", arXiv 2108.12409)."""

from __future__ import annotations

import torch
from torch import Tensor

from minitransformer import register_part
from minitransformer.layers import MultiHeadAttention, View


class AlibiAttention(MultiHeadAttention):
    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        view, T = view or View(), x.shape[1]
        keys = torch.arange(T + (0 if view.cache is None else view.cache.length), device=x.device)
        distances = (keys[-T:, None] - keys).abs()
        slopes = 2.0 ** (-8 / self.num_heads * torch.arange(1, self.num_heads + 1, device=x.device))
        bias = (-slopes[:, None, None] * distances).to(x.dtype)[None]
        return super().forward(x, view.changed(bias=bias if view.bias is None else view.bias + bias))


register_part("alibi-attention", AlibiAttention)
