"""Ports to compare: all operations computed again in a lower type, one of them perhaps in another way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from minitransformer.models.common.base import PretrainedModel
from minitransformer.parity.evaluation import Change
from minitransformer.parity.kinds import compute
from minitransformer.parity.noise import lowered
from minitransformer.parity.operations import model_tensors
from minitransformer.parity.traces import Trace, read_trace, write_trace


def traced(model: PretrainedModel, inputs: Mapping[str, Tensor], folder: Path) -> Trace:
    """A model's trace, read again."""
    write_trace(model, inputs, folder)
    return read_trace(folder)


def port(
    trace: Trace,
    model: PretrainedModel,
    dtype: torch.dtype = torch.float32,
    fault: tuple[str, Change] | None = None,
) -> dict[str, Tensor]:
    """Everything that a port computes.

    Args:
        trace: of the model.
        model: whose parameters are used.
        dtype: of all numbers.
        fault: an operation, and how it is computed instead.
    """
    parameters = {name: lowered(x, dtype) for name, x in model_tensors(model).items()}
    done: dict[str, Tensor] = {name: lowered(trace.tensors[name], dtype) for name in trace.manifest["given"]}
    for operation in trace.operations:
        roles = operation.roles(done, parameters)
        if fault is not None and operation.name == fault[0]:
            done[operation.name] = fault[1](roles, dict(operation.constants)).to(dtype)
        else:
            done[operation.name] = compute(operation.kind, roles, operation.constants)
    return {operation.name: done[operation.name] for operation in trace.operations}
