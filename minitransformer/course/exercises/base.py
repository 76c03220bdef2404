"""What an exercise is, and how a part gets into a checkpoint."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.hub import EMBEDDED
from minitransformer.parity.comparison import compare
from minitransformer.parity.findings import Comparison
from minitransformer.parity.recording import record
from minitransformer.parity.traces import Trace, load_model, read_trace, write_trace
from minitransformer.tokenization import AutoTokenizer

Part = Callable[..., Any]


@dataclass(frozen=True)
class Exercise:
    """A part to write.

    Args:
        name: that of the function.
        lesson: number of the lesson.
        run: puts a part to use and gives what comes of it, by name, in the order in which it is computed.
        solution: the part as it should be.
        mistakes: a likely cause -> a part that makes this mistake.
        compare: parity's comparison, for parts that stand in a model.
    """

    name: str
    lesson: int
    run: Callable[[Part], Mapping[str, Any]]
    solution: Part
    mistakes: Mapping[str, Part] = field(default_factory=dict)
    compare: Callable[[Mapping[str, Any]], Comparison] | None = None


@lru_cache(maxsize=4)
def checkpoint(name: str) -> Any:
    """A model of the package in float64."""
    return load_model(EMBEDDED / name)


@lru_cache(maxsize=4)
def tokenizer(name: str) -> Any:
    """Its tokenizer."""
    return AutoTokenizer.from_pretrained(str(EMBEDDED / name))


def ids(name: str, text: str, *, target: bool = False) -> Tensor:
    """A text as the checkpoint reads it, (1, token)."""
    encoded = tokenizer(name)(text_target=[text]) if target else tokenizer(name)([text])
    return torch.tensor(encoded["input_ids"])


@dataclass(frozen=True)
class InModel:
    """A place for a part in a checkpoint.

    Args:
        name: the checkpoint.
        inputs: makes what it is called with.
        place: puts a part into a copy of the model.
    """

    name: str
    inputs: Callable[[], Mapping[str, Tensor]]
    place: Callable[[nn.Module, Part], None]

    def run(self, part: Part) -> dict[str, Tensor]:
        """All that passes the taps of the model with the part in its place."""
        model = copy.deepcopy(checkpoint(self.name))
        self.place(model, part)
        found: dict[str, Tensor] = {}

        def keep(name: str, x: Tensor) -> None:
            found[name] = x.detach().clone()

        with torch.no_grad():
            recording = record(model, self.inputs(), keep)
        return {name: found[name] for name in recording.order}

    def compare(self, theirs: Mapping[str, Any]) -> Comparison:
        """Parity's comparison with the checkpoint as it is."""
        return compare(traced(self), dict(theirs), checkpoint(self.name), names={name: name for name in theirs})


@lru_cache(maxsize=8)
def traced(place: InModel) -> Trace:
    """The trace of the checkpoint as it is."""
    with tempfile.TemporaryDirectory() as folder:
        write_trace(checkpoint(place.name), place.inputs(), folder)
        trace = read_trace(folder)
        trace.tensors = {name: trace.tensors[name].clone() for name in trace.tensors}
    return trace
