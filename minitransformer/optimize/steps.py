"""Compiled steps: what a block does with one more token of one text, as a function that ``torch.compile`` has fused.

At one row a product only reads its weights once, and PyTorch's compiler writes a loop for it that reads as fast as
memory delivers, with norm, activation and residual in the same pass or the next. Blocks of a stack share the compiled
code: their weights are its arguments, and so is the number of tokens in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from minitransformer.layers.activations import Activation
from minitransformer.layers.blocks import Block
from minitransformer.layers.cache import BlockCache
from minitransformer.layers.linear import linear_onednn
from minitransformer.optimize.blocks import taps_of, watched
from minitransformer.optimize.products import Int8Product


class CompiledStep:
    """In front of a block's class: single tokens of single texts take the compiled way, unless somebody watches."""

    def __call__(
        self: Any, x: Tensor, *masks: Tensor | None, cache: BlockCache | None = None, **named: Tensor | None
    ) -> Tensor:
        if cache is not None and self.can_step(x, cache):
            cache.self_attn.reserve(2)  # one more than needed: a full buffer would be a case of its own to the compiler
            return compiled()(self, x, masks, cache, named)
        return super().__call__(x, *masks, cache=cache, **named)  # type: ignore[misc]

    def can_step(self: Any, x: Tensor, cache: BlockCache) -> bool:
        """Whether this is one more token, behind at least two: the compiler takes a length of one for a constant."""
        steps = x.shape[:2] == (1, 1) and cache.self_attn.length > 1 and not torch.is_grad_enabled()
        return steps and not watched(self.taps)


def compile_steps(block: Block) -> None:
    """Let a block take the compiled way."""
    block.taps = taps_of(block)  # type: ignore[assignment]
    kind: Any = type(block)
    block.__class__ = stepping(kind)


@cache
def stepping(kind: Any) -> Any:
    """The class that blocks become: one for all blocks of a kind, as compiled code belongs to a class."""
    return type(f"Compiled{kind.__name__}", (CompiledStep, kind), {})


@cache
def compiled() -> Callable[..., Tensor]:
    """The compiled function; the compiler is imported only here, which takes seconds."""
    return torch.compile(step, dynamic=True)


def step(
    block: Any, x: Tensor, masks: tuple[Tensor | None, ...], cache: BlockCache, named: dict[str, Tensor | None]
) -> Tensor:
    """A block's ``forward``."""
    result: Tensor = block.forward(x, *masks, cache=cache, **named)
    return result


class StepProduct:
    """A product that is a plain loop over its weights within compiled steps, and oneDNN's outside of them.

    Args:
        weight: (out_features, in_features), float32 or bfloat16, not copied.
        bias: (out_features), or None.
        activation: applied to the result.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Activation | None = None) -> None:
        self.weight, self.bias, self.activation = fixed(weight), None if bias is None else fixed(bias), activation

    def __call__(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            result = (self.weight.float() * written(x).float()).sum(dim=-1)[None]
            result = (result if self.bias is None else result + self.bias).to(x.dtype)
        else:
            result = linear_onednn(x, self.weight, self.bias)
        return result if self.activation is None else self.activation(result)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return self(x) + residual


class Int8StepProduct(Int8Product):
    """Likewise with weights of 8 bits, whose loop takes floating point numbers in: no digits are needed."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight, bias)
        integers = torch.ops.quantized.linear_unpack(self.packed)[0]
        self.integers, self.steps = fixed(integers.int_repr()), fixed(integers.q_per_channel_scales().float())
        self.bias = fixed(self.bias)

    def __call__(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return torch.addcmul(self.bias, (self.integers.float() * written(x)).sum(dim=-1), self.steps)[None]
        return super().__call__(x)


def written(x: Tensor) -> Tensor:
    """``x``, which the compiler has to write to memory: it would compute it anew for each row of the weights."""
    return x.as_strided(x.shape, x.stride())


def fixed(x: Tensor) -> Tensor:
    """``x``, whose shape the compiler may take for a constant."""
    x = x.detach().contiguous()
    torch._dynamo.mark_static(x)
    return x
