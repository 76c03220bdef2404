"""A data set through a model in evaluation mode: losses, predictions and labels, gathered.

Predictions of unequal lengths are padded with -100, as transformers does. Reference: 4.57 ``trainer_utils.py`` and
``Trainer.evaluation_loop``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

PADDING = -100


class EvalPrediction:
    """What ``compute_metrics`` gets; it can be unpacked into predictions and labels.

    Args:
        predictions: an array, or a tuple of arrays.
        label_ids: the same of labels.
        inputs: not kept; None.
        losses: not kept; None.
    """

    def __init__(self, predictions: Any, label_ids: Any, inputs: Any = None, losses: Any = None) -> None:
        self.predictions, self.label_ids, self.inputs, self.losses = predictions, label_ids, inputs, losses

    def __iter__(self) -> Iterator[Any]:
        return iter((self.predictions, self.label_ids))

    def __getitem__(self, index: int) -> Any:
        return (self.predictions, self.label_ids)[index]


class PredictionOutput(NamedTuple):
    """What ``Trainer.predict`` gives."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float] | None


class EvalLoopOutput(NamedTuple):
    """What ``Trainer.evaluation_loop`` gives."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float] | None
    num_samples: int | None


class TrainOutput(NamedTuple):
    """What ``Trainer.train`` gives."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]


def gather(batches: Sequence[Any]) -> Any:
    """Tensors of all batches, one after another, as NumPy arrays; tuples part by part; None if there is nothing."""
    first = next((batch for batch in batches if batch is not None), None)
    if first is None:
        return None
    if isinstance(first, tuple | list):
        return tuple(gather([batch[i] for batch in batches]) for i in range(len(first)))
    rows = [batch.detach().cpu() for batch in batches]
    rows = [row[None] if row.ndim == 0 else row for row in rows]
    return _joined([row.float() if row.dtype in (torch.bfloat16, torch.float16) else row for row in rows])


def _joined(rows: Sequence[Tensor]) -> np.ndarray[Any, Any]:
    if rows[0].ndim > 1 and len({row.shape[1] for row in rows}) > 1:
        longest = max(row.shape[1] for row in rows)
        rows = [pad_to(row, longest, PADDING) for row in rows]
    found: np.ndarray[Any, Any] = torch.cat(list(rows)).numpy()
    return found


def pad_to(x: Tensor, length: int, value: int) -> Tensor:
    """``x`` with a second axis of this length, filled up at the end."""
    missing = length - x.shape[1]
    if missing <= 0:
        return x
    return torch.cat([x, x.new_full((x.shape[0], missing, *x.shape[2:]), value)], dim=1)
