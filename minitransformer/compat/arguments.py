"""``TrainingArguments``: what a training is to do, under the names that transformers gives it.

Every argument here does what it says, or is listed in ``WITHOUT_MEANING`` and warns; any other is an error that names
the nearest one. Reference: transformers 4.57 ``training_args.py``, ``training_args_seq2seq.py``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from minitransformer.compat.schedules import SCHEDULES
from minitransformer.errors import ArgumentError, did_you_mean, warn_caller


class IntervalStrategy(str, Enum):
    """When something happens."""

    NO = "no"
    STEPS = "steps"
    EPOCH = "epoch"


WITHOUT_MEANING = {
    "report_to": "runs are told in trainer_state.json and by callbacks",
    "logging_dir": "runs are told in trainer_state.json and by callbacks",
    "run_name": "runs are told in trainer_state.json and by callbacks",
    "log_level": "messages go through the logger 'minitransformer'",
    "log_level_replica": "messages go through the logger 'minitransformer'",
    "overwrite_output_dir": "an earlier run's files are only replaced where a new one writes",
    "dataloader_num_workers": "batches are made in this process",
    "dataloader_pin_memory": "batches are made in this process",
    "dataloader_persistent_workers": "batches are made in this process",
    "dataloader_prefetch_factor": "batches are made in this process",
    "save_safetensors": "weights are always saved as safetensors",
    "ddp_find_unused_parameters": "found out by itself",
    "gradient_checkpointing_kwargs": "blocks are recomputed in one way",
    "torch_compile": "the model itself can be compiled: torch.compile(model)",
    "half_precision_backend": "PyTorch's autocast is used",
    "fp16_opt_level": "PyTorch's autocast is used",
    "tf32": "set torch.backends.cuda.matmul.allow_tf32",
    "no_cuda": "use_cpu=True",
    "eval_accumulation_steps": "predictions are kept outside of the accelerator",
    "bf16_full_eval": "bf16=True evaluates in bfloat16, too",
    "fp16_full_eval": "bf16=True evaluates in bfloat16, too",
    "logging_nan_inf_filter": "a loss that is no number ends the training",
    "sortish_sampler": "group_by_length=True puts like lengths together",
    "hub_token": "nothing is pushed during training",
    "hub_model_id": "nothing is pushed during training",
    "hub_strategy": "nothing is pushed during training",
    "hub_private_repo": "nothing is pushed during training",
    "include_inputs_for_metrics": "compute_metrics gets predictions and labels",
}
"""Argument of transformers that has no meaning here -> why; it is accepted with a warning, if it says anything."""

REFUSED = {
    "push_to_hub": "train, then call trainer.push_to_hub() when you have looked at the result",
    "deepspeed": "start the script with torchrun; parallel training is DistributedDataParallel",
    "fsdp": "start the script with torchrun and use minitransformer.training.Settings(parallel='fsdp')",
    "use_ipex": "minitransformer.optimize is for answering, not for training",
    "auto_find_batch_size": "choose a batch size",
}
"""Argument that cannot be answered -> what to do instead."""

RENAMED = {"evaluation_strategy": "eval_strategy", "per_gpu_train_batch_size": "per_device_train_batch_size"}


class _Named(type):
    """The class of argument classes: says which names there are before a dataclass would complain."""

    def __call__(cls, *args: Any, **given: Any) -> Any:
        known = [each.name for each in fields(cls)]  # type: ignore[arg-type]
        for old, new in RENAMED.items():
            if old in given:
                given[new] = given.pop(old)
        for name in list(given):
            if name in REFUSED:
                if given.pop(name):
                    raise ArgumentError(f"{cls.__name__} has no {name} here: {REFUSED[name]}")
            elif name in WITHOUT_MEANING:
                if given.pop(name) not in (None, False, 0, "none", [], "passive", "auto"):
                    warn_caller(f"{cls.__name__}: {name} means nothing here ({WITHOUT_MEANING[name]})")
            elif name not in known:
                near = did_you_mean(name, [*known, *WITHOUT_MEANING])
                raise ArgumentError(
                    f"{cls.__name__} has no argument {name!r}.{near} docs/from-transformers.md lists all"
                )
        return super().__call__(*args, **given)


@dataclass
class TrainingArguments(metaclass=_Named):
    """How to train; what is left out has transformers' default.

    Args:
        output_dir: folder for checkpoints and the trained model.
        eval_strategy: "no", "steps" or "epoch": when to evaluate. Also ``evaluation_strategy``.
        per_device_train_batch_size: examples at once in a process.
        gradient_accumulation_steps: batches that make one step.
        num_train_epochs: ways through the data; may be broken.
        max_steps: instead of epochs, if more than 0.
        lr_scheduler_type: name of a schedule, see ``get_scheduler``; ``lr_scheduler_kwargs`` are its further arguments.
        warmup_ratio: share of all steps with a growing rate; ``warmup_steps`` counts them instead.
        logging_strategy: when to log: "no", "steps" (every ``logging_steps``), "epoch".
        save_strategy: when to save: "no", "steps" (every ``save_steps``), "epoch", "best".
        save_total_limit: how many checkpoints stay.
        bf16: weights in float32, products in bfloat16.
        fp16: the same in float16, on a GPU.
        eval_steps: with ``eval_strategy="steps"``; ``logging_steps`` by default. Numbers below 1 are shares of a run.
        remove_unused_columns: leave out what the model's ``forward`` does not take.
        label_names: columns that are labels; "labels" by default.
        load_best_model_at_end: keep the best evaluation's weights, by ``metric_for_best_model``.
        label_smoothing_factor: share of the target that is spread over all classes.
        optim: "adamw_torch" or "adamw_torch_fused" (the same here), or "sgd".

    Raises:
        ArgumentError: an unknown argument, a wrong value, or a contradiction.
    """

    output_dir: str | Path = "trainer_output"
    do_train: bool = False
    do_eval: bool = False
    do_predict: bool = False
    eval_strategy: str = "no"
    prediction_loss_only: bool = False
    per_device_train_batch_size: int = 8
    per_device_eval_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    eval_delay: float = 0
    learning_rate: float = 5e-5
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    num_train_epochs: float = 3.0
    max_steps: int = -1
    lr_scheduler_type: str = "linear"
    lr_scheduler_kwargs: dict[str, Any] | None = field(default_factory=dict)
    warmup_ratio: float = 0.0
    warmup_steps: int = 0
    logging_strategy: str = "steps"
    logging_first_step: bool = False
    logging_steps: float = 500
    save_strategy: str = "steps"
    save_steps: float = 500
    save_total_limit: int | None = None
    save_only_model: bool = False
    use_cpu: bool = False
    seed: int = 42
    data_seed: int | None = None
    bf16: bool = False
    fp16: bool = False
    eval_steps: float | None = None
    dataloader_drop_last: bool = False
    disable_tqdm: bool | None = None
    remove_unused_columns: bool = True
    label_names: list[str] | None = None
    load_best_model_at_end: bool = False
    metric_for_best_model: str | None = None
    greater_is_better: bool | None = None
    label_smoothing_factor: float = 0.0
    optim: str = "adamw_torch"
    group_by_length: bool = False
    gradient_checkpointing: bool = False
    eval_on_start: bool = False
    resume_from_checkpoint: str | bool | None = None

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            value = value.value if isinstance(value, Enum) else ("no" if value is False else value)
            if value not in choices:
                near = did_you_mean(str(value), choices)
                raise ArgumentError(f"{name} is {value!r}; it can be {', '.join(choices)}.{near}")
            setattr(self, name, value)
        for name, lowest in AT_LEAST.items():
            value = getattr(self, name)
            if value is None:
                continue
            whole = name in WHOLE
            kinds = int if whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or value < lowest:
                kind = "a whole number" if whole else "a number"
                raise ArgumentError(f"{name} must be {kind} of at least {lowest}, not {value!r}")
        if self.bf16 and self.fp16:
            raise ArgumentError("bf16 and fp16 are two types: choose one")
        if self.fp16 and not (torch.cuda.is_available() and not self.use_cpu):
            raise ArgumentError("fp16=True needs a GPU: take bf16=True, or leave it out")
        if self.eval_strategy == "steps" and self.eval_steps is None:
            self.eval_steps = self.logging_steps
        if self.load_best_model_at_end:
            if self.eval_strategy == "no":
                raise ArgumentError("load_best_model_at_end=True needs an eval_strategy, which is 'no'")
            if self.save_strategy not in (self.eval_strategy, "best"):
                raise ArgumentError(
                    "load_best_model_at_end=True needs eval_strategy and save_strategy to be the same; they are "
                    f"{self.eval_strategy!r} and {self.save_strategy!r}"
                )
            self.metric_for_best_model = self.metric_for_best_model or "loss"
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = not self.metric_for_best_model.endswith("loss")

    @property
    def device(self) -> torch.device:
        """Where the training runs."""
        return torch.device("cuda" if torch.cuda.is_available() and not self.use_cpu else "cpu")

    @property
    def n_gpu(self) -> int:
        """How many accelerators this process trains on."""
        return int(self.device.type == "cuda")

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        from minitransformer.training.distributed import world_size

        return world_size()

    @property
    def process_index(self) -> int:
        """Which of them this one is."""
        from minitransformer.training.distributed import rank

        return rank()

    @property
    def train_batch_size(self) -> int:
        """Examples at once in a process."""
        return self.per_device_train_batch_size

    @property
    def eval_batch_size(self) -> int:
        """Examples at once when evaluating."""
        return self.per_device_eval_batch_size

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """Steps with a growing rate in a run of so many."""
        return self.warmup_steps if self.warmup_steps > 0 else math.ceil(num_training_steps * self.warmup_ratio)

    def every(self, name: str, steps: int) -> int:
        """``logging_steps``, ``eval_steps`` or ``save_steps`` in a run of ``steps``; a number below 1 is a share."""
        value = getattr(self, name) or 1
        return max(1, math.ceil(steps * value) if value < 1 else int(value))

    def to_dict(self) -> dict[str, Any]:
        """Names and values, as JSON knows them."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return found

    def to_json_string(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=2)


@dataclass
class Seq2SeqTrainingArguments(TrainingArguments):
    """The same, for models that write.

    Args:
        predict_with_generate: evaluate what ``generate`` writes instead of the scores of each next word.
        generation_max_length: ``max_length`` for that; what the model says by default.
        generation_num_beams: ``num_beams`` for that.
        generation_config: further options.
    """

    predict_with_generate: bool = False
    generation_max_length: int | None = None
    generation_num_beams: int | None = None
    generation_config: Any = None


CHOICES: Mapping[str, tuple[str, ...]] = {
    "eval_strategy": ("no", "steps", "epoch"),
    "logging_strategy": ("no", "steps", "epoch"),
    "save_strategy": ("no", "steps", "epoch", "best"),
    "lr_scheduler_type": tuple(name for name in SCHEDULES if name != "reduce_lr_on_plateau"),
    "optim": ("adamw_torch", "adamw_torch_fused", "sgd"),
}
AT_LEAST: Mapping[str, float] = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": 0,
    "weight_decay": 0,
    "adam_beta1": 0,
    "adam_beta2": 0,
    "adam_epsilon": 0,
    "max_grad_norm": 0,
    "num_train_epochs": 0,
    "max_steps": -1,
    "warmup_ratio": 0,
    "warmup_steps": 0,
    "logging_steps": 0,
    "save_steps": 0,
    "eval_steps": 0,
    "eval_delay": 0,
    "save_total_limit": 1,
    "seed": 0,
    "data_seed": 0,
    "label_smoothing_factor": 0,
}
WHOLE = (
    "per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps max_steps warmup_steps "
    "save_total_limit seed data_seed"
).split()
