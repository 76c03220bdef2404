"""Measuring a model in the course of training: the loss on examples that were held back, and metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from minitransformer.errors import TrainingError, did_you_mean
from minitransformer.training import distributed
from minitransformer.training.batches import Batch, Example, collated, example_length, seed_of, share_or_spare
from minitransformer.training.distributed import Engine
from minitransformer.training.settings import Settings

Metric = Callable[[Any], dict[str, float]]

VALIDATE = 4  # a stream of random numbers
LOWER_IS_BETTER = ("loss", "perplexity", "bits_per_byte")


class Validation:
    """Measures, and tells which of two measurements is better.

    Args:
        objective: as in training.
        examples: held back; none measures no loss.
        metric: measures further things, on process 0.
        settings: of the training.

    Raises:
        TrainingError: the settings want something measured that is not.
    """

    def __init__(self, objective: Any, examples: Sequence[Example], metric: Metric | None, settings: Settings) -> None:
        self.objective, self.examples, self.metric = objective, examples, metric
        self.seed, self.best, self.micro_batches = settings.seed, settings.best, settings.accumulate
        self.measures = bool(examples) or metric is not None
        if settings.patience is not None and not self.measures:
            raise TrainingError("patience needs something to measure: valid_examples or a metric")
        if settings.best == "loss" and self.measures and not examples:
            raise TrainingError("best is 'loss', but there are no valid_examples: set best to a name of the metric")
        self._counts: dict[str, int] = {}
        order = sorted(range(len(examples)), key=lambda i: example_length(examples[i]))
        longest = max((example_length(example) for example in examples), default=1)
        size = settings.batch_size or max(1, (settings.tokens_per_batch or 0) // longest)
        self._batches = [order[i : i + size] for i in range(0, len(order), size)]

    def run(
        self, engine: Engine, to_device: Callable[[Batch], Batch], autocast: AbstractContextManager[Any]
    ) -> dict[str, float]:
        """Measure. All processes have to call it."""
        engine.step.eval()
        values = {"loss": self._loss(engine, to_device, autocast)} if self.examples else {}
        return values | self.metrics(engine)

    def metrics(self, engine: Engine) -> dict[str, float]:
        """What the metric says of the model. All processes have to call it.

        The trainer asks once before the first step, too: a metric that fails shall not do so hours later.

        Raises:
            TrainingError: neither a metric nor the loss has the name that decides which model is the best.
        """
        values: dict[str, float] = {}
        if self.metric is not None:
            engine.step.eval()
            model = engine.whole_model()
            with torch.no_grad():
                found = self.metric(model.eval()) if engine.rank == 0 and model is not None else None
            values = {name: float(value) for name, value in distributed.from_first(found).items()}
        if self.best != "loss" and self.best not in values:
            names = [*(["loss"] if self.examples else []), *values]
            raise TrainingError(
                f"best is {self.best!r}, which nothing measures. Measured: {', '.join(names) or 'nothing'}."
                f"{did_you_mean(self.best, names)}"
            )
        return values

    def score(self, values: dict[str, float]) -> float:
        """The number that decides which model is the best."""
        return values[self.best]

    def is_better(self, values: dict[str, float], best: float | None) -> bool:
        """Whether these values beat the best score so far."""
        score = self.score(values)
        if best is None or math.isnan(best):
            return True
        return score < best if self.best.endswith(LOWER_IS_BETTER) else score > best

    @torch.no_grad()
    def _loss(
        self, engine: Engine, to_device: Callable[[Batch], Batch], autocast: AbstractContextManager[Any]
    ) -> float:
        """The mean over all terms of all batches, each time with the same random choices."""
        counts = self._counts_of_all()
        total = torch.zeros((), dtype=torch.float64, device=next(engine.model.parameters()).device)
        for number in range(len(self._batches)):
            torch.manual_seed(seed_of(self.seed, VALIDATE, number, engine.rank))
            for rows, weight in share_or_spare(self._collated(number), engine.rank, engine.world, self.micro_batches):
                with autocast:
                    total += weight * engine.step(to_device(rows), counts)
        return float(distributed.summed(total))

    def _counts_of_all(self) -> dict[str, int]:
        if not self._counts:
            for number in range(len(self._batches)):
                for name, count in self.objective.counts(self._collated(number)).items():
                    self._counts[name] = self._counts.get(name, 0) + count
        return self._counts

    def _collated(self, number: int) -> Batch:
        return collated(self.examples, self._batches[number], self.objective.collate, self.seed, VALIDATE, number)
