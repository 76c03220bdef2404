"""Attention that gives most tokens a weight of exactly zero ("From Softmax to Sparsemax", arXiv 1602.02068)."""

from __future__ import annotations

import torch
from torch import Tensor

from minitransformer import register_part
from minitransformer.layers import MultiHeadAttention, View


def sparsemax(z: Tensor) -> Tensor:
    ranked, count = z.sort(dim=-1, descending=True).values, torch.arange(1, z.shape[-1] + 1, device=z.device)
    excess = ranked.cumsum(dim=-1) - 1
    size = (count * ranked > excess).sum(dim=-1, keepdim=True).clamp(min=1)  # of the support
    return (z - excess.gather(-1, size - 1) / size).clamp(min=0)


class SparsemaxAttention(MultiHeadAttention):
    def mix(self, x: Tensor, view: View) -> Tensor:
        q, k, v = self.project(x, view)
        scores = self.scores(view.applied(self.raw_scores(q @ k.mT / self.temperature)))
        return self.mixed(self.pattern(sparsemax(scores)) @ v).transpose(1, 2).flatten(2)


register_part("sparsemax-attention", SparsemaxAttention)
