"""Answering a file with several processes: torchrun starts them, each takes its share, process 0 merges in order.

Inputs are dealt out in blocks of a batch, so that each batch holds what it would hold with a single process, and the
answers are the same. They come together round by round, so that no process ever holds all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch.distributed as dist

from minitransformer.errors import MinitransformerError, PipelineError
from minitransformer.pipelines.base import Pipeline
from minitransformer.training.distributed import from_first, process_group, rank, world_size

ROUND = 256
"""Inputs that a process answers between two meetings, at least."""


def answer_together(
    pipe: Pipeline,
    inputs: Iterable[Any],
    batch_size: int,
    encode: Callable[[Any], str],
    emit: Callable[[str], None],
) -> None:
    """Answer all inputs; process 0 hands the answers to ``emit``, in order. All processes have to call it.

    Args:
        pipe: every process has its own.
        inputs: all of them, in every process.
        batch_size: of the pipeline; also the size of the blocks that are dealt out.
        encode: turns an answer into what is sent to process 0.
        emit: receives it there.

    Raises:
        PipelineError: a process met an input that cannot be answered. All processes raise it, after what comes before
            that process's share of the round was handed out.
    """
    with process_group(pipe.device):
        blocks = _blocks(iter(inputs), batch_size)
        blocks_in_round = -(-ROUND // batch_size) * world_size()
        while dealt := list(islice(blocks, blocks_in_round)):
            mine = [item for block in dealt[rank() :: world_size()] for item in block]
            failure = _meet(*_answer(pipe, mine, encode), [len(block) for block in dealt], emit)
            if failure is not None:
                raise PipelineError(failure)


def _blocks(inputs: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while block := list(islice(inputs, size)):
        yield block


def _answer(pipe: Pipeline, inputs: list[Any], encode: Callable[[Any], str]) -> tuple[list[str], str | None]:
    """The answers, and what went wrong, if anything did."""
    lines: list[str] = []
    try:
        for answer in pipe(item for item in inputs):  # one by one: what comes before a failure counts
            lines.append(encode(answer))
    except MinitransformerError as error:
        return lines, f"process {rank()}, in its share of the inputs: {error}"
    return lines, None


def _meet(lines: list[str], failure: str | None, sizes: list[int], emit: Callable[[str], None]) -> str | None:
    """Bring a round's answers together; gives the first failure of any process, to all of them."""
    shares: list[Any] = [None] * world_size()
    dist.gather_object((lines, failure), shares if rank() == 0 else None, dst=0)
    first = None
    if rank() == 0:
        first = next((said for _, said in shares if said is not None), None)
        answers = [iter(share) for share, _ in shares]
        for number, size in enumerate(sizes):
            share = list(islice(answers[number % world_size()], size))
            for line in share:
                emit(line)
            if len(share) < size:
                break
    found: str | None = from_first(first)
    return found
