"""Training: the loop, objectives, batches, the optimiser and checkpoints.

``Trainer``, ``Settings`` and ``History`` are at hand here; PyTorch is imported when one of them is first touched.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minitransformer.training.logs import History
    from minitransformer.training.settings import Settings
    from minitransformer.training.trainer import Trainer

_HOMES = {"History": "logs", "Settings": "settings", "Trainer": "trainer"}

__all__ = ["History", "Settings", "Trainer"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
