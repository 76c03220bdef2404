"""Engines in turn: each in a process of its own, one computing at a time, round after round.

What else the machine does in a minute meets all of them alike, so that the ratio of two engines is taken within each
round, and its median and quartiles are told.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from speed.checkpoints import environment
from speed.engines import Setup
from speed.works import Work

PAUSE = 0.3  # seconds between turns: thread pools spin for up to 0.2 s after their last work


class Failed(Exception):
    """An engine that should have answered did not; the message is its traceback."""


class Missing(Exception):
    """An engine cannot take part here; the message says why."""


class Worker:
    """A process that holds one engine.

    Raises:
        Missing: its library is not installed, or does not offer this.
        Failed: anything else went wrong while it loaded.
    """

    def __init__(self, setup: Setup, python: str) -> None:
        self.setup = setup
        self.process = subprocess.Popen(
            [python, "-W", "ignore", "-m", "speed.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(setup.threads),
        )
        reply = self._say(asdict(setup))
        if "version" not in reply:
            self.close()
            raise Missing(reply["unable"])
        self.version = reply["version"]

    def answer(self, work: Work) -> Any:
        """Do the work once, and give its answer."""
        return self._say({"do": "answer", "work": work})["answer"]

    def seconds(self, work: Work, calls: int) -> list[float]:
        """Do the work ``calls`` times, and give the seconds of each."""
        return self._say({"do": "time", "work": work, "calls": calls})["seconds"]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _say(self, content: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        try:
            print(json.dumps(content), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        reply: dict[str, Any] = json.loads(line) if line else {"failed": f"its process ended: {self.process.wait()}"}
        if "failed" in reply:
            if self.process.poll() is None:
                self.close()
            raise Failed(f"{self.setup.name}: {reply['failed']}")
        return reply


def alternate(
    workers: Mapping[str, Worker], works: Mapping[str, Work], rounds: int, calls: int
) -> dict[str, list[float]]:
    """Seconds of one call of each worker in each round: the median of its ``calls`` there.

    Whoever begins a round is last in the next.
    """
    times: dict[str, list[float]] = {name: [] for name in workers}
    names = list(workers)
    for i in range(rounds):
        start = i % len(names)
        for name in names[start:] + names[:start]:
            time.sleep(PAUSE)
            times[name].append(statistics.median(workers[name].seconds(works[name], calls)))
    return times


@dataclass
class Spread:
    """A median, and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of at least one value; of fewer than four, the ends stand for the quartiles."""
        if len(values) < 4:
            return cls(statistics.median(values), min(values), max(values))
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


def ratio(ours: list[float], theirs: list[float]) -> Spread:
    """How many times quicker (smaller) ours is: the quotients of each round."""
    return Spread.of([b / a for a, b in zip(ours, theirs, strict=True)])
