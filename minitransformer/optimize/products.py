"""Linear layers from weights in another form: packed for oneDNN, or as float16 or int8.

A product is a function of ``x`` that holds its weights; ``parts.ProductLinear`` calls it for ``F.linear``. Where the
PyTorch at hand lacks the kernels, or the weights lie on another device, there is none, and the layer stays readable.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from minitransformer.layers.activations import ACTIVATIONS, Activation

PACKED_FOR = 32
"""Rows that oneDNN arranges a matrix for. Measured: this form is the quickest, or nearly so, from 1 row to 1,024."""

FORMS = {"float32": torch.float32, "float16": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.float32}
"""Form of the weights -> type of everything else."""

LARGEST = 127
"""The largest 8-bit integer that has a negative of its own."""

HALF_A_DIGIT = 2**-11
"""Share of a number that rounding it to float16 changes at most, within float16's range."""

_POST_OPS: dict[Activation, tuple[str, str]] = {
    ACTIVATIONS["gelu"]: ("gelu", "none"),
    ACTIVATIONS["gelu_new"]: ("gelu", "tanh"),
    ACTIVATIONS["gelu_pytorch_tanh"]: ("gelu", "tanh"),
    ACTIVATIONS["relu"]: ("relu", ""),
    ACTIVATIONS["swish"]: ("swish", ""),
}
"""Activations that oneDNN applies to a product before it is written to memory."""


class Product(Protocol):
    """``x @ weight.T + bias`` for ``x`` (..., in_features)."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """``residual`` (..., out_features) and the product, in one tensor."""


class ActivatedProduct(Product, Protocol):
    """A product that applies an activation before it writes its result, if it has one."""

    def linear_part(self, x: Tensor) -> Tensor:
        """The product before the activation."""


class PackedProduct:
    """A product whose weight oneDNN has laid out in the order in which it reads; float32 or bfloat16.

    Args:
        weight: (out_features, in_features), copied.
        bias: (out_features), or None.
        activation: applied to the result on the way out; it must be one of oneDNN's (see ``can_fuse``).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Activation | None = None) -> None:
        self.weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), PACKED_FOR)
        self.bias = None if bias is None else bias.detach()
        self.linear = torch.ops.mkldnn._linear_pointwise
        self.post_op, self.algorithm = ("none", "") if activation is None else _POST_OPS[activation]

    def __call__(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear.default(x, self.weight, self.bias, self.post_op, [], self.algorithm)
        return result

    def linear_part(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear.default(x, self.weight, self.bias, "none", [], "")
        return result

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        result: Tensor = self.linear.binary(x, residual, self.weight, self.bias, "add")
        return result


class Float16Product:
    """A product of weights in float16, which FBGEMM widens as it reads them: float32 at both ends and in all sums.

    Args:
        weight: (out_features, in_features), copied; see ``fits_float16``.
        bias: (out_features), or None.
        activation: applied to the result.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Activation | None = None) -> None:
        bias = None if bias is None else bias.detach().float()
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight.detach().float().contiguous(), bias)
        self.linear, self.activation = torch.ops.quantized.linear_dynamic_fp16.default, activation

    def __call__(self, x: Tensor) -> Tensor:
        result = self.linear_part(x)
        return result if self.activation is None else self.activation(result)

    def linear_part(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(x, self.packed)
        return result

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.linear_part(x).add_(residual)


class Int8Product:
    """A product of 8-bit integers, with float32 at both ends.

    Each row of the weight has a step size of its own, symmetric around zero. Eight bits are enough for weights, but not
    for what goes in: a few columns of hidden states are ten times as large as the rest. So a row of ``x`` becomes two
    rows of integers, a coarse and a fine digit, and one pass over the weights multiplies both; sums are exact in 32
    bits. What error there is comes from the weights.

    Args:
        weight: (out_features, in_features), copied.
        bias: (out_features), or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        weight = weight.detach().float()
        steps = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():  # PyTorch means to offer another way to make these, and does not yet
            warnings.simplefilter("ignore", UserWarning)
            integers = torch.quantize_per_channel(weight, steps.double(), zeros, axis=0, dtype=torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(integers, None)
        self.bias = torch.zeros(len(weight)) if bias is None else bias.detach().float()
        self.ends = torch.zeros(1, weight.shape[1])  # a last row that makes the kernel's step size exactly 1
        self.ends[0, 0], self.ends[0, 1] = -LARGEST - 1, LARGEST

    def __call__(self, x: Tensor) -> Tensor:
        if not x.numel():
            return x.new_empty(*x.shape[:-1], len(self.bias))
        rows = x.reshape(-1, x.shape[-1])
        number = len(rows)
        unit = torch.linalg.vector_norm(rows, torch.inf, dim=1, keepdim=True)
        unit = unit.clamp_(min=torch.finfo(x.dtype).tiny).div_(LARGEST)
        fine = rows / unit
        coarse = fine.round()
        fine.sub_(coarse).mul_(2 * LARGEST)  # what is left, for the kernel to round; both digits from -127 to 127
        digits = torch.cat((coarse, fine, self.ends))
        coarse, fine, _ = torch.ops.quantized.linear_dynamic(digits, self.packed, False).split((number, number, 1))
        return torch.addcmul(self.bias, coarse.add_(fine, alpha=0.5 / LARGEST), unit).view(*x.shape[:-1], -1)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return self(x) + residual


def make_product(form: str, weight: Tensor, bias: Tensor | None, activation: Activation | None = None) -> Product:
    """A product of this form, which applies an activation on the way out where it can (see ``can_fuse``)."""
    if form == "int8":
        return Int8Product(weight, bias)
    if form == "float16":
        return Float16Product(weight, bias, activation)
    kind = FORMS[form]
    return PackedProduct(weight.to(kind), None if bias is None else bias.to(kind), activation)


def can_fuse(form: str, activation: Activation) -> bool:
    """Whether a product of this form can apply this function on the way out."""
    return form == "float16" or (form != "int8" and activation in _POST_OPS)


def fits_float16(weight: Tensor) -> bool:
    """Whether a matrix keeps its numbers in float16, to its last digit: none too large, nor all of them too small."""
    weight = weight.detach().float()
    lost = torch.linalg.vector_norm(weight.half().float().sub_(weight))
    return bool(lost.isfinite() and lost <= HALF_A_DIGIT * torch.linalg.vector_norm(weight))


def forms_here() -> list[str]:
    """The forms that this PyTorch has kernels for on this processor."""
    return [name for name in FORMS if has_form(name)]


@cache
def has_form(name: str) -> bool:
    """Whether this PyTorch has the kernels of a form on this processor: a small product is computed, and compared.

    What a build offers says too little: oneDNN packs bfloat16 with AVX512 only (or AVX-NE-CONVERT), and without VNNI
    sums of 8-bit integers saturate.
    """
    if name in ("float16", "int8") and not {"x86", "fbgemm"} & set(torch.backends.quantized.supported_engines):
        return False
    if name != "int8" and not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False  # in the form float16 matrices that it cannot hold are packed
    x = torch.ones(4, 64, dtype=FORMS[name])  # in 8 bits, every integer the largest one
    try:
        product = make_product(name, x, None, None if name == "int8" else ACTIVATIONS["relu"])
        return torch.allclose(product(x), 64 * x[:, :4]) and torch.allclose(product.plus(x, x[:, :4]), 65 * x[:, :4])
    except (AttributeError, RuntimeError):  # no such operator; no such kernel
        return False
