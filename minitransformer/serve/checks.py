"""What is no number is no answer."""

from __future__ import annotations

import json
from typing import Any

from torch import Tensor

from minitransformer.pipelines.batching import Chunk
from minitransformer.serve.errors import failed


def check_numbers(ids: Tensor, scores: Tensor) -> Tensor:
    """The scores of the next tokens themselves.

    Raises:
        ApiError: they are no numbers.
    """
    if scores.isnan().any():
        raise failed("Inference failed: the model gave scores that are no numbers (NaN)")
    return scores


def has_nan(output: Chunk) -> bool:
    """Whether anything in there is no number."""
    for value in output.values():
        for tensor in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and bool(tensor.isnan().any()):
                return True
    return False


def to_json(content: Any) -> bytes:
    """An answer as JSON.

    Raises:
        ApiError: it holds what JSON has no number for.
    """
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, default=_plain).encode()
    except ValueError as error:
        raise failed("Inference failed: the answer holds numbers that are not finite") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor) or hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"an answer holds a {type(value).__name__}")
