"""Every number of a training run that is not the model's or the data's, checked before anything starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from typing_extensions import Self

from minitransformer.errors import TrainingError, did_you_mean

SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("float32", "bfloat16", "float64")
ENGINES = ("ddp", "fsdp")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train. What is left out has a default that suits fine-tuning a small encoder.

    How long: ``steps`` or ``epochs``, one of the two. How much at once: ``batch_size`` examples, or as many as
    ``tokens_per_batch`` tokens hold, padding included; both count the whole batch of one optimizer step, over all
    processes and micro-batches.

    Raises:
        TrainingError: a value of the wrong type, out of range, or in contradiction to another.
    """

    steps: int | None = None
    epochs: float | None = None
    batch_size: int | None = None
    tokens_per_batch: int | None = None
    accumulate: int = 1  # micro-batches in a batch: less memory, the same numbers

    learning_rate: float = 5e-5  # after the warm-up
    warmup: float = 0.1  # steps, or if less than 1, a share of all steps
    schedule: str = "linear"  # after the warm-up: "linear" or "cosine" to zero, or "constant"
    weight_decay: float = 0.01  # of matrices and tables; biases and norms never decay
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    clip: float | None = 1.0  # largest norm of the gradient

    precision: str = "float32"  # "bfloat16": weights in float32, products in bfloat16; "float64": everything
    gradient_checkpointing: bool = False  # compute blocks twice instead of remembering them
    parallel: str = "ddp"  # with several processes: copy the model ("ddp") or share it out ("fsdp")
    seed: int = 0

    evaluate_every: int | None = None  # steps; ten times in all by default
    save_every: int | None = None  # steps; ten times in all by default
    log_every: int = 10  # steps
    keep: int = 1  # how many checkpoints to resume from
    best: str = "loss"  # what decides which weights go to best/: "loss", or the name of a metric
    patience: int | None = None  # stop after so many evaluations in a row without a better one
    minutes: float | None = None  # stop after that long; the next start goes on

    RESUMABLE: ClassVar[frozenset[str]] = frozenset(
        {"minutes", "keep", "log_every", "save_every", "parallel", "gradient_checkpointing"}
    )
    """What may change when a run is resumed: no number that is learnt depends on it beyond rounding."""

    def __post_init__(self) -> None:
        self._check_types()
        _exactly_one(self, "steps", "epochs")
        if self.batch_size is None and self.tokens_per_batch is None:
            object.__setattr__(self, "batch_size", 32)
        _exactly_one(self, "batch_size", "tokens_per_batch")
        for name in ("steps", "epochs", "batch_size", "tokens_per_batch", "accumulate", "learning_rate", "epsilon"):
            self._check(name, lambda value: value > 0, "more than 0")
        for name in ("evaluate_every", "save_every", "log_every", "keep", "patience", "clip", "minutes"):
            self._check(name, lambda value: value > 0, "more than 0")
        for name in ("warmup", "weight_decay", "seed"):
            self._check(name, lambda value: value >= 0, "0 or more")
        self._check("warmup", lambda value: value < 1 or value == int(value), "a whole number of steps, or a share")
        self._check("betas", lambda betas: all(0 <= beta < 1 for beta in betas), "two numbers from 0 to less than 1")
        for name, choices in (("schedule", SCHEDULES), ("precision", PRECISIONS), ("parallel", ENGINES)):
            value = getattr(self, name)
            if value not in choices:
                raise TrainingError(
                    f"{name} is {value!r}; it can be {', '.join(choices)}.{did_you_mean(value, choices)}"
                )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Settings from names and values, as a recipe has them.

        Raises:
            TrainingError: an unknown name (with the nearest one), or a value that cannot be used.
        """
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                raise TrainingError(f"{name!r} is no setting of the trainer.{did_you_mean(name, known)}")
        tupled: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**tupled)

    def to_dict(self) -> dict[str, Any]:
        """Names and values, of the kinds that JSON knows."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def identity(self) -> dict[str, Any]:
        """What may not change between two starts of one run."""
        return {name: value for name, value in self.to_dict().items() if name not in self.RESUMABLE}

    def warmup_steps(self, steps: int) -> int:
        """Length of the warm-up in a run of ``steps``."""
        return round(self.warmup * steps) if self.warmup < 1 else int(self.warmup)

    def _check(self, name: str, fits: Any, wanted: str) -> None:
        value = getattr(self, name)
        if value is not None and not fits(value):
            raise TrainingError(f"{name} is {value}; it has to be {wanted}")

    def _check_types(self) -> None:
        for setting in fields(self):
            value, hint = getattr(self, setting.name), str(setting.type)
            if not _is_a(value, hint):
                wanted = hint.removesuffix(" | None")
                raise TrainingError(f"{setting.name} is {value!r}; it has to be of type {wanted}")
            if isinstance(value, float) and not math.isfinite(value):
                raise TrainingError(f"{setting.name} is {value}; it has to be finite")


def _is_a(value: object, hint: str) -> bool:
    """Whether a value is of the type that a field's annotation names; whole numbers also are floats."""
    if value is None:
        return "None" in hint
    if isinstance(value, bool):
        return "bool" in hint
    if isinstance(value, int):
        return "int" in hint or ("float" in hint and "tuple" not in hint)
    if isinstance(value, float):
        return "float" in hint and "tuple" not in hint
    if isinstance(value, tuple):
        return "tuple" in hint and len(value) == 2 and all(_is_a(v, "float") for v in value)
    return isinstance(value, str) and "str" in hint


def _exactly_one(settings: Settings, first: str, second: str) -> None:
    given = [name for name in (first, second) if getattr(settings, name) is not None]
    if len(given) != 1:
        what = "neither is given" if not given else "both are given"
        raise TrainingError(f"either {first} or {second} is needed; {what}")
