"""Norms beside PyTorch's own ``nn.LayerNorm``."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Divide by the root mean square, then weigh: no mean, no bias (https://arxiv.org/abs/1910.07467).

    Half precision is left for the sum of squares, and entered again before the weights: a stream in float32 between
    layers in float16 (T5) comes out in float16.

    Args:
        hidden_size: width of input and output.
        eps: added to the mean square.
    """

    def __init__(self, hidden_size: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch hidden_size"]) -> Float[Tensor, "*batch hidden_size"]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        normed = wide * torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + self.eps)
        return self.weight * (normed.to(self.weight.dtype) if self.weight.dtype.itemsize == 2 else normed)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"
