"""The training loop.

A run is a function of its settings: batches, dropout and learning rate of a step follow from the seed and the step's
number alone. So a run that was killed goes on bit for bit as if nothing had happened, with nothing to remember but
the weights and the optimizer's averages.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal, Protocol
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_

from minitransformer.errors import TrainingError
from minitransformer.models.common.base import PretrainedModel
from minitransformer.models.common.parts import check_savable
from minitransformer.models.common.recomputing import blocks_of, recomputed
from minitransformer.training import distributed
from minitransformer.training.alone import alone
from minitransformer.training.batches import Batch, Example, Plan, collated, example_length, seed_of, share
from minitransformer.training.checkpoints import (
    STATE,
    Checkpoints,
    check_identity,
    load,
    read_state,
    save_model,
    training_tensors,
)
from minitransformer.training.distributed import Engine
from minitransformer.training.logs import History, Log, Row
from minitransformer.training.optimizer import gradient_norm, learning_rate, make_optimizer
from minitransformer.training.settings import Settings
from minitransformer.training.validation import Metric, Validation

COLLATE, DROPOUT = 2, 3  # streams of random numbers; see batches.py for the others


class Objective(Protocol):
    """What the trainer needs of an objective; see ``training.objectives``."""

    def collate(self, examples: Sequence[Any], generator: torch.Generator) -> Batch: ...

    def counts(self, batch: Batch) -> dict[str, int]: ...

    def loss(self, model: Any, batch: Batch, counts: Mapping[str, int]) -> Tensor: ...


class Savable(Protocol):
    """A tokenizer."""

    def save_pretrained(self, folder: Any) -> Any: ...


class Trainer:
    """Trains a model for an objective, and keeps what comes out in a folder.

    ``folder/checkpoints`` is to resume from: starting again in the same folder goes on by itself. ``folder/best`` and
    ``folder/final`` are models in the Hub's format. ``folder/log.csv``, ``curve.png`` and ``tensorboard/`` tell how it
    went. Under torchrun the same call trains on all processes together.

    Args:
        model: what to train, changed in place; with ``save_pretrained``. Where processes share it out (``parallel`` is
            "fsdp"), each is left with its shares, and ``folder/final`` has it whole.
        objective: turns examples into batches and batches into a loss.
        examples: to learn from; their order does not matter.
        settings: how.
        folder: for the results.
        valid_examples: to measure the loss on, which the log calls ``valid_loss``.
        metric: measures further things about a model in evaluation mode, on process 0.
        save_with: a tokenizer that belongs into the folders of models.
        identity: what this run is (config, recipe, data), as JSON; resuming compares it.
        device: by default the accelerator of this process, or the CPU.
        plan: which examples make up which batch; by default like lengths together, as ``settings`` say.

    Raises:
        TrainingError: settings and data do not fit together.
        RegistrationError: the model was changed in a way that its files could not say.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        examples: Sequence[Example],
        settings: Settings,
        folder: str | Path,
        *,
        valid_examples: Sequence[Example] | None = None,
        metric: Metric | None = None,
        save_with: Savable | None = None,
        identity: Mapping[str, Any] | None = None,
        device: torch.device | str | None = None,
        plan: Plan | None = None,
    ) -> None:
        if not hasattr(model, "save_pretrained"):
            raise TrainingError(f"{type(model).__name__} has no save_pretrained, so it could not be kept")
        if isinstance(model, PretrainedModel):
            check_savable(model)  # before the first step, not after the last
        self.model, self.objective, self.examples, self.settings = model, objective, examples, settings
        self.folder, self.save_with = Path(folder), save_with
        self.device = distributed.own_device() if device is None else torch.device(device)
        shares = distributed.world_size() * settings.accumulate
        self.plan = plan or Plan([example_length(example) for example in examples], settings, shares)
        self.steps = self.plan.steps
        self.evaluate_every = settings.evaluate_every or math.ceil(self.steps / 10)
        self.save_every = settings.save_every or math.ceil(self.steps / 10)
        self.validation = Validation(objective, valid_examples or (), metric, settings)
        self.checkpoints = Checkpoints(self.folder / "checkpoints", settings.keep)
        lengths = crc32(self.plan.lengths.astype(np.int64).tobytes())
        known = {
            **(identity or {}),
            "settings": settings.identity(),
            "examples": {"number": len(examples), "lengths": f"{lengths:08x}"},
            "parameters": {name: list(parameter.shape) for name, parameter in model.named_parameters()},
        }
        self.identity: dict[str, Any] = json.loads(json.dumps(known, default=str))  # as it comes back from a file

    def train(self) -> History:
        """Train, or go on training; give the history of the whole run.

        Raises:
            TrainingError: the loss is no number any more, the folder holds another run, or the disk is full.
        """
        with ExitStack() as stack:
            stack.enter_context(distributed.process_group(self.device))
            stack.enter_context(alone(self.folder))
            engine, optimizer = self._set_up(stack)
            history = self._resume(engine, optimizer)
            if history.is_complete():
                if distributed.from_first(not (self.folder / "final" / "config.json").is_file()):
                    self._save_model(engine, "final")  # somebody has removed it
                return history
            if history.step == 0:
                self.validation.metrics(engine)
            log = stack.enter_context(Log(self.folder, history, self.steps, speaks=engine.rank == 0))
            clock = Clock(history.seconds, self.settings.minutes)
            for indices in self.plan.batches(start=history.step):
                loss, norm = self._step(engine, optimizer, history.step, indices, clock)
                history.count(loss, indices, int(self.plan.lengths[indices].sum()), clock.seconds())
                evaluates = self._is_due(self.evaluate_every, history) and self.validation.measures
                if evaluates or self._is_due(self.settings.log_every, history):
                    row = history.row(len(self.examples)) | {
                        "learning_rate": optimizer.param_groups[0]["lr"],
                        "gradient_norm": norm,
                    }
                    log.write(row | (self._evaluate(engine, history) if evaluates else {}))
                log.tick()
                history.stopped = self._reason_to_stop(history, clock)
                if history.is_complete():
                    self._save_model(engine, "final")
                if history.stopped or self._is_due(self.save_every, history):
                    self._save(engine, optimizer, history)
                if history.stopped:
                    break
            log.draw()
        return history

    def _step(
        self, engine: Engine, optimizer: torch.optim.Optimizer, step: int, indices: list[int], clock: Clock
    ) -> tuple[float, float]:
        """One step: the gradient of the whole batch, then the weights. Gives the loss and the gradient's norm."""
        settings = self.settings
        batch = collated(self.examples, indices, self.objective.collate, settings.seed, COLLATE, step)
        counts = self.objective.counts(batch)  # of the whole batch, so that the shares of the loss add up to its mean
        rate = self.rate(step)
        torch.manual_seed(seed_of(settings.seed, DROPOUT, step, engine.rank))
        engine.step.train()

        losses = []
        micro_batches = [rows for rows in share(batch, engine.rank, engine.world, settings.accumulate) if _any(rows)]
        for i, rows in enumerate(micro_batches):
            last = i == len(micro_batches) - 1
            losses.append(engine.backward(self._to_device(rows), counts, self._autocast(), exchange=last))
        loss, clock.is_over = distributed.agreed(torch.stack(losses).sum(), clock.should_stop())
        norm = gradient_norm(engine.model)
        if not math.isfinite(loss) or not math.isfinite(float(norm)):
            raise self._not_a_number(loss, float(norm), step, indices, rate)

        if settings.clip is not None and norm > settings.clip:
            clip_grads_with_norm_(engine.model.parameters(), settings.clip, norm)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss, float(norm)

    def _set_up(self, stack: ExitStack) -> tuple[Engine, torch.optim.Optimizer]:
        self.model.to(self.device, torch.float64 if self.settings.precision == "float64" else torch.float32)
        self.model.zero_grad(set_to_none=True)
        engine = Engine(self.model, self.objective, self.device, self.settings.parallel, probe=self._probe)
        if self.settings.gradient_checkpointing:
            stack.enter_context(recomputed(blocks_of(self.model)))
        stack.callback(self.model.eval)
        return engine, self.make_optimizer()

    def make_optimizer(self) -> torch.optim.Optimizer:
        """A new optimizer, its state made."""
        return make_optimizer(self.model.named_parameters(), self.settings)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return learning_rate(step, self.steps, self.settings)

    def _probe(self, step: nn.Module) -> None:
        """Send one example there and back, for an engine that wants to know which parameters get a gradient."""
        batch = collated(self.examples, [0], self.objective.collate, self.settings.seed, COLLATE)
        step(self._to_device(batch), self.objective.counts(batch)).backward()

    def _resume(self, engine: Engine, optimizer: torch.optim.Optimizer) -> History:
        self.checkpoints.clean()
        tensors = training_tensors(engine.model, optimizer)
        path = self.checkpoints.latest()
        if path is None:
            self.checkpoints.check_room(tensors)
            return History()
        state = read_state(path)
        history = History.from_dict(state.get("history"), str(path / STATE))
        check_identity(path, state.get("identity") or {}, self.identity)
        load(path, tensors)
        if not history.is_complete():
            history.stopped = None
        return history

    def _save(self, engine: Engine, optimizer: torch.optim.Optimizer, history: History) -> None:
        state = {"identity": self.identity, "history": history.to_dict()}
        self.checkpoints.save(history.step, training_tensors(engine.model, optimizer), state)

    def _save_model(self, engine: Engine, name: str) -> None:
        model = engine.whole_model()
        if model is not None and engine.rank == 0:
            save_model(model, self.folder / name, self.save_with)

    def _evaluate(self, engine: Engine, history: History) -> Row:
        values = self.validation.run(engine, self._to_device, self._autocast())
        if self.validation.is_better(values, history.best):
            history.best, history.best_step, history.worse_evaluations = self.validation.score(values), history.step, 0
            self._save_model(engine, "best")
        else:
            history.worse_evaluations += 1
        return {("valid_loss" if name == "loss" else name): value for name, value in values.items()}

    def _is_due(self, every: int, history: History) -> bool:
        return history.step % every == 0 or history.step == self.steps

    def _reason_to_stop(self, history: History, clock: Clock) -> Literal["finished", "patience", "minutes"] | None:
        if history.step >= self.steps:
            return "finished"
        if self.settings.patience is not None and history.worse_evaluations >= self.settings.patience:
            return "patience"
        return "minutes" if clock.is_over else None

    def _to_device(self, batch: Batch) -> Batch:
        return {name: x.to(self.device, non_blocking=True) for name, x in batch.items()}

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.settings.precision != "bfloat16":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _not_a_number(self, loss: float, norm: float, step: int, indices: list[int], rate: float) -> TrainingError:
        latest = self.checkpoints.latest()
        kept = f"The last good checkpoint is {latest}." if latest else "There is no checkpoint yet."
        shown = ", ".join(str(i) for i in indices[:20]) + (", ..." if len(indices) > 20 else "")
        return TrainingError(
            f"step {step + 1}: the loss is {loss} and the gradient's norm is {norm}, at learning rate {rate:.3g}. "
            f"Stopped before the weights changed. {kept} The batch held the examples {shown} (counted from 0). "
            "Try a lower learning_rate, a longer warmup, or look at these examples."
        )


def _any(rows: Batch) -> bool:
    return len(next(iter(rows.values()))) > 0


class Clock:
    """Time spent by the run, earlier starts included, and the end of what this start may take."""

    def __init__(self, before: float, minutes: float | None) -> None:
        self.started = time.perf_counter()
        self.before = before
        self.limit = math.inf if minutes is None else 60 * minutes
        self.is_over = False
        """Whether all processes have agreed to stop."""

    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started

    def should_stop(self) -> bool:
        return time.perf_counter() - self.started > self.limit
