"""minitransformer: the readable model as it is loaded, or what ``optimized`` makes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from speed.engines import Setup, Unable
from speed.engines.torch_calls import CLASSES, TASKS, model_call
from speed.works import Work, labels, texts


def version() -> str:
    import minitransformer

    return minitransformer.__version__


def load(setup: Setup) -> Callable[[Work], Callable[[], Any]]:
    import torch

    import minitransformer

    torch.set_num_threads(setup.threads)
    optimize, compiled = setup.options["optimize"], setup.options.get("compile", False)
    if compiled and shutil.which("g++") is None:
        raise Unable("torch.compile needs a C++ compiler")
    if setup.dtype == "int8" and not optimize:
        raise Unable("int8 is a matter of optimized()")
    dtype = torch.bfloat16 if setup.dtype == "bfloat16" and not optimize else torch.float32
    if setup.kind in TASKS:
        run = minitransformer.pipeline(TASKS[setup.kind], setup.folder, dtype=dtype, device=-1, batch_size="auto")
        if optimize:
            run = minitransformer.pipeline(
                TASKS[setup.kind],
                _optimized(run.model, setup.dtype, compiled),
                tokenizer=setup.folder,
                device=-1,
                batch_size="auto",
            )
        return lambda work: _pipeline_call(run, work)
    model = getattr(minitransformer, CLASSES[setup.kind]).from_pretrained(setup.folder, dtype=dtype)
    if optimize:
        model = _optimized(model, setup.dtype, compiled)
    return lambda work: model_call(model, work)


def _optimized(model: Any, dtype: str, compiled: bool) -> Any:
    from minitransformer.optimize import forms_here, optimized

    if dtype not in forms_here():
        raise Unable(f"this processor has no kernels for {dtype}")
    return optimized(model, dtype=dtype, compile=compiled)


def _pipeline_call(run: Any, work: Work) -> Callable[[], Any]:
    given = texts(work)
    if work["kind"] == "zero-shot":
        return lambda: [answer["scores"] for answer in run(given, candidate_labels=labels(work))]
    return lambda: run(given)
