"""Pipelines: from text to answers, with the names and results of transformers 4.57.

``pipeline(task, model)`` makes one. The classes behind the tasks are here too, resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from minitransformer.pipelines.tasks import ALIASES, TASKS, pipeline, pipeline_options, register_pipeline

_CLASSES = {name: module for module, name in TASKS.values()} | {"Pipeline": "base", "ChunkPipeline": "base"}

__all__ = ["ALIASES", "TASKS", "pipeline", "pipeline_options", "register_pipeline", *_CLASSES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Import a class when it is first asked for (PEP 562)."""
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_CLASSES[name]}"), name)
