"""Habits: the names of transformers that this library has a way of its own for.

Whoever comes from transformers finds ``BertModel``, ``DataCollatorWithPadding``, ``get_scheduler`` ... at the top of
the package; they live here, one file a subject, and stand on the library. Nothing in the library imports them, but for
the lazy names of ``minitransformer/__init__.py``. docs/from-transformers.md tells what each does.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name != "logging":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.logging")
