"""The linear layer, and a second implementation of it that answers sooner on CPUs.

``Linear`` is ``nn.Linear``. Within ``fast_linear()`` it computes float32 products with oneDNN instead of the BLAS that
PyTorch uses otherwise: sums run in another order, so that results differ in the last bits, and reading a matrix for a
few tokens takes about half the time. ``generate`` and pipelines work within it; a model called by itself does not, so
that its numbers are bit by bit those of ``F.linear``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_fast = ContextVar("fast_linear", default=False)

_WORTHWHILE = 2**17  # weights; below, calling oneDNN costs more than it saves
_AVAILABLE = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


@contextmanager
def fast_linear() -> Iterator[None]:
    """Within this context linear layers on the CPU may round otherwise, and are quicker."""
    token = _fast.set(True)
    try:
        yield
    finally:
        _fast.reset(token)


def linear_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear`` by oneDNN: float32 on the CPU, without gradients."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return result


class Linear(nn.Linear):
    """``x @ weight.T + bias``."""

    product: Callable[[Tensor], Tensor] | None = None
    """Computes this layer in another way, with weights of its own in another form (see ``optimize``)."""

    def forward(self, x: Tensor) -> Tensor:
        if self.product is not None:
            return self.product(x)
        if _fast.get() and onednn_fits(x, self.weight):
            return linear_onednn(x, self.weight, self.bias)
        return F.linear(x, self.weight, self.bias)


def onednn_fits(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN can compute this product, and is worth its call."""
    return (
        _AVAILABLE
        and weight.numel() >= _WORTHWHILE
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() > 0
        and weight.is_contiguous()
        and not torch.is_grad_enabled()
    )
