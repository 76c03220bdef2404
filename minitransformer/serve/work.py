"""A request for one model: its inputs, what became of them so far, and how its chunks are prepared."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from minitransformer.pipelines.base import Pipeline
from minitransformer.pipelines.batching import Chunk
from minitransformer.pipelines.generating import GeneratingPipeline
from minitransformer.pipelines.options import Steps
from minitransformer.serve.checks import to_json
from minitransformer.serve.errors import invalid


@dataclass(eq=False)
class Work:
    """A request for one model, and how far it is.

    Attributes:
        inputs: of the pipeline.
        options: of the pipeline, for all of them.
        pipe: gives the pipeline; called in the model's thread.
        answer: makes the JSON of the results, one for each input.
        finish: makes the result of an input of its outputs; by default the pipeline's own.
        truncation_side: of the tokenizer, for this request.
        seed: of samples.
        max_tokens: of all inputs together.
        deadline: ``time.monotonic()`` at which the work is given up, if it has not begun.
    """

    inputs: Sequence[Any]
    options: dict[str, Any]
    pipe: Callable[[], Pipeline]
    answer: Callable[[list[Any]], Any]
    finish: Callable[[Pipeline, list[Chunk], dict[str, Any]], Any] | None = None
    truncation_side: str | None = None
    seed: int | None = None
    max_tokens: int = 1 << 17
    deadline: float = float("inf")
    arrived: float = field(default_factory=time.monotonic)
    future: Future[Any] = field(default_factory=Future)
    notes: list[str] = field(default_factory=list)
    queued: float = 0.0
    inference: float = 0.0
    batch_size: int = 0
    alone: bool = False
    missing: int = 0
    steps: Steps | None = None
    outputs: list[list[Chunk | None]] = field(default_factory=list)

    @property
    def left(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.cancelled()

    @property
    def done(self) -> bool:
        """Whether there is an answer, or nobody to read it."""
        return self.future.done()

    def fail(self, error: BaseException) -> None:
        """Answer by an error."""
        if not self.future.done():
            self.future.set_exception(error)

    def prepare(self) -> list[Row]:
        """The chunks of all inputs."""
        pipe = self.pipe()
        self.steps = sampling(pipe, pipe.steps(settle_sampling(pipe, self.options, self.notes)), self.seed)
        rows = []
        with cutting(pipe, self.truncation_side):
            for number, item in enumerate(self.inputs):
                chunks = pipe.prepare(item, self.steps.preprocess)
                self.outputs.append([None] * len(chunks))
                rows += [Row(self, pipe, number, place, chunk) for place, chunk in enumerate(chunks)]
        tokens = sum(row.chunk["input_ids"].shape[-1] for row in rows)
        if tokens > self.max_tokens:
            raise invalid(f"the request has {tokens} tokens, and may have {self.max_tokens}: send less at once")
        self.missing = len(rows)
        return rows

    def complete(self, pipe: Pipeline) -> None:
        """All outputs are there: make the answer, unless that fails."""
        assert self.steps is not None
        results = []
        for outputs in self.outputs:
            whole = [output for output in outputs if output is not None]
            finish = self.finish or (lambda pipe, outputs, options: pipe.finish(outputs, options))
            results.append(finish(pipe, whole, self.steps.postprocess))
        content = to_json(self.answer(results))
        if not self.future.done():
            self.future.set_result(content)


class Writer(Protocol):
    """A text that is written token by token, beside other work."""

    deadline: float

    @property
    def left(self) -> bool: ...
    def begin(self) -> None: ...
    def step(self) -> bool: ...
    def fail(self, error: BaseException) -> None: ...


@dataclass(eq=False)
class Row:
    """A chunk of a work, which a batch has as a row."""

    work: Work
    pipe: Pipeline
    number: int  # of the input
    place: int  # of the chunk among its chunks
    chunk: Chunk


def forward_key(work: Work) -> str:
    """Works of one key can run together."""
    assert work.steps is not None
    return json.dumps(work.steps.forward, sort_keys=True, default=lambda value: f"{type(value).__name__} {id(value)}")


def settle_sampling(pipe: Pipeline, options: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """The options without those that say how to sample, where nothing is sampled; a note says so."""
    from minitransformer.generation.config import SAMPLING

    given = [name for name in SAMPLING if options.get(name) is not None]
    if not isinstance(pipe, GeneratingPipeline) or not given:
        return options
    rest = {name: value for name, value in options.items() if name not in SAMPLING}
    if rest.get("do_sample", pipe.generation_config.do_sample):
        return options
    notes.append(f"parameters; without do_sample these have no effect: {', '.join(given)}")
    return rest


def sampling(pipe: Pipeline, steps: Steps, seed: int | None) -> Steps:
    """The steps with random numbers of their own, if they sample: those that ``torch.manual_seed(seed)`` gives."""
    if not isinstance(pipe, GeneratingPipeline) or not pipe.settings(steps.forward).do_sample:
        return steps
    generator = torch.Generator(pipe.device)
    generator.manual_seed(seed if seed is not None else generator.seed() % 2**63)
    return replace(steps, forward={**steps.forward, "generator": generator})


class cutting:  # noqa: N801
    """Within this context a pipeline's tokenizer cuts at this side; None leaves its own."""

    def __init__(self, pipe: Pipeline, side: str | None) -> None:
        self.tokenizer, self.side = pipe.tokenizer, side

    def __enter__(self) -> None:
        self.before = self.tokenizer.truncation_side
        if self.side is not None:
            self.tokenizer.truncation_side = self.side  # type: ignore[assignment]

    def __exit__(self, *exc: object) -> None:
        self.tokenizer.truncation_side = self.before
