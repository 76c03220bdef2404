"""From a model's logits to scores, as arrays on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def to_numpy(tensor: torch.Tensor) -> np.ndarray[Any, np.dtype[Any]]:
    """On the CPU, half precision widened to single."""
    return np.asarray(tensor.float().cpu() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.cpu())


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def sigmoid(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Elementwise, without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))
