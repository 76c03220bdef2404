"""Activation functions under the names that checkpoints use. Several "gelu"s differ, and a checkpoint means one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.errors import ConfigError, did_you_mean

Activation = Callable[[Tensor], Tensor]


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution function of x, exactly (https://arxiv.org/abs/1606.08415): BERT, BART."""
    return F.gelu(x)


def gelu_new(x: Tensor) -> Tensor:
    """The tanh approximation of ``gelu`` as in the original BERT and GPT code: GPT, GPT-2, ALBERT, T5 v1.1.

    Where gradients are wanted it is one operation both ways, instead of eight that each keep a tensor.
    """
    if x.requires_grad:
        return gelu_pytorch_tanh(x)
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def gelu_fast(x: Tensor) -> Tensor:
    """``gelu_new`` with a rounded constant and other grouping, which differs in the last digits."""
    return 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))


def gelu_pytorch_tanh(x: Tensor) -> Tensor:
    """PyTorch's own tanh approximation of ``gelu``."""
    return F.gelu(x, approximate="tanh")


def quick_gelu(x: Tensor) -> Tensor:
    """A logistic approximation of ``gelu``."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_fast": gelu_fast,
    "gelu_new": gelu_new,
    "gelu_pytorch_tanh": gelu_pytorch_tanh,
    "linear": lambda x: x,
    "quick_gelu": quick_gelu,
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}


def activation(name: str) -> Activation:
    """The function that a config calls ``name``.

    Raises:
        ConfigError: no such function; the message lists those there are.
    """
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ConfigError(f"unknown activation {name!r}.{did_you_mean(name, ACTIVATIONS)} Known: {known}.")
    return ACTIVATIONS[name]


def as_function(given: Activation | str) -> Activation:
    """A function, or the one of that name."""
    return activation(given) if isinstance(given, str) else given
