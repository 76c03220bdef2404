"""Attention to the last few tokens only ("Longformer", arXiv 2004.05150; in every layer, as Mistral has it)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from minitransformer import register_part
from minitransformer.layers import MultiHeadAttention, View


class WindowAttention(MultiHeadAttention):
    def __init__(self, hidden_size: int, num_heads: int, *, last: int = 16, **options: Any) -> None:
        super().__init__(hidden_size, num_heads, **options)
        self.last = last

    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        view = view or View()
        return super().forward(x, view.changed(window=min(self.last, view.window or self.last)))


register_part("window-attention", WindowAttention)
