"""ONNX Runtime, on what PyTorch's exporter made of the folder; encoders only, as it brings no decoding loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed.engines import Setup, Unable
from speed.works import Work, token_ids

FILE = "onnx/model.onnx"


def version() -> str:
    import onnxruntime

    return onnxruntime.__version__


def load(setup: Setup) -> Callable[[Work], Callable[[], Any]]:
    import numpy
    import onnxruntime

    if setup.kind != "encoder" or setup.dtype != "float32":
        raise Unable("ONNX Runtime takes part with encoders in float32")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = setup.threads, 1
    path = str(Path(setup.folder) / FILE)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def prepare(work: Work) -> Callable[[], Any]:
        ids = numpy.array(token_ids(work))
        inputs = {"input_ids": ids, "attention_mask": numpy.ones_like(ids)}
        return lambda: session.run(["last_hidden_state"], inputs)[0]

    return prepare
