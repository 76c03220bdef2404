"""Which examples make up which batch: a function of the seed alone, the same for any number of processes.

The examples are an endless stream: one shuffled epoch after another. Windows of the stream are sorted by length and cut
into batches, so that little is padding; the batches of a window are shuffled again. An epoch's end needs no short
batch: the next epoch fills it up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitransformer.errors import TrainingError
from minitransformer.training.settings import Settings

Example = Mapping[str, Any]
Batch = dict[str, Tensor]

WINDOW = 64  # batches that are sorted together
EIGHT = 8  # batches by tokens come in multiples of so many examples, so that 2, 4 or 8 processes can share each


def seed_of(*numbers: int) -> int:
    """One well-mixed seed from several numbers (the run's seed, the step, the process)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def example_length(example: Example) -> int:
    """Length of the example's longer side, in tokens."""
    sides = (example[name] for name in ("input_ids", "labels") if name in example)
    return max((len(ids) for ids in sides if isinstance(ids, list | tuple)), default=1)


class Plan:
    """The batches of a run.

    Args:
        lengths: length of each example.
        settings: batch size, epochs or steps, seed.
        shares: into how many equal parts each batch is going to be split (processes x micro-batches).

    Raises:
        TrainingError: there are no examples, a batch cannot be split that way, or too few tokens are allowed.
    """

    def __init__(self, lengths: Sequence[int], settings: Settings, shares: int = 1) -> None:
        if not lengths:
            raise TrainingError("there is nothing to train on: the list of examples is empty")
        self.lengths = np.asarray(lengths)
        self.seed = settings.seed
        self.tokens = settings.tokens_per_batch
        self.unit = settings.batch_size or EIGHT
        if self.unit % shares:
            what = f"batch_size {self.unit}" if settings.batch_size else f"a batch of {EIGHT}, 16, 24, ... examples"
            raise TrainingError(
                f"{what} cannot be split evenly over {shares} (processes x accumulate); take numbers that divide it"
            )
        longest = int(self.lengths.max())
        if self.tokens is not None and self.tokens < self.unit * longest:
            raise TrainingError(
                f"tokens_per_batch is {self.tokens}, but {EIGHT} examples (the fewest in a batch) of {longest} tokens "
                f"(the longest) are {self.unit * longest}: allow as many, or cut the examples"
            )
        in_window = max(1, len(lengths) // self.unit)  # an epoch
        self.units_in_window = min(in_window, WINDOW * (1 if self.tokens is None else self.tokens // (EIGHT * longest)))
        self.steps = settings.steps if settings.steps is not None else self._steps_in(settings.epochs or 0.0)

    def batches(self, start: int = 0) -> Iterator[list[int]]:
        """Indices of the examples of each step from ``start`` on; endless."""
        return islice(chain.from_iterable(self._window(i) for i in self._windows()), start, None)

    def _windows(self) -> Iterator[tuple[int, list[int]]]:
        stream = chain.from_iterable(self._epoch(epoch) for epoch in count())
        size = self.unit * self.units_in_window
        for number in count():
            yield number, list(islice(stream, size))

    def _epoch(self, epoch: int) -> list[int]:
        order = np.random.default_rng(seed_of(self.seed, 0, epoch)).permutation(len(self.lengths))
        return order.tolist()

    def _window(self, window: tuple[int, list[int]]) -> list[list[int]]:
        number, members = window
        members = sorted(members, key=self.lengths.__getitem__)  # stable: equal lengths stay shuffled
        units = [members[i : i + self.unit] for i in range(0, len(members), self.unit)]
        batches = units if self.tokens is None else self._joined(units, self.tokens)
        order = np.random.default_rng(seed_of(self.seed, 1, number)).permutation(len(batches))
        return [batches[i] for i in order]

    def _joined(self, units: list[list[int]], tokens: int) -> list[list[int]]:
        batches: list[list[int]] = []
        for unit in units:  # shortest first, so the last of a unit is the longest so far
            longest = int(self.lengths[unit[-1]])
            if batches and (len(batches[-1]) + len(unit)) * longest <= tokens:
                batches[-1] = batches[-1] + unit
            else:
                batches.append(unit)
        return batches

    def _steps_in(self, epochs: float) -> int:
        wanted = epochs * len(self.lengths)
        if self.tokens is None:
            return max(1, int(np.ceil(wanted / self.unit)))
        seen = 0
        for step, batch in enumerate(self.batches()):
            seen += len(batch)
            if seen >= wanted:
                return step + 1
        raise AssertionError("the batches are endless")


def share(batch: Batch, rank: int, world: int, micro_batches: int) -> list[Batch]:
    """The rows of a batch that one process works on, in micro-batches: every ``world``-th row."""
    parts = world * micro_batches
    return [{name: x[rank + world * i :: parts] for name, x in batch.items()} for i in range(micro_batches)]


def share_or_spare(batch: Batch, rank: int, world: int, micro_batches: int) -> list[tuple[Batch, float]]:
    """The same for a batch that cannot be split evenly. Each micro-batch comes with what it counts, usually 1.

    Where there are too few rows for all, a micro-batch is a row of another one and counts 0: engines that share
    parameters out need all processes in every forward pass.
    """
    rows = len(next(iter(batch.values())))
    parts = share(batch, rank, world, micro_batches)
    spare = {name: x[:1] for name, x in batch.items()}
    return [(part, 1.0) if rank + world * i < rows else (spare, 0.0) for i, part in enumerate(parts)]


def collated(
    examples: Sequence[Example],
    indices: Sequence[int],
    collate: Callable[[Sequence[Any], torch.Generator], Batch],
    *seeds: int,
) -> Batch:
    """Examples as tensors; what is drawn on the way (which words to hide) depends on the seeds alone."""
    generator = torch.Generator().manual_seed(seed_of(*seeds))
    return collate([examples[i] for i in indices], generator)
