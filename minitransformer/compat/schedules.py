"""Learning rates that change with the step, under the names that transformers gives them, and ``set_seed``.

Each schedule is a factor on the optimizer's rate: up in a straight line over the warm-up's steps, then down in the way
that its name says. Reference: transformers 4.57 ``optimization.py``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from minitransformer.errors import ArgumentError, did_you_mean


class SchedulerType(str, Enum):
    """Names of schedules."""

    LINEAR = "linear"
    COSINE = "cosine"
    COSINE_WITH_RESTARTS = "cosine_with_restarts"
    POLYNOMIAL = "polynomial"
    CONSTANT = "constant"
    CONSTANT_WITH_WARMUP = "constant_with_warmup"
    INVERSE_SQRT = "inverse_sqrt"
    REDUCE_ON_PLATEAU = "reduce_lr_on_plateau"
    COSINE_WITH_MIN_LR = "cosine_with_min_lr"


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seed Python's, NumPy's and PyTorch's random numbers.

    Args:
        seed: from 0 up to 2**32 - 1, which is NumPy's largest.
        deterministic: also let PyTorch refuse operations that may give other results in another run.

    Raises:
        ArgumentError: the seed is no such number.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ArgumentError(f"the seed must be a whole number from 0 to {2**32 - 1}, not {seed!r}")
    random.seed(int(seed))
    np.random.seed(int(seed))
    torch.manual_seed(int(seed))
    if deterministic:
        torch.use_deterministic_algorithms(True)


def get_constant_schedule(optimizer: Optimizer, last_epoch: int = -1) -> LambdaLR:
    """The same rate for all steps."""
    return LambdaLR(optimizer, lambda step: 1.0, last_epoch)


def get_constant_schedule_with_warmup(optimizer: Optimizer, num_warmup_steps: int, last_epoch: int = -1) -> LambdaLR:
    """Up, then the same rate."""
    return _warm(optimizer, num_warmup_steps, lambda step: 1.0, last_epoch)


def get_linear_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, last_epoch: int = -1
) -> LambdaLR:
    """Up, then down to 0 in a straight line."""
    rest = max(1, num_training_steps - num_warmup_steps)
    return _warm(optimizer, num_warmup_steps, lambda step: max(0.0, (num_training_steps - step) / rest), last_epoch)


def get_cosine_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5, last_epoch: int = -1
) -> LambdaLR:
    """Up, then down to 0 along a cosine of ``num_cycles`` waves."""
    return _cosine(optimizer, num_warmup_steps, num_training_steps, num_cycles, 0.0, last_epoch)


def get_cosine_with_min_lr_schedule_with_warmup(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
) -> LambdaLR:
    """Up, then down along a cosine to ``min_lr``, or to the share ``min_lr_rate`` of the optimizer's rate.

    Raises:
        ArgumentError: neither or both of the two are given.
    """
    if (min_lr is None) == (min_lr_rate is None):
        raise ArgumentError("cosine_with_min_lr needs one of min_lr and min_lr_rate")
    lowest = min_lr / optimizer.defaults["lr"] if min_lr is not None else min_lr_rate
    assert lowest is not None
    return _cosine(optimizer, num_warmup_steps, num_training_steps, num_cycles, lowest, last_epoch)


def get_cosine_with_hard_restarts_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, num_cycles: int = 1, last_epoch: int = -1
) -> LambdaLR:
    """Up, then ``num_cycles`` times from the whole rate down to 0 along half a cosine."""

    def after(step: int) -> float:
        progress = (step - num_warmup_steps) / max(1, num_training_steps - num_warmup_steps)
        return 0.0 if progress >= 1 else max(0.0, 0.5 * (1 + math.cos(math.pi * (num_cycles * progress % 1.0))))

    return _warm(optimizer, num_warmup_steps, after, last_epoch)


def get_polynomial_decay_schedule_with_warmup(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    lr_end: float = 1e-7,
    power: float = 1.0,
    last_epoch: int = -1,
) -> LambdaLR:
    """Up, then down to ``lr_end`` along the given power.

    Raises:
        ArgumentError: ``lr_end`` is not below the optimizer's rate.
    """
    top = optimizer.defaults["lr"]
    if not top > lr_end:
        raise ArgumentError(f"lr_end={lr_end} must be below the learning rate, which is {top}")

    def after(step: int) -> float:
        if step > num_training_steps:
            return float(lr_end / top)
        left = 1 - (step - num_warmup_steps) / (num_training_steps - num_warmup_steps)
        return float(((top - lr_end) * left**power + lr_end) / top)

    return _warm(optimizer, num_warmup_steps, after, last_epoch)


def get_inverse_sqrt_schedule(
    optimizer: Optimizer, num_warmup_steps: int, timescale: int | None = None, last_epoch: int = -1
) -> LambdaLR:
    """Up, then down with the root of the step, which never ends."""
    scale = timescale or num_warmup_steps or 10_000
    return _warm(
        optimizer, num_warmup_steps, lambda step: ((step + scale - num_warmup_steps) / scale) ** -0.5, last_epoch
    )


def get_reduce_on_plateau_schedule(optimizer: Optimizer, **kwargs: Any) -> ReduceLROnPlateau:
    """Lower the rate when a metric stops getting better; ``kwargs`` as for PyTorch's class."""
    return ReduceLROnPlateau(optimizer, **kwargs)


SCHEDULES: Mapping[str, Callable[..., LRScheduler]] = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "cosine_with_restarts": get_cosine_with_hard_restarts_schedule_with_warmup,
    "polynomial": get_polynomial_decay_schedule_with_warmup,
    "constant": get_constant_schedule,
    "constant_with_warmup": get_constant_schedule_with_warmup,
    "inverse_sqrt": get_inverse_sqrt_schedule,
    "reduce_lr_on_plateau": get_reduce_on_plateau_schedule,
    "cosine_with_min_lr": get_cosine_with_min_lr_schedule_with_warmup,
}
NEEDS_STEPS = ("linear", "cosine", "cosine_with_restarts", "polynomial", "cosine_with_min_lr")
NEEDS_NOTHING = ("constant", "reduce_lr_on_plateau")


def get_scheduler(
    name: str | SchedulerType,
    optimizer: Optimizer,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    scheduler_specific_kwargs: Mapping[str, Any] | None = None,
) -> LRScheduler:
    """A schedule by its name.

    Args:
        name: one of ``SchedulerType``.
        optimizer: whose rate is scheduled.
        num_warmup_steps: steps with a growing rate.
        num_training_steps: steps in all, where the schedule has an end.
        scheduler_specific_kwargs: further arguments of that schedule, such as ``num_cycles``.

    Raises:
        ArgumentError: an unknown name, or a number that this schedule needs is missing.
    """
    name = name.value if isinstance(name, Enum) else name
    if name not in SCHEDULES:
        raise ArgumentError(
            f"there is no schedule {name!r}.{did_you_mean(name, SCHEDULES)} Known: {', '.join(SCHEDULES)}"
        )
    arguments: dict[str, Any] = {}
    if name not in NEEDS_NOTHING:
        arguments["num_warmup_steps"] = num_warmup_steps
    if name in NEEDS_STEPS:
        arguments["num_training_steps"] = num_training_steps
    for argument, value in arguments.items():
        if value is None:
            raise ArgumentError(f"the schedule {name!r} needs {argument}")
    return SCHEDULES[name](optimizer, **arguments, **({} if name == "constant" else scheduler_specific_kwargs or {}))


def _warm(optimizer: Optimizer, warmup: int, after: Callable[[int], float], last_epoch: int) -> LambdaLR:
    return LambdaLR(optimizer, partial(_factor, warmup=warmup, after=after), last_epoch)


def _factor(step: int, *, warmup: int, after: Callable[[int], float]) -> float:
    return step / max(1, warmup) if step < warmup else after(step)


def _cosine(
    optimizer: Optimizer, warmup: int, steps: int, num_cycles: float, lowest: float, last_epoch: int
) -> LambdaLR:
    def after(step: int) -> float:
        progress = (step - warmup) / max(1, steps - warmup)
        wave = 0.5 * (1 + math.cos(math.pi * num_cycles * 2 * progress))
        return max(0.0, wave * (1 - lowest) + lowest)

    return _warm(optimizer, warmup, after, last_epoch)
