"""Rotary positions: queries and keys are turned by angles that grow with their places (RoFormer, 2021).

The product of a query turned by ``m * f`` and a key turned by ``n * f`` depends on ``m - n`` alone: distances show in
the scores, and nothing is added to the words (https://arxiv.org/abs/2104.09864, section 3.2.2). A head's numbers are
turned in pairs, each at a frequency of its own, from one radian a token to one in about ``theta`` tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.layers.norms import RMSNorm
from minitransformer.layers.taps import Tap
from minitransformer.layers.view import View

SCALINGS: dict[str, tuple[str, ...]] = {
    "default": (),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Ways to stretch frequencies for longer texts than a model was trained on -> the numbers that each wants."""


def rotary_frequencies(
    head_size: int, theta: float = 10000.0, scaling: Mapping[str, Any] | None = None
) -> Float[Tensor, " pair"]:
    """How fast each pair of a head's numbers turns, in radians a token; float32, as models were trained with.

    Args:
        head_size: width of a head, even.
        theta: the slowest pair turns by about so much less than the fastest.
        scaling: ``rope_type`` of ``SCALINGS``, and its numbers. "llama3" (Llama 3.1) divides the frequencies of waves
            longer than ``original_max_position_embeddings / low_freq_factor`` by ``factor``, leaves those of waves
            shorter than ``original_max_position_embeddings / high_freq_factor``, and goes over between the two.

    Raises:
        ValueError: an unknown scaling.
    """
    exponents = torch.arange(0, head_size, 2, device="cpu").float() / head_size
    frequencies = 1.0 / theta**exponents
    kind = scaling.get("rope_type", "default") if scaling else "default"
    if kind not in SCALINGS:
        raise ValueError(f"rope scaling {kind!r} is not implemented; there are {', '.join(SCALINGS)}")
    if scaling is None or kind == "default":
        return frequencies
    factor, low, high, length = (scaling[name] for name in SCALINGS["llama3"])
    waves = 2 * math.pi / frequencies
    slowed = torch.where(waves > length / low, frequencies / factor, frequencies)
    share = (length / waves - low) / (high - low)  # of the old frequency, between the two ends
    between = (1 - share) * slowed / factor + share * slowed
    is_between = ~(waves < length / high) & ~(waves > length / low)
    return torch.where(is_between, between, slowed)


class Rotary(nn.Module):
    """Turn queries and keys by the angles of their positions, in pairs of a head's first half and its second.

    (Llama's own files hold the pairs side by side; ``weights.Interleave`` brings them here.)

    Args:
        head_size: width of a head, even.
        theta: see ``rotary_frequencies``.
        scaling: see ``rotary_frequencies``.
    """

    steps: Tensor

    def __init__(self, head_size: int, *, theta: float = 10000.0, scaling: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.head_size, self.theta, self.scaling = head_size, theta, dict(scaling or {})
        self.name = f"turns {head_size} {theta} {self.scaling}"  # the same for all blocks that turn alike
        frequencies = rotary_frequencies(head_size, theta, self.scaling)
        # Held as whole numbers, which is exact: floating-point ones would be rounded with a model in half precision.
        self.register_buffer("steps", (frequencies.double() * 2.0**52).long(), persistent=False)
        self.q = Tap("batch heads query head_size")
        self.k = Tap("batch heads query head_size")

    def forward(
        self,
        query: Float[Tensor, "batch heads query head_size"],
        key: Float[Tensor, "batch kv_heads query head_size"],
        view: View,
    ) -> tuple[Float[Tensor, "batch heads query head_size"], Float[Tensor, "batch kv_heads query head_size"]]:
        """Both, turned; the view says where they stand."""
        cos, sin = view.once(self.name, lambda: self.turns(positions_of(view, query)))
        cos, sin = cos.to(query.dtype), sin.to(query.dtype)
        return turned(self.q(query), cos, sin), turned(self.k(key), cos, sin)

    def turns(self, positions: Int[Tensor, "#batch query"]) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the angles at these positions, (batch, 1, query, head_size); float32 as in training."""
        frequencies = self.steps.float() * 2.0**-52
        angles = positions[..., None].float() * frequencies
        angles = torch.cat([angles, angles], dim=-1)[:, None]
        return angles.cos(), angles.sin()

    def extra_repr(self) -> str:
        return f"theta={self.theta:g}" + (f", scaling={self.scaling}" if self.scaling else "")


class NormedRotary(Rotary):
    """Normalise each head's queries and keys, then turn them (https://arxiv.org/abs/2302.05442, section 3.1; Qwen3).

    Args:
        head_size: width of a head, even.
        eps: of the norms.
        **options: see ``Rotary``.
    """

    def __init__(self, head_size: int, *, eps: float, **options: Any) -> None:
        super().__init__(head_size, **options)
        self.q_norm, self.k_norm = RMSNorm(head_size, eps=eps), RMSNorm(head_size, eps=eps)

    def forward(self, query: Tensor, key: Tensor, view: View) -> tuple[Tensor, Tensor]:
        return super().forward(self.q_norm(query), self.k_norm(key), view)


def positions_of(view: View, query: Tensor) -> Int[Tensor, "#batch query"]:
    """Where the queries stand: as the view says, else behind what the cache holds."""
    if view.positions is not None:
        return view.positions
    offset = 0 if view.cache is None else view.cache.length
    return torch.arange(offset, offset + query.shape[2], device=query.device)[None]


def turned(x: Float[Tensor, "batch heads query head_size"], cos: Tensor, sin: Tensor) -> Tensor:
    """Each pair of the first half and the second, turned."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
