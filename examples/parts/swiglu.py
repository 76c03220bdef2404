"""A feed-forward network with a gate ("GLU Variants Improve Transformer", arXiv 2002.05202)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer import register_part
from minitransformer.layers import Tap


class SwiGLU(nn.Module):
    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(hidden_size, intermediate_size, bias=False) for _ in range(2))
        self.down = nn.Linear(intermediate_size, hidden_size, bias=False)
        self.pre, self.hidden = Tap("batch token intermediate_size"), Tap("batch token intermediate_size")
        self.out = Tap("batch token hidden_size")

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.down(self.hidden(F.silu(self.pre(self.gate(x))) * self.up(x))))


register_part("swiglu", SwiGLU)
