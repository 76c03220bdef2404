"""Schedules give the rates of transformers' own at every step."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import minitransformer
from minitransformer import MinitransformerError


def rates(library: Any, name: str, warmup: int, steps: int, **options: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = library.get_scheduler(name, optimizer, warmup, steps, scheduler_specific_kwargs=options or None)
    found = []
    for _ in range(steps + 5):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("warmup, steps", [(0, 10), (3, 10), (10, 10), (5, 3)])
@pytest.mark.parametrize(
    "name, options",
    [
        ("linear", {}),
        ("cosine", {}),
        ("cosine", {"num_cycles": 2.0}),
        ("cosine_with_restarts", {"num_cycles": 3}),
        ("polynomial", {}),
        ("polynomial", {"power": 2.0, "lr_end": 1e-3}),
        ("constant", {}),
        ("constant_with_warmup", {}),
        ("inverse_sqrt", {}),
        ("cosine_with_min_lr", {"min_lr": 0.01}),
        ("cosine_with_min_lr", {"min_lr_rate": 0.2}),
    ],
)
def test_rates_are_those_of_transformers(name: str, options: dict[str, Any], warmup: int, steps: int) -> None:
    if name == "polynomial" and warmup >= steps:
        warmup = steps - 1  # 4.57 divides by zero there
    ours, theirs = (rates(library, name, warmup, steps, **options) for library in (minitransformer, transformers))
    np.testing.assert_allclose(ours, theirs, rtol=1e-15)


def test_a_seed_repeats_all_random_numbers() -> None:
    drawn = []
    for _ in range(2):
        minitransformer.set_seed(13)
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda o: minitransformer.get_scheduler("liner", o, 0, 10), "linear"),
        (lambda o: minitransformer.get_scheduler("linear", o), "num_warmup_steps"),
        (lambda o: minitransformer.get_scheduler("linear", o, 0), "num_training_steps"),
        (lambda o: minitransformer.get_scheduler("cosine_with_min_lr", o, 0, 10), "min_lr"),
        (lambda o: minitransformer.set_seed(2**32), "seed"),
        (lambda o: minitransformer.set_seed(True), "seed"),
    ],
)
def test_what_cannot_be_scheduled_is_named(call: Any, says: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(MinitransformerError, match=says):
        call(optimizer)
