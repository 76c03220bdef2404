"""Products by a loop of our own, in C++ (``native.cpp``): for inputs so short that reading the weights is the work.

oneDNN arranges its weights so that they are one stream, but leaves it to the processor to fetch ahead, which stops at
each page of memory: with a dozen rows it waits about a quarter of the time. The loop asks for what comes next itself.
With hundreds of rows arithmetic is all, and oneDNN's is a little quicker.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from minitransformer.errors import ConfigError
from minitransformer.layers.activations import Activation

WIDTH = 16
"""Outputs of a panel: the float32 numbers of a register."""

CHUNK = 256
"""Rows that are arranged at a time."""

FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC")


class NativeProduct:
    """A product in float32 whose weight lies in panels of 16 outputs.

    Args:
        weight: (out_features, in_features), copied.
        bias: (out_features), or None.
        activation: applied to the result.

    Raises:
        ConfigError: there is no C++ compiler, or it failed.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Activation | None = None) -> None:
        self.out_features, self.activation = len(weight), activation
        missing = -self.out_features % WIDTH
        padded = torch.nn.functional.pad(weight.detach().float(), (0, 0, 0, missing))
        self.weight = padded.view(-1, WIDTH, padded.shape[1]).mT.contiguous()  # (panels, in, 16)
        self.bias = padded.new_zeros(len(padded))
        if bias is not None:
            self.bias[: self.out_features] = bias.detach()
        library()

    def __call__(self, x: Tensor) -> Tensor:
        result = self._compute(x, None)
        return result if self.activation is None else self.activation(result)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return self._compute(x, residual.contiguous())

    def _compute(self, x: Tensor, residual: Tensor | None) -> Tensor:
        x = x.contiguous()
        in_features = x.shape[-1]
        out = x.new_empty(*x.shape[:-1], self.out_features)
        rows = out.numel() // self.out_features
        arranged = x.new_empty(min(rows, CHUNK) * in_features)
        pointers = [0 if t is None else t.data_ptr() for t in (x, self.weight, self.bias, residual, out, arranged)]
        library().product(*pointers, rows, in_features, self.out_features, torch.get_num_threads())
        return out


def fits() -> bool:
    """Whether the loop fits this processor, which needs registers of 16 numbers."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


@cache
def library() -> Any:
    """What the compiler makes of ``native.cpp``, for this processor; it takes a second, once in a process."""
    compiler = os.environ.get("CXX", "g++")
    with TemporaryDirectory() as folder:  # once loaded, the file may go
        made = Path(folder) / "native.so"
        command = [compiler, *FLAGS, str(Path(__file__).with_name("native.cpp")), "-o", str(made)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise ConfigError(f"compile=True needs a C++ compiler, and there is no {compiler!r} here") from None
        except subprocess.CalledProcessError as error:
            raise ConfigError(f"the C++ compiler {compiler!r} failed:\n{error.stderr}") from None
        loaded = ctypes.CDLL(str(made))
    loaded.product.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_long] * 3 + [ctypes.c_int]
    loaded.product.restype = None
    return loaded
