"""Several feed-forward networks, of which each token chooses two ("Switch Transformers", arXiv 2101.03961)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from minitransformer import register_part
from minitransformer.layers import FeedForward


class MixtureOfExperts(FeedForward):
    def __init__(self, hidden_size: int, intermediate_size: int, activation: Any, *, others: int = 3) -> None:
        super().__init__(hidden_size, intermediate_size, activation)  # the first expert: it may come from a file
        self.router = nn.Linear(hidden_size, 1 + others)
        self.others = nn.ModuleList(FeedForward(hidden_size, intermediate_size, activation) for _ in range(others))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.router(x)
        best, chosen = scores.topk(2, dim=-1)
        shares = torch.zeros_like(scores).scatter(-1, chosen, best.softmax(dim=-1))
        answers = [super().forward(x), *(expert(x) for expert in self.others)]
        return (torch.stack(answers, dim=-1) * shares[..., None, :]).sum(dim=-1)


register_part("mixture-of-experts", MixtureOfExperts)
