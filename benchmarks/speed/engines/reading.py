"""No model: reads as many bytes as the weights have, and does next to nothing with them.

A decoder must read every weight once for each token, so this is the limit of any loop at batch 1. The memory is read by
whichever reduction of PyTorch is the quickest here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from speed.engines import Setup
from speed.works import Work

PASSES = 16  # over the memory in one call


def version() -> str:
    return ""


def load(setup: Setup) -> Callable[[Work], Callable[[], Any]]:
    import torch

    torch.set_num_threads(setup.threads)

    def prepare(work: Work) -> Callable[[], Any]:
        memory = torch.ones(work["bytes"] // 4)
        ways: list[Callable[[], Any]] = [memory.sum, memory.amax, lambda: torch.dot(memory, memory)]
        best = min(ways, key=lambda way: min(_seconds(way) for _ in range(5)))

        def read() -> None:
            for _ in range(PASSES):
                best()

        return read

    return prepare


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
