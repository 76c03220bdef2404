"""How the cost of decoding grows with context and batch, and what the cache takes: part of ``make bench``.

Writes docs/images/cost.svg, and its numbers to results.json. Engines take turns as in bench.py.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

from speed.checkpoints import environment, make, sizes
from speed.compare import Bench, Group, Team
from speed.options import ROOT, bench_of, checked, parser
from speed.picture import draw
from speed.report import begin, write
from speed.rounds import PAUSE, Worker, alternate

CONTESTANTS = ("readable:float32", "optimized:float32", "optimized:int8", "transformers:float32", "ctranslate2:float32")
UNCACHED = "without a cache"
GLIBC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def main(arguments: list[str] | None = None) -> int:
    args = checked(parser(__doc__, rounds=2), arguments)
    content = begin(args.out, args.threads, args.quick)
    start = time.perf_counter()
    with bench_of(args) as bench:
        content["growth"] = measure(bench)
    print(json.dumps(content["growth"]["context"]["series"]), json.dumps(content["growth"]["batch"]["series"]))
    print(f"({time.perf_counter() - start:.0f} s)")
    if args.out:
        write(content, args.out)
        usual = args.out == ROOT / "benchmarks"
        draw(content["growth"], ROOT / "docs" / "images" / "cost.svg" if usual else args.out / "cost.svg")
    return 0


def measure(bench: Bench) -> dict[str, Any]:
    size = sizes("gpt2", bench.quick)
    base = {"vocabulary": size["vocab_size"]}
    group = Group("GPT-2", "gpt2", "causal", base, "tokens/s", CONTESTANTS, {})
    team = Team(bench)
    try:
        workers = team.workers(group)
        return {
            "date": date.today().isoformat(),
            "rounds": bench.rounds,
            "context": by_context(bench, workers, base, size["n_positions"]),
            "batch": by_batch(bench, workers, base),
            "cache": cache(bench, size["n_positions"]),
        }
    finally:
        team.close()


def by_context(bench: Bench, workers: dict[str, Worker], base: dict[str, Any], longest: int) -> dict[str, Any]:
    """Tokens/s near each of some lengths: one long answer, whose tokens are timed one by one."""
    prompt, near = (16, 8) if bench.quick else (16, 32)  # tokens whose median is taken
    lengths = [length for length in (32, 64, 128, 256, 512, 768, 1000) if length + near / 2 <= longest]
    work = base | {"kind": "context", "rows": 1, "prompt": prompt, "new": longest - prompt}
    taken: dict[str, list[list[float]]] = {name: [] for name in workers}
    for _ in range(bench.rounds):
        for name, worker in workers.items():
            time.sleep(PAUSE)
            taken[name].append(worker.answer(work))

    def speed(runs: list[list[float]], length: int) -> float:
        start = length - near // 2 - prompt - 1  # the first time is that of token prompt + 2
        return 1 / statistics.median(s for run in runs for s in run[max(start, 0) : start + near])

    series = {name: [speed(runs, length) for length in lengths] for name, runs in taken.items()}
    if "readable:float32" in workers:
        series[UNCACHED] = []
        for length in lengths:
            full = base | {"kind": "uncached", "rows": 1, "prompt": length}
            only = {UNCACHED: workers["readable:float32"]}
            series[UNCACHED].append(1 / statistics.median(alternate(only, {UNCACHED: full}, bench.rounds, 3)[UNCACHED]))
    return {"lengths": lengths, "series": series}


def by_batch(bench: Bench, workers: dict[str, Worker], base: dict[str, Any]) -> dict[str, Any]:
    """Tokens/s of all rows together."""
    batches = [1, 2, 4] if bench.quick else [1, 2, 4, 8, 16, 32]
    new = 8 if bench.quick else 32
    series: dict[str, list[float]] = {name: [] for name in workers}
    for rows in batches:
        work = base | {"kind": "generate", "rows": rows, "prompt": 32, "new": new}
        for worker in workers.values():
            worker.answer(work | {"new": 2})  # warms up
        for name, times in alternate(workers, dict.fromkeys(workers, work), bench.rounds, 1).items():
            series[name].append(rows * new / statistics.median(times))
    return {"sizes": batches, "series": series}


def cache(bench: Bench, longest: int) -> dict[str, Any]:
    """Bytes of the cache for each token of each row, measured and by formula."""
    folder: Path = make("gpt2", bench.folder, bench.quick)
    command = [sys.executable, "-W", "ignore", "-m", "speed.cache_memory", str(folder), "8", str(longest), "64"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(bench.threads) | GLIBC)
    found: dict[str, Any] = json.loads(done.stdout)
    first, last = found["points"][0], found["points"][-1]
    grown = (last["resident"] - first["resident"]) / (last["tokens"] - first["tokens"]) / found["rows"]
    return found | {"formula": 2 * found["layers"] * found["width"] * 4, "measured": round(grown)}


if __name__ == "__main__":
    sys.exit(main())
