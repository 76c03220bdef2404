"""Counts and times in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64)
PREFIX = "minitransformer_"


class Histogram:
    """How often values were at most so large."""

    def __init__(self, name: str, help_text: str, bounds: tuple[float, ...]) -> None:
        self.name, self.help_text, self.bounds = PREFIX + name, help_text, bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self) -> Iterable[str]:
        """As Prometheus reads it."""
        yield from head(self.name, self.help_text, "histogram")
        total = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            yield f'{self.name}_bucket{{le="{bound}"}} {total}'
        yield f"{self.name}_sum {self.sum:.6f}"
        yield f"{self.name}_count {total}"


class Metrics:
    """All that is counted."""

    def __init__(self) -> None:
        self.began = time.time()
        self.lock = threading.Lock()  # models count their batches in their own threads
        self.answers: Counter[tuple[str, str, int]] = Counter()
        self.running = 0  # requests, not batches
        self.tokens = 0
        self.seconds = Histogram("request_seconds", "From a request to its answer.", SECONDS)
        self.queued = Histogram("queue_seconds", "How long requests waited for their model.", SECONDS)
        self.inference = Histogram("inference_seconds", "How long their model worked on them.", SECONDS)
        self.batches = Histogram("batch_rows", "Rows that ran together.", ROWS)

    def count(self, model: str, task: str, status: int, seconds: float) -> None:
        """An answer was given."""
        with self.lock:
            self.answers[model, task, status] += 1
            self.seconds.add(seconds)

    def ran(self, rows: int) -> None:
        """A batch ran."""
        with self.lock:
            self.batches.add(rows)

    def times(self, queued: float, inference: float) -> None:
        """A request was worked on."""
        with self.lock:
            self.queued.add(queued)
            self.inference.add(inference)

    def text(self, waiting: dict[str, int], writing: dict[str, int], loaded: Iterable[str]) -> str:
        """All of it, and the state of the models now."""
        with self.lock:
            lines = [*head(f"{PREFIX}requests_total", "Answers.", "counter")]
            for (model, task, status), number in sorted(self.answers.items()):
                labels = f'model="{quoted(model)}",task="{task}",code="{status}"'
                lines.append(f"{PREFIX}requests_total{{{labels}}} {number}")
            for name, text, values in (
                ("waiting", "Requests that wait.", waiting),
                ("streams", "Texts that are being written.", writing),
                ("loaded", "Models in memory.", dict.fromkeys(loaded, 1)),
            ):
                lines += head(PREFIX + name, text, "gauge")
                for model, value in sorted(values.items()):
                    lines.append(f'{PREFIX}{name}{{model="{quoted(model)}"}} {value}')
            lines += [
                *head(f"{PREFIX}tokens_total", "Tokens streamed.", "counter"),
                f"{PREFIX}tokens_total {self.tokens}",
            ]
            lines += [*head(f"{PREFIX}uptime_seconds", "Since the start.", "gauge")]
            lines.append(f"{PREFIX}uptime_seconds {time.time() - self.began:.1f}")
            for histogram in (self.seconds, self.queued, self.inference, self.batches):
                lines += histogram.lines()
        return "\n".join(lines) + "\n"


def quoted(name: str) -> str:
    """A name between quotation marks."""
    return name.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def head(name: str, text: str, kind: str) -> tuple[str, str]:
    """The two lines before the values."""
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"
