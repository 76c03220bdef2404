"""The difference of two attentions, so that noise cancels out ("Differential Transformer", arXiv 2410.05258)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from minitransformer import register_part
from minitransformer.layers import MultiHeadAttention, View


class DifferentialAttention(MultiHeadAttention):
    def __init__(self, hidden_size: int, num_heads: int, **options: Any) -> None:
        super().__init__(hidden_size, num_heads, **options)
        self.share = nn.Parameter(torch.full((num_heads, 1, 1), 0.2))  # lambda, of each head

    def mix(self, x: Tensor, view: View) -> Tensor:
        q, k, v = self.project(x, view)
        q, k = (torch.cat(halves.chunk(2, dim=-1), dim=1) for halves in (q, k))  # two attentions for each head
        scores = self.scores(view.applied(self.raw_scores(q @ k.mT / self.temperature)))
        first, second = scores.softmax(dim=-1).chunk(2, dim=1)
        return self.mixed(self.pattern(first - self.share * second) @ v).transpose(1, 2).flatten(2)


register_part("differential-attention", DifferentialAttention)
