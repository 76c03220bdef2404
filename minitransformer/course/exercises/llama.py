"""The exercise about rotary positions, in a Llama that is drawn."""

from __future__ import annotations

import copy
from functools import lru_cache, partial

import torch
from torch import Tensor

from minitransformer.course import solutions
from minitransformer.course.exercises.base import Exercise, Part
from minitransformer.layers import View
from minitransformer.layers.rotary import Rotary, positions_of
from minitransformer.models.llama import LlamaConfig, LlamaForCausalLM
from minitransformer.parity.recording import record


@lru_cache(maxsize=1)
def drawn() -> LlamaForCausalLM:
    """Two blocks, 8 heads on 2 of keys and values; the same in every session."""
    config = LlamaConfig(
        vocab_size=50, hidden_size=64, num_layers=2, num_heads=8, num_kv_heads=2, intermediate_size=96, num_positions=32
    )
    model = LlamaForCausalLM(config).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return model


def _run(part: Part) -> dict[str, Tensor]:
    def forward(module: Rotary, query: Tensor, key: Tensor, view: View) -> tuple[Tensor, Tensor]:
        positions = positions_of(view, query)
        return part(module.q(query), positions), part(module.k(key), positions)

    model, found = copy.deepcopy(drawn()), dict[str, Tensor]()
    for module in model.modules():
        if isinstance(module, Rotary):
            module.forward = partial(forward, module)  # type: ignore[method-assign]
    with torch.no_grad():
        record(model, {"input_ids": torch.arange(12)[None]}, lambda name, x: found.update({name: x.clone()}))
    return found


def _turned(
    x: Tensor, positions: Tensor, *, way: str = "", theta: float = 10000.0, first: int = 0, sign: int = 1, step: int = 2
) -> Tensor:
    size = x.shape[-1]
    frequencies = theta ** (-torch.arange(size // 2).double() * step / size)
    angles = (positions[:, None, :, None] + first) * frequencies * sign
    a, b = (x[..., 0::2], x[..., 1::2]) if way in ("pairs", "laid") else x.chunk(2, dim=-1)
    turned = a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()
    return torch.stack(turned, dim=-1).flatten(-2) if way == "pairs" else torch.cat(turned, dim=-1)


ROTATION = Exercise(
    "rotate",
    18,
    _run,
    solutions.rotate,
    {
        "pairs are taken side by side; in this model they are number i of each half": partial(_turned, way="pairs"),
        "pairs are taken side by side, and laid back in halves": partial(_turned, way="laid"),
        "it turns the other way": partial(_turned, sign=-1),
        "angles shrink by 1 / head_size from pair to pair, not by 2 / head_size": partial(_turned, step=1),
        "nothing is turned": lambda x, positions: x,
        "the base is 500,000, not 10,000": partial(_turned, theta=500000.0),
    },
)
