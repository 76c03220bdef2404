"""The parts of a model by the names that all architectures share: stacks of blocks, and how norms are led through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import StudyError
from minitransformer.layers import Tap
from minitransformer.layers.norms import RMSNorm


@dataclass(frozen=True)
class Stack:
    """Blocks one after another, with the tap ``output`` behind them."""

    name: str
    module: Any
    blocks: tuple[str, ...]

    @property
    def final_norm(self) -> nn.Module | None:
        """The norm behind the last block, which pre-norm stacks have."""
        return getattr(self.module, "final_norm", None)

    def normed(self, x: Tensor) -> Tensor:
        """``x``, a residual stream between blocks, as it would leave the stack."""
        return x if self.final_norm is None else self.final_norm(x)


def stacks(model: nn.Module) -> list[Stack]:
    """The stacks of a model, in the order of the forward pass: one, or encoder and decoder.

    Raises:
        StudyError: there is none that follows the names.
    """
    modules = dict(model.named_modules())
    blocks = [name for name, module in modules.items() if _is_block(module)]
    if not blocks:
        raise StudyError(
            f"{type(model).__name__} has no block: a module with the taps `input` and `output` and the parts `attn` "
            "and `ffn`, as in layers/blocks.py"
        )
    found: dict[str, list[str]] = {}
    for block in blocks:
        parts = block.split(".")
        owners = (".".join(parts[:i]) for i in range(1, len(parts)))
        owner = next((n for n in owners if isinstance(getattr(modules[n], "output", None), Tap)), None)
        if owner is None:
            raise StudyError(
                f"the stack of {block} needs a tap `output` behind its last block, as layers/blocks.py has"
            )
        found.setdefault(owner, []).append(block)
    return [Stack(name, modules[name], tuple(names)) for name, names in found.items()]


def _is_block(module: Any) -> bool:
    taps = all(isinstance(getattr(module, name, None), Tap) for name in ("input", "output"))
    return taps and hasattr(module, "attn") and hasattr(module, "ffn")


def top_stack(model: nn.Module) -> Stack:
    """The stack whose output the head reads."""
    return stacks(model)[-1]


def named_stack(model: nn.Module, name: str | None) -> Stack:
    """The stack with this name, or its end; the one under the head if None."""
    found = stacks(model)
    if name is None:
        return found[-1]
    matching = [stack for stack in found if stack.name == name or stack.name.endswith(f".{name}")]
    if len(matching) != 1:
        raise StudyError(f"no stack is called {name!r}; there are {', '.join(stack.name for stack in found)}")
    return matching[0]


def frozen_norm(norm: nn.Module, x: Tensor, parts: Tensor) -> tuple[Tensor, Tensor | None]:
    """Each part on its way through a norm whose scale is that of ``x``, and the norm's bias, a part of its own.

    The sum of the results is ``norm(x)`` if the sum of the parts is ``x``.

    Args:
        norm: a layer norm or an RMS norm.
        x: what goes into it in the run, (batch, token, width).
        parts: (parts, batch, token, width).
    """
    weight: Tensor | None = getattr(norm, "weight", None)
    if isinstance(norm, nn.LayerNorm):
        scale = (x.var(-1, keepdim=True, correction=0) + norm.eps).rsqrt()
        parts = (parts - parts.mean(-1, keepdim=True)) * scale
    elif isinstance(norm, RMSNorm) or type(norm).__name__.endswith("RMSNorm"):
        eps: Any = norm.eps
        parts = parts * (x.pow(2).mean(-1, keepdim=True) + eps).rsqrt()
    else:
        raise StudyError(f"{type(norm).__name__} is neither a LayerNorm nor an RMSNorm: no part can be led through it")
    bias: Tensor | None = getattr(norm, "bias", None)
    return parts if weight is None else parts * weight, bias


def frozen_gate(before: Tensor, after: Tensor) -> Tensor:
    """What an activation multiplies each number with in this run: after / before, and 0 where both are 0."""
    return torch.where(before == 0, torch.zeros_like(before), after / torch.where(before == 0, 1.0, before))
