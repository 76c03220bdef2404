"""The engines that are compared: one module for each library, which offers ``version()`` and ``load(setup)``.

``load`` returns ``prepare``; ``prepare(work)`` returns a function without arguments that does the work once and
returns its answer as plain numbers or as an array. Modules import their library only there, so that the list of engines
can be read in any environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Engine:
    """An engine, as it appears in results.

    Attributes:
        title: of its column.
        module: under ``speed.engines``.
        options: for the module's ``load``.
    """

    title: str
    module: str
    options: dict[str, Any]


ENGINES = {
    "readable": Engine("minitransformer", "ours", {"optimize": False}),
    "optimized": Engine("optimized()", "ours", {"optimize": True}),
    "compiled": Engine("optimized(), compiled", "ours", {"optimize": True, "compile": True}),
    "transformers": Engine("transformers 4.57", "huggingface", {}),
    "by-hand": Engine("transformers 4.57, sorted by hand", "huggingface", {"by_hand": True}),
    "transformers-5": Engine("transformers 5", "huggingface", {}),
    "ctranslate2": Engine("CTranslate2", "ctranslate", {}),
    "onnxruntime": Engine("ONNX Runtime", "onnx_runtime", {}),
    "reading": Engine("pure reading", "reading", {}),
}
OURS = ("readable", "optimized", "compiled")
"""Ours, from the slowest to the quickest."""


@dataclass(frozen=True)
class Setup:
    """What a worker loads.

    Attributes:
        engine: a name in ``ENGINES``.
        dtype: "float32", "bfloat16" or "int8": of the weights.
        kind: "causal", "seq2seq", "encoder", "features", "zero-shot" or "read".
        folder: the checkpoint in the format of the Hub; conversions are in subfolders of it.
        threads: how many the engine may use.
    """

    engine: str
    dtype: str
    kind: str
    folder: str
    threads: int

    @property
    def name(self) -> str:
        """For results: the engine and its dtype."""
        return f"{self.engine}:{self.dtype}"

    @property
    def options(self) -> dict[str, Any]:
        """The options of its engine."""
        return ENGINES[self.engine].options


class Unable(Exception):
    """This engine has no such dtype, or does not know this kind of work. The message says why."""
