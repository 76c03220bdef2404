"""Runs cases in a few processes, counts them by outcome, and keeps what broke a promise."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
FINE = ("answer", "named error")
SECONDS = 20.0
"""That a case may take."""
MAKING = 120.0
"""Seconds that a process may take to start and to make a case."""
LIFE = 400
"""Cases that one process tries, so that nothing adds up."""


@dataclass
class Report:
    """What came of the cases.

    Attributes:
        counts: attack -> outcome -> how many.
        broken: what broke a promise: attack, seed, case, outcome, detail.
        slowest: the longest of the fine ones.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    broken: list[dict[str, Any]] = field(default_factory=list)
    slowest: dict[str, Any] = field(default_factory=dict)

    def add(self, attack: str, seed: int, result: dict[str, Any]) -> None:
        self.counts.setdefault(attack, Counter())[result["outcome"]] += 1
        told = {"attack": attack, "seed": seed, **result}
        if result["outcome"] not in FINE:
            self.broken.append(told)
        elif result["seconds"] > self.slowest.get("seconds", 0.0):
            self.slowest = told

    def table(self) -> str:
        outcomes = [*FINE, *sorted({name for row in self.counts.values() for name in row} - set(FINE))]
        width = max([len(name) for name in self.counts] + [6])
        lines = [f"{'attack':{width}}  " + "  ".join(outcomes)]
        total: Counter[str] = sum(self.counts.values(), Counter())
        for name, row in [*sorted(self.counts.items()), ("all", total)]:
            lines.append(f"{name:{width}}  " + "  ".join(f"{row[outcome]:>{len(outcome)}}" for outcome in outcomes))
        return "\n".join(lines)


class Process:
    """A worker, with its own home and temporary folder."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="fuzz-home-"))
        self.tried = 0
        path = os.pathsep.join(filter(None, [str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {
            **os.environ,
            "PYTHONPATH": path,
            "HOME": str(self.home),
            "HF_HOME": str(self.home / "hf"),
            "TMPDIR": str(self.home),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.errors = (self.home / "stderr").open("w+b")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
            start_new_session=True,
        )
        self.lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        out: IO[bytes] | None = self.popen.stdout
        assert out is not None
        for line in out:
            self.lines.put(line)
        self.lines.put(b"")

    def attempt(self, attack: str, seed: int, seconds: float) -> dict[str, Any]:
        self.tried += 1
        case = "?"
        try:
            assert self.popen.stdin is not None
            self.popen.stdin.write(f"{attack} {seed}\n".encode())
            self.popen.stdin.flush()
            if line := self.lines.get(timeout=MAKING):
                case = json.loads(line)
                line = self.lines.get(timeout=seconds + 1)
        except queue.Empty:
            return self._lost(case, "hang", f"more than {seconds:g} s")
        except BrokenPipeError:
            line = b""
        if line:
            result: dict[str, Any] = {"case": case, **json.loads(line)}
            if result["seconds"] > seconds and result["outcome"] in FINE:
                result |= {"outcome": "hang", "detail": f"{result['seconds']} s. {result['detail']}"}
            return result
        code = self.popen.wait(timeout=10)
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self.errors.seek(0)
        return self._lost(case, "died", f"{name}. {self.errors.read()[-600:].decode(errors='replace')}")

    def _lost(self, case: str, outcome: str, detail: str) -> dict[str, Any]:
        self.close()
        return {"case": case, "outcome": outcome, "detail": detail, "seconds": 0.0, "mebibytes": 0}

    @property
    def is_alive(self) -> bool:
        return self.popen.poll() is None and self.tried < LIFE

    def close(self) -> None:
        """End the process and all that it has started; what it wrote goes."""
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout, self.errors):
            try:
                stream.close()  # type: ignore[union-attr]
            except OSError:
                pass
        shutil.rmtree(self.home, ignore_errors=True)


def run(
    attacks: Sequence[str],
    *,
    seeds: Iterator[int] | Sequence[int],
    processes: int = 2,
    until: float | None = None,
    seconds: float = SECONDS,
    tell: Any = None,
) -> Report:
    """Try every attack with every seed, in turn.

    Args:
        attacks: names of modules in this folder, or full names of modules elsewhere.
        seeds: numbers; may have no end where ``until`` is given.
        processes: so many at once.
        until: the time of ``time.monotonic`` at which no further case begins.
        seconds: that a case may take.
        tell: called with each broken promise, as it is found.
    """
    report, lock = Report(), threading.Lock()
    jobs = ((attack, seed) for seed in seeds for attack in attacks)

    def work() -> None:
        process: Process | None = None
        try:
            while until is None or time.monotonic() < until:
                with lock:
                    job = next(jobs, None)
                if job is None:
                    return
                if process is None or not process.is_alive:
                    if process is not None:
                        process.close()
                    process = Process()
                result = process.attempt(*job, seconds)
                with lock:
                    report.add(*job, result)
                    if tell is not None and result["outcome"] not in FINE:
                        tell(report.broken[-1])
        finally:
            if process is not None:
                process.close()

    threads = [threading.Thread(target=work) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return report
