"""Building a model without memory and without random numbers: a checkpoint will bring its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_DRAWING = {"normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "xavier_uniform_", "xavier_normal_"}


class _WithoutDrawing(TorchFunctionMode):
    """Leaves out the drawing of weights.

    On the meta device it would have no effect, but PyTorch's ``normal_`` imports its compiler for it: hundreds of
    modules, more than a second.
    """

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _DRAWING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def without_memory() -> Iterator[None]:
    """Modules made in this context have parameters with shapes, on the meta device, ready for ``load_weights``."""
    with torch.device("meta"), _WithoutDrawing():
        yield
