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
from torch import Tensor, nn

from minitransformer.layers import KVCache, View
from minitransformer.layers.activations import Activation
from minitransformer.layers.kernels import linear_onednn
from minitransformer.optimize.blocks import taps_of, watched
from minitransformer.optimize.products import Float16Product, Int8Product, Product


class CompiledStep:
    """In front of a block's class: single tokens of single texts take the compiled way, unless somebody watches."""

    def __call__(self: Any, x: Tensor, view: View | None = None) -> Tensor:
        if view is not None and view.cache is not None and self.can_step(x, view.cache):
            view.cache.reserve(2)  # one more than needed: a full buffer would be a case of its own to the compiler
            return compiled()(self, x, plain(view, view.cache.length + 1, x))
        return super().__call__(x, view)  # type: ignore[misc]

    def can_step(self: Any, x: Tensor, cache: KVCache) -> bool:
        """Whether this is one more token, behind at least two: the compiler takes a length of one for a constant."""
        return x.shape[:2] == (1, 1) and cache.length > 1 and not torch.is_grad_enabled() and not watched(self.taps)


def plain(view: View, num_keys: int, x: Tensor) -> View:
    """The same view of a single query, with all that is hidden in the bias."""
    source = view.source and plain(view.source, view.source.cache.length, x)
    hidden = view.hidden(1, num_keys, x.dtype, x.device)
    return View(bias=hidden, memory=view.memory, cache=view.cache, source=source)


def compile_steps(block: nn.Module) -> None:
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


@cache
def compiled_product() -> Callable[[Product, Tensor], Tensor]:
    """The compiled function of a product by itself."""
    return torch.compile(multiply, dynamic=True)


def multiply(product: Product, x: Tensor) -> Tensor:
    """What the product makes of a single row (in_features), as one of a batch of one."""
    return product(x[None, None])


def step(block: Any, x: Tensor, view: View) -> Tensor:
    """A block's ``forward``."""
    result: Tensor = block.forward(x, view)
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
        result = self.linear_part(x)
        return result if self.activation is None else self.activation(result)

    def linear_part(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            result = rows_times(self.weight, written(x))[None]
            return (result if self.bias is None else result + self.bias).to(x.dtype)
        return linear_onednn(x, self.weight, self.bias)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return self(x) + residual


class Float16StepProduct(Float16Product):
    """Likewise with weights in float16, which the loop reads in another order than the kernel for many rows."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Activation | None = None) -> None:
        super().__init__(weight, bias, activation)
        self.bias = None if bias is None else fixed(bias.float())
        self.number = len(weight)
        self.weight = fixed(even(weight.detach().half()))

    def linear_part(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            result = rows_times(self.weight, written(x))[..., : self.number][None]
            return result if self.bias is None else result + self.bias
        return super().linear_part(x)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return self(x) + residual


class Int8StepProduct(Int8Product):
    """Likewise with weights of 8 bits, whose loop takes floating point numbers in: no digits are needed."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight, bias)
        integers = torch.ops.quantized.linear_unpack(self.packed)[0]
        self.integers, self.steps = fixed(even(integers.int_repr())), fixed(integers.q_per_channel_scales().float())
        self.bias = fixed(self.bias)

    def __call__(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            products = rows_times(self.integers, written(x))[..., : len(self.bias)]
            return torch.addcmul(self.bias, products, self.steps)[None]
        return super().__call__(x)


class RowProduct:
    """A product outside of blocks, of a matrix as large as a vocabulary: a single row takes a loop of its own.

    Args:
        alone: computes single rows within compiled code.
        others: computes the rest.
    """

    def __init__(self, alone: Product, others: Product) -> None:
        self.alone, self.others = alone, others

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[:-1].numel() == 1 and not torch.is_grad_enabled():
            row = x.flatten().clone()  # to the compiler, a part of another tensor would be a case of its own
            return compiled_product()(self.alone, row).view(*x.shape[:-1], -1)
        return self.others(x)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return self(x) + residual


def rows_times(weight: Tensor, x: Tensor) -> Tensor:
    """``weight @ x`` in float32, as a loop over the rows: (1, out_features) for ``x`` (1, 1, in_features).

    Narrow types are widened on the way, so that adding, not reading, sets the pace: a sum cannot take the next number
    before it has the last one. Two rows at a time have two sums, which do not wait for each other.
    """
    x = x.float()
    if weight.dtype == torch.float32 or len(weight) % 2:
        return (weight.float() * x).sum(dim=-1)
    halves = weight.view(2, -1, weight.shape[1]).unbind()
    return torch.cat([(half.float() * x).sum(dim=-1) for half in halves], dim=-1)


def even(weight: Tensor) -> Tensor:
    """A matrix with a row of zeros below, if its rows are odd: ``rows_times`` takes two at a time."""
    return torch.nn.functional.pad(weight, (0, 0, 0, len(weight) % 2))


def written(x: Tensor) -> Tensor:
    """``x``, which the compiler has to write to memory: it would compute it anew for each row of the weights."""
    return x.as_strided(x.shape, x.stride())


def fixed(x: Tensor) -> Tensor:
    """``x``, whose shape the compiler may take for a constant."""
    x = x.detach().contiguous()
    torch._dynamo.mark_static(x)
    return x
