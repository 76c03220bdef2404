"""Tokens learnt per second, and peak memory, beside the Trainer of transformers; one process and two.

Every repetition is a fresh process, and the libraries take turns. The first steps warm up. transformers' Trainer needs
the package accelerate.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from speed.checkpoints import environment, make, sizes
from speed.compare import Bench, ratios
from speed.rounds import Failed, Spread

TRAINERS = {"readable": "ours", "transformers": "theirs"}
ROUNDS = 3


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        title: of the row.
        checkpoint: in ``checkpoints.SIZES``.
        objective: "masked" or "causal".
        batch: examples of a step, over all processes.
        length: tokens of an example.
        dtype: "float32", or "bfloat16": products under autocast.
        steps: in all; the first ``warm`` of them do not count.
        wanted: the least ratio of speeds, and of memory.
    """

    title: str
    checkpoint: str
    objective: str
    batch: int
    length: int
    dtype: str = "float32"
    steps: int = 6
    warm: int = 2
    wanted: tuple[float, float] = (1.1, 1.0)


BERT = Task("train BERT-small (4 layers of 512), masked LM, 32 x 128 tokens", "bert-small", "masked", 32, 128)
BERT_BFLOAT16 = Task(BERT.title, "bert-small", "masked", 32, 128, "bfloat16")
GPT2 = Task("train GPT-2 124M, 4 x 256 tokens", "gpt2", "causal", 4, 256)


def rows(bench: Bench) -> list[dict[str, Any]]:
    found = []
    for task in (BERT, BERT_BFLOAT16, GPT2):
        found += compare_trainers(bench, task)
    return found + [scaling(bench, BERT)]


def compare_trainers(bench: Bench, task: Task) -> list[dict[str, Any]]:
    """One process each: a row for the speed, and one for the memory."""
    runs, failed = alternate(bench, task, [(engine, 1, bench.threads) for engine in TRAINERS])
    speeds = {engine: [run["tokens/s"] for run in taken] for (engine, _, _), taken in runs.items()}
    peaks = {engine: [run["peak"] for run in taken] for (engine, _, _), taken in runs.items()}
    losses = {engine: f"loss {taken[-1]['losses'][-1]:.2f}" for (engine, _, _), taken in runs.items()}
    inverse = {engine: [1 / speed for speed in taken] for engine, taken in speeds.items()}
    speed = row(bench, task, "tokens/s", speeds, ratios(inverse), task.wanted[0], losses, failed)
    memory = row(bench, task, "MiB", peaks, ratios(peaks), task.wanted[1], losses, failed)
    return [speed, memory | {"title": f"{memory['title']}: peak memory"}]


def scaling(bench: Bench, task: Task) -> dict[str, Any]:
    """Two processes of one thread each, beside one process with one thread and with two."""
    ways = [("readable", 1, 1), ("readable", 1, 2), ("readable", 2, 1), ("transformers", 2, 1)]
    runs, failed = alternate(bench, task, ways)
    speeds = {engine: [r["tokens/s"] for r in runs.get((engine, 2, 1), [])] for engine in TRAINERS}
    speeds = {engine: taken for engine, taken in speeds.items() if taken}
    made = row(
        bench, task, "tokens/s", speeds, ratios({e: [1 / s for s in v] for e, v in speeds.items()}), 0.0, {}, failed
    )
    notes = []
    for way, name in ((ways[0], "one process of one thread"), (ways[1], "one process of two threads")):
        if way in runs and ways[2] in runs:
            pairs = zip(runs[ways[2]], runs[way], strict=True)
            spread = Spread.of([two["tokens/s"] / one["tokens/s"] for two, one in pairs])
            notes.append(f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f}) times the tokens/s of {name}")
    note = "two processes of one thread each: " + ", ".join(notes) if notes else ""
    return made | {"title": f"{made['title']}, 2 processes", "note": note}


def alternate(
    bench: Bench, task: Task, ways: Sequence[tuple[str, int, int]]
) -> tuple[dict[tuple[str, int, int], list[dict[str, Any]]], dict[str, str]]:
    """Runs of each way (engine, processes, threads), round by round, and what failed."""
    runs: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    for _ in range(min(bench.rounds, ROUNDS)):
        for way in ways:
            if way[0] in bench.pythons and way[0] not in failed:
                try:
                    runs.setdefault(way, []).append(train(bench, task, *way))
                except Failed as why:
                    failed[way[0]] = str(why)
    return {way: taken for way, taken in runs.items() if taken and way[0] not in failed}, failed


def train(bench: Bench, task: Task, engine: str, processes: int, threads: int) -> dict[str, Any]:
    """One run: tokens per second after the warm-up, the losses, and the peak memory of all processes together.

    Raises:
        Failed: a process ended with an error.
    """
    folder = make(task.checkpoint, bench.folder, bench.quick)
    batch, length = (4, 16) if bench.quick else (task.batch, task.length)
    with tempfile.TemporaryDirectory() as out:
        order = {
            "trainer": TRAINERS[engine], "objective": task.objective, "folder": str(folder), "out": out,
            "batch": batch, "length": length, "dtype": task.dtype, "threads": threads, "steps": task.steps,
            "vocabulary": sizes(task.checkpoint, bench.quick)["vocab_size"],
        }  # fmt: skip
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
        command = [bench.pythons[engine], "-W", "ignore", "-m", *(launcher if processes > 1 else [])]
        command += ["speed.training_run", json.dumps(order)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(threads))
        results = [json.loads(path.read_text()) for path in sorted(Path(out).glob("rank-*.json"))]
    if done.returncode or len(results) != processes:
        raise Failed(done.stderr[-3000:])
    seconds = results[0]["seconds"]
    tokens = (task.steps - task.warm) * batch * length
    return {
        "tokens/s": tokens / (seconds[-1] - seconds[task.warm - 1]),
        "peak": sum(result["peak"] for result in results),
        "losses": results[0]["losses"],
    }


def row(
    bench: Bench,
    task: Task,
    unit: str,
    measured: dict[str, list[float]],
    found: dict[str, Any],
    wanted: float,
    answers: dict[str, str],
    failed: dict[str, str],
) -> dict[str, Any]:
    """A row of the table."""
    return {
        "case": "training",
        "title": f"tiny: {task.title}" if bench.quick else task.title,
        "dtype": task.dtype,
        "unit": unit,
        "date": date.today().isoformat(),
        "rounds": min(bench.rounds, ROUNDS),
        "values": {engine: asdict(Spread.of(values)) for engine, values in measured.items()},
        "ratios": found,
        "wanted": {"transformers": wanted} if wanted and not bench.quick else {},
        "answers": answers,
        "exact": False,
        "runs": {engine: [round(value, 2) for value in values] for engine, values in measured.items()},
        "versions": {},
        "missing": {},
        "failed": failed,
    }
