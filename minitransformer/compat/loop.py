"""The library's own training step and checkpoints, run as transformers' ``Trainer`` counts: by epochs and events.

What a step computes, how a run resumes bit for bit and how checkpoints reach the disk is `training/`'s; which examples
make up a batch (the last one of an epoch may be short), when something is logged, measured or saved, and what a
checkpoint's folder holds beside is decided here. A checkpoint is a folder ``checkpoint-500`` with the model, its
tokenizer, trainer_state.json, and what training goes on with.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitransformer.compat.callbacks import TrainerState
from minitransformer.compat.predicting import TrainOutput
from minitransformer.compat.schedules import get_scheduler
from minitransformer.errors import ArgumentError, TrainingError
from minitransformer.training import distributed
from minitransformer.training.batches import Batch, Plan, seed_of
from minitransformer.training.checkpoints import Checkpoints, check_identity, load, read_state, training_tensors
from minitransformer.training.distributed import Engine
from minitransformer.training.logs import History
from minitransformer.training.settings import Settings
from minitransformer.training.trainer import Clock
from minitransformer.training.trainer import Trainer as OwnTrainer

IGNORED = -100
STATE_FILE = "trainer_state.json"


class EpochPlan(Plan):
    """Batches of ``batch_size`` examples; an epoch's last batch may be short.

    Args:
        number: of examples.
        batch_size: examples of a step, over all processes.
        epochs: ways through them.
        steps: instead of epochs.
        seed: of the order.
        drop_last: leave a short batch out.
        lengths: of the examples, to put like ones together.
        world: processes; a short batch is filled up to a multiple with the epoch's first examples.
    """

    def __init__(
        self,
        number: int,
        batch_size: int,
        *,
        epochs: float,
        steps: int | None,
        seed: int,
        drop_last: bool = False,
        lengths: Sequence[int] | None = None,
        world: int = 1,
    ) -> None:
        if number == 0:
            raise TrainingError("there is nothing to train on: train_dataset is empty")
        self.lengths = np.ones(number, dtype=np.int64) if lengths is None else np.asarray(lengths)
        self.sorted = lengths is not None
        self.size, self.seed, self.drop_last, self.world = batch_size, seed, drop_last, world
        self.in_epoch = number // batch_size if drop_last else math.ceil(number / batch_size)
        if self.in_epoch == 0:
            raise TrainingError(f"{number} examples make no whole batch of {batch_size}: dataloader_drop_last=False")
        self.steps = steps if steps is not None else math.ceil(epochs * self.in_epoch)

    def batches(self, start: int = 0) -> Iterator[list[int]]:
        """Indices of the examples of each step from ``start`` on; endless."""
        for epoch in count(start // self.in_epoch):
            skip = max(0, start - epoch * self.in_epoch)
            yield from self._of_epoch(epoch)[skip:]

    def _of_epoch(self, epoch: int) -> list[list[int]]:
        draw = np.random.default_rng(seed_of(self.seed, 0, epoch))
        order = draw.permutation(len(self.lengths)).tolist()
        if self.sorted:
            window = 50 * self.size  # as the reference's group_by_length
            order = [
                i
                for j in range(0, len(order), window)
                for i in sorted(order[j : j + window], key=lambda i: -int(self.lengths[i]))
            ]
        batches = [order[i : i + self.size] for i in range(0, len(order), self.size)][: self.in_epoch]
        while len(batches[-1]) % self.world:
            batches[-1] = batches[-1] + order[: self.world - len(batches[-1]) % self.world]
        return batches


class Folders(Checkpoints):
    """Checkpoints under transformers' names; the best one stays."""

    STEM, DIGITS = "checkpoint-", 1

    def __init__(self, folder: Path, keep: int | None, state: TrainerState) -> None:
        super().__init__(folder, keep or 10**9)
        self.state = state

    def too_many(self) -> list[Path]:
        """Those that shall not stay."""
        best = self.state.best_model_checkpoint
        found = self.finished()
        if best is None or self.folder / Path(best).name == found[-1]:
            return found[: -self.keep]
        others = [path for path in found if path.name != Path(best).name]
        return others[: -max(1, self.keep - 1)]


class Words:
    """The objective: batches are the collator's, the loss is the model's own.

    A micro-batch counts by its labels, so that any division of a batch gives the gradient of the whole.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def collate(self, examples: Sequence[Any], generator: torch.Generator) -> Batch:
        """The collator's batch; what it draws depends on the generator's seed alone."""
        before = random.getstate(), np.random.get_state()
        with torch.random.fork_rng(devices=[]):
            seed = generator.initial_seed()
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            try:
                batch: Batch = self.trainer.make_batch(examples)
                return batch
            finally:
                random.setstate(before[0])
                np.random.set_state(before[1])

    def counts(self, batch: Batch) -> dict[str, int]:
        """Labels that count; examples, where there are no labels for each token."""
        labels = batch.get("labels")
        if labels is None or labels.ndim != 2 or labels.is_floating_point():
            return {"labels": len(next(iter(batch.values())))}
        shifted = labels[:, 1:] if getattr(self.trainer.model, "HEAD", None) == "ForCausalLM" else labels
        return {"labels": int((shifted != IGNORED).sum())}

    def loss(self, model: Any, batch: Batch, counts: Mapping[str, int]) -> Tensor:
        """This micro-batch's share of the loss."""
        own, whole = self.counts(batch)["labels"], counts["labels"]
        loss: Tensor = self.trainer.loss_of(model, batch, whole)
        return loss if own == whole else loss * (own / max(whole, 1))


class Loop(OwnTrainer):
    """One call of ``Trainer.train``."""

    def __init__(self, trainer: Any) -> None:
        self.hf, args = trainer, trainer.args
        examples = trainer.train_dataset
        if not hasattr(examples, "__len__"):
            raise TrainingError("train_dataset has no length: a resumable order needs a data set that can be indexed")
        world = distributed.world_size()
        size = args.per_device_train_batch_size * args.gradient_accumulation_steps * world
        plan = EpochPlan(
            len(examples),
            size,
            epochs=args.num_train_epochs,
            steps=args.max_steps if args.max_steps > 0 else None,
            seed=args.seed if args.data_seed is None else args.data_seed,
            drop_last=args.dataloader_drop_last,
            lengths=[len(row["input_ids"]) for row in examples] if args.group_by_length else None,
            world=world,
        )
        if plan.steps < 1:
            raise TrainingError("num_train_epochs=0 trains nothing: more epochs, or max_steps")
        settings = Settings(
            steps=plan.steps,
            batch_size=size,
            accumulate=args.gradient_accumulation_steps,
            weight_decay=float(args.weight_decay),
            betas=(float(args.adam_beta1), float(args.adam_beta2)),
            epsilon=float(args.adam_epsilon),
            clip=float(args.max_grad_norm) or None,
            precision="bfloat16" if args.bf16 or args.fp16 else "float32",
            gradient_checkpointing=args.gradient_checkpointing,
            seed=args.seed,
        )
        super().__init__(
            trainer.model, Words(trainer), examples, settings, args.output_dir, device=args.device, plan=plan
        )
        self.identity = {"examples": len(examples), "parameters": self.identity["parameters"]}
        self.checkpoints = Folders(self.folder, args.save_total_limit, trainer.state)
        self.epochs = plan.in_epoch
        self.factor: Any = None

    def run(self, resume: Path | None) -> TrainOutput:
        """Train from the beginning, or from a checkpoint."""
        hf, args, state, control = self.hf, self.hf.args, self.hf.state, self.hf.control
        with ExitStack() as stack:
            stack.enter_context(distributed.process_group(self.device))
            engine, optimizer = self._set_up(stack)
            history = self._begin(engine, optimizer, resume)
            state.max_steps, state.num_train_epochs = self.steps, math.ceil(self.steps / self.epochs)
            state.train_batch_size = args.per_device_train_batch_size
            for name in ("logging_steps", "eval_steps", "save_steps"):
                setattr(state, name, args.every(name, self.steps))
            hf.call("train_begin")
            clock, began, first, seen = (
                Clock(history.seconds, None),
                time.perf_counter(),
                history.step,
                history.examples,
            )
            if args.eval_on_start and first == 0:
                self._measure(history)
            total, since = 0.0, list[float]()
            for indices in self.plan.batches(start=first):
                if history.step >= self.steps or control.should_training_stop:
                    break
                if history.step % self.epochs == 0 or history.step == first:
                    state.epoch = history.step / self.epochs
                    hf.call("epoch_begin")
                hf.call("step_begin")
                loss, norm = self._step(engine, optimizer, history.step, indices, clock)
                rate = optimizer.param_groups[0]["lr"]
                history.count(loss, indices, len(indices), clock.seconds())
                total += loss
                since.append(loss)
                state.global_step, state.epoch = history.step, history.step / self.epochs
                self._events(at_end=False)
                hf.call("step_end")
                ends_epoch = history.step % self.epochs == 0 or history.step == self.steps
                if ends_epoch:
                    hf.call("epoch_end")
                    self._events(at_end=True)
                if control.should_log and len(since):
                    logs = {"loss": round(sum(since) / len(since), 4), "grad_norm": norm, "learning_rate": rate}
                    hf.log(logs)
                    since = []
                control.should_log = False
                better = self._measure(history) if control.should_evaluate else False
                if control.should_save or (better and args.save_strategy == "best"):
                    self._keep(engine, optimizer, history)
                control.should_evaluate = control.should_save = False
            seconds = time.perf_counter() - began
            done = max(1, history.step - first)
            metrics = {
                "train_runtime": round(seconds, 4),
                "train_samples_per_second": round((history.examples - seen) / seconds, 3),
                "train_steps_per_second": round(done / seconds, 3),
                "total_flos": state.total_flos,
                "train_loss": total / done,
            }
            hf.log(metrics)
            metrics["epoch"] = state.epoch
            if args.load_best_model_at_end and state.best_model_checkpoint is not None:
                hf.load_weights(Path(state.best_model_checkpoint))
            hf.call("train_end")
        return TrainOutput(state.global_step, total / done, metrics)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0, as the schedule of transformers says."""
        if self.hf.lr_scheduler_given is not None:
            return float(self.hf.lr_scheduler_given.get_last_lr()[0])
        if self.factor is None:
            args = self.hf.args
            probe = torch.optim.SGD([torch.zeros(1)], lr=float(args.learning_rate))
            warmup = args.get_warmup_steps(self.steps)
            schedule: Any = get_scheduler(args.lr_scheduler_type, probe, warmup, self.steps, args.lr_scheduler_kwargs)
            self.factor = schedule.lr_lambdas[0]
        return float(self.hf.args.learning_rate) * float(self.factor(step))

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The caller's, or a new one."""
        made = self.hf.create_optimizer()
        return super().make_optimizer() if made is None else made

    def _step(self, engine: Engine, optimizer: Any, step: int, indices: list[int], clock: Any) -> tuple[float, float]:
        found = super()._step(engine, optimizer, step, indices, clock)
        if self.hf.lr_scheduler_given is not None:
            self.hf.lr_scheduler_given.step()
        return found

    def _begin(self, engine: Engine, optimizer: torch.optim.Optimizer, resume: Path | None) -> History:
        tensors = training_tensors(engine.model, optimizer)
        if resume is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.checkpoints.clean()
            return History()
        state = read_state(resume)
        check_identity(resume, state.get("identity") or {}, self.identity)
        load(resume, tensors)
        history = History.from_dict(state.get("history"), str(resume))
        kept = TrainerState.load_from_json(resume / STATE_FILE)
        for name, value in vars(kept).items():
            setattr(self.hf.state, name, value)
        if self.hf.lr_scheduler_given is not None:
            for _ in range(history.step):
                self.hf.lr_scheduler_given.step()
        history.stopped = None
        return history

    def _events(self, *, at_end: bool) -> None:
        """What the strategies ask for after a step, or at an epoch's end."""
        args, state, control = self.hf.args, self.hf.state, self.hf.control
        for what, field in (("log", "logging"), ("evaluate", "eval"), ("save", "save")):
            strategy = getattr(args, f"{field}_strategy")
            due = strategy == "epoch" if at_end else strategy == "steps" and state.global_step % self._every(field) == 0
            if field == "logging" and not at_end and args.logging_first_step and state.global_step == 1:
                due = True
            if field == "eval" and args.eval_delay > (state.epoch if strategy == "epoch" else state.global_step):
                due = False
            if field == "save" and not at_end and strategy == "steps" and state.global_step == self.steps:
                due = True
            if due:
                setattr(control, f"should_{what}", True)

    def _every(self, field: str) -> int:
        return int(getattr(self.hf.state, f"{field}_steps"))

    def _measure(self, history: History) -> bool:
        """Evaluate; tell whether nothing before was as good."""
        args, state = self.hf.args, self.hf.state
        metrics = self.hf.evaluate()
        if args.metric_for_best_model is None:
            return False
        name = args.metric_for_best_model
        name = name if name.startswith("eval_") else f"eval_{name}"
        if name not in metrics:
            raise ArgumentError(
                f"metric_for_best_model is {name!r}, which nothing measures; there is {', '.join(metrics)}"
            )
        value, best = float(metrics[name]), state.best_metric
        if best is not None and not (value > best if args.greater_is_better else value < best):
            return False
        state.best_metric, state.best_global_step = value, history.step
        return True

    def _keep(self, engine: Engine, optimizer: torch.optim.Optimizer, history: History) -> None:
        hf = self.hf
        folder = self.folder / f"{Folders.STEM}{history.step}"
        if hf.state.best_global_step == history.step:
            hf.state.best_model_checkpoint = str(folder)

        def beside(part: Path) -> None:
            hf.write_model(part, engine.whole_model())
            hf.state.save_to_json(part / STATE_FILE)

        tensors = {} if hf.args.save_only_model else training_tensors(engine.model, optimizer)
        self.checkpoints.save(history.step, tensors, {"identity": self.identity, "history": history.to_dict()}, beside)
        hf.call("save")
