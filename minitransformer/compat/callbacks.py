"""What a training tells while it runs: its state, what it will do next, and whom it calls.

Reference: transformers 4.57 ``trainer_callback.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from minitransformer.errors import ArgumentError, TrainingError
from minitransformer.files import write_whole
from minitransformer.jsons import read_json

EVENTS = (
    "init_end train_begin train_end epoch_begin epoch_end step_begin pre_optimizer_step optimizer_step substep_end "
    "step_end evaluate predict save log prediction_step"
).split()


@dataclass
class TrainerState:
    """Where a training stands; trainer_state.json in each checkpoint."""

    epoch: float | None = None
    global_step: int = 0
    max_steps: int = 0
    logging_steps: int = 500
    eval_steps: int = 500
    save_steps: int = 500
    train_batch_size: int | None = None
    num_train_epochs: int = 0
    num_input_tokens_seen: int = 0
    total_flos: float = 0
    log_history: list[dict[str, float]] = field(default_factory=list)
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True
    is_hyper_param_search: bool = False
    trial_name: str | None = None
    trial_params: dict[str, Any] | None = None
    stateful_callbacks: dict[str, Any] = field(default_factory=dict)

    def save_to_json(self, json_path: str | Path) -> None:
        """Write it whole or not at all."""
        write_whole(Path(json_path), json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")

    @classmethod
    def load_from_json(cls, json_path: str | Path) -> TrainerState:
        """Read it.

        Raises:
            TrainingError: the file holds something else.
        """
        values = read_json(Path(json_path))
        if not isinstance(values, Mapping) or not set(values) <= set(asdict(cls())):
            raise TrainingError(f"{json_path} is no state of a trainer")
        return cls(**values)


@dataclass
class TrainerControl:
    """What a training does next; callbacks may change it."""

    should_training_stop: bool = False
    should_epoch_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False


class TrainerCallback:
    """Called at each event of a training; subclass it, and define the events that matter.

    An event gets ``(args, state, control, **kwargs)``; kwargs hold model, processing_class, optimizer, lr_scheduler,
    and ``logs`` or ``metrics`` where there are any. It may change ``control``, or return another one.
    """

    def on_init_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """The trainer is made."""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Training begins."""

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Training ends."""

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A way through the data begins."""

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A way through the data ends."""

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A step begins."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A step ends."""

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """An evaluation ends; ``metrics`` are its results."""

    def on_predict(self, args: Any, state: TrainerState, control: TrainerControl, metrics: Any, **kwargs: Any) -> Any:
        """A prediction ends."""

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A checkpoint is written."""

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Numbers are logged: ``logs``."""


class EarlyStoppingCallback(TrainerCallback):
    """Ends a training whose metric does not get better any more.

    Args:
        early_stopping_patience: evaluations in a row that may be no better.
        early_stopping_threshold: by how much a better one must be better.
    """

    def __init__(self, early_stopping_patience: int = 1, early_stopping_threshold: float | None = 0.0) -> None:
        self.patience, self.threshold, self.worse = early_stopping_patience, early_stopping_threshold or 0.0, 0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """See that there is a metric to watch."""
        if args.metric_for_best_model is None or args.eval_strategy == "no":
            raise ArgumentError("EarlyStoppingCallback needs metric_for_best_model, and an eval_strategy")
        self.worse = 0

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Count evaluations that are no better than the best before."""
        name = args.metric_for_best_model
        value = kwargs["metrics"].get(name if name.startswith("eval_") else f"eval_{name}")
        if value is None:
            return
        gain = float("inf") if state.best_metric is None else value - state.best_metric
        gain = gain if args.greater_is_better or state.best_metric is None else -gain
        self.worse = 0 if gain > self.threshold else self.worse + 1
        control.should_training_stop |= self.worse >= self.patience


class PrinterCallback(TrainerCallback):
    """Prints what is logged."""

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Print it."""
        if state.is_local_process_zero:
            print(kwargs.get("logs"))


class ProgressCallback(TrainerCallback):
    """Shows a bar on a terminal, and prints what is logged; the trainer's own callback."""

    def __init__(self) -> None:
        self.progress: Any = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Begin the bar."""
        import sys

        from rich.progress import Progress

        if sys.stderr.isatty() and not args.disable_tqdm and state.is_local_process_zero:
            from rich.console import Console

            self.progress = Progress(console=Console(stderr=True))
            self.progress.start()
            self.bar = self.progress.add_task("training", total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Move the bar."""
        if self.progress is not None:
            self.progress.update(self.bar, completed=state.global_step)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Print the numbers."""
        if state.is_local_process_zero:
            told = {name: value for name, value in kwargs["logs"].items() if name != "total_flos"}
            told = told | ({"epoch": round(told["epoch"], 2)} if "epoch" in told else {})
            (print if self.progress is None else self.progress.console.print)(str(told))

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """End the bar."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
