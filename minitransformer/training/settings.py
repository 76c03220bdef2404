"""Every number of a training run that is not the model's or the data's, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

from typing_extensions import Self

from minitransformer.errors import TrainingError
from minitransformer.options import Count, Natural, Only, Positive, Range, declared, read_all

Steps = Annotated[int, Range(least=1, most=10**9)]
BatchSize = Annotated[int, Range(least=1, most=2**20)]
Beta = Annotated[float, Range(least=0, below=1)]


def _is_warmup(value: float) -> bool:
    return value < 1 or value == int(value)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train. What is left out has a default that suits fine-tuning a small encoder.

    How long: ``steps`` or ``epochs``, one of the two. How much at once: ``batch_size`` examples, or as many as
    ``tokens_per_batch`` tokens hold, padding included; both count the whole batch of one optimizer step, over all
    processes and micro-batches.

    Raises:
        TrainingError: a value of the wrong type, out of range, or in contradiction to another.
    """

    steps: Steps | None = None
    epochs: Annotated[float, Range(above=0, most=100_000)] | None = None
    batch_size: BatchSize | None = None
    tokens_per_batch: Count | None = None
    accumulate: BatchSize = 1  # micro-batches in a batch: less memory, the same numbers

    learning_rate: Positive = 5e-5  # after the warm-up
    warmup: Annotated[
        float, Range(least=0), Only(_is_warmup, "a whole number of steps, or a share of them below 1")
    ] = 0.1
    schedule: Literal["linear", "cosine", "constant"] = "linear"  # after the warm-up: to zero, or not at all
    weight_decay: Annotated[float, Range(least=0)] = 0.01  # of matrices and tables; biases and norms never decay
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    epsilon: Positive = 1e-8
    clip: Positive | None = 1.0  # largest norm of the gradient

    # "bfloat16": weights in float32, products in bfloat16; "float64": everything
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    gradient_checkpointing: bool = False  # compute blocks twice instead of remembering them
    parallel: Literal["ddp", "fsdp"] = "ddp"  # with several processes: copy the model ("ddp") or share it out ("fsdp")
    seed: Natural = 0

    evaluate_every: Count | None = None  # steps; ten times in all by default
    save_every: Count | None = None  # steps; ten times in all by default
    log_every: Count = 10  # steps
    keep: Count = 1  # how many checkpoints to resume from
    best: str = "loss"  # what decides which weights go to best/: "loss", or the name of a metric
    patience: Count | None = None  # stop after so many evaluations in a row without a better one
    minutes: Positive | None = None  # stop after that long; the next start goes on

    RESUMABLE: ClassVar[frozenset[str]] = frozenset(
        {"minutes", "keep", "log_every", "save_every", "parallel", "gradient_checkpointing"}
    )
    """What may change when a run is resumed: no number that is learnt depends on it beyond rounding."""

    def __post_init__(self) -> None:
        for name, option in declared(type(self)).items():
            object.__setattr__(self, name, option.read(getattr(self, name), TrainingError))
        _exactly_one(self, "steps", "epochs")
        if self.batch_size is None and self.tokens_per_batch is None:
            object.__setattr__(self, "batch_size", 32)
        _exactly_one(self, "batch_size", "tokens_per_batch")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Settings from names and values, as a recipe has them.

        Raises:
            TrainingError: an unknown name (with the nearest one), or a value that cannot be used.
        """
        return cls(**read_all(values, declared(cls), TrainingError, owner="the trainer"))

    def to_dict(self) -> dict[str, Any]:
        """Names and values, of the kinds that JSON knows."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def identity(self) -> dict[str, Any]:
        """What may not change between two starts of one run."""
        return {name: value for name, value in self.to_dict().items() if name not in self.RESUMABLE}

    def warmup_steps(self, steps: int) -> int:
        """Length of the warm-up in a run of ``steps``."""
        return round(self.warmup * steps) if self.warmup < 1 else int(self.warmup)


def _exactly_one(settings: Settings, first: str, second: str) -> None:
    given = [name for name in (first, second) if getattr(settings, name) is not None]
    if len(given) != 1:
        what = "neither is given" if not given else "both are given"
        raise TrainingError(f"either {first} or {second} is needed; {what}")
