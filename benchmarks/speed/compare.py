"""A group of engines that do the same work, and the rows of the table that come of it: one for each dtype."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from speed.agreement import agreement
from speed.checkpoints import make
from speed.conversions import convert
from speed.engines import OURS, Setup
from speed.rounds import Failed, Missing, Spread, Worker, alternate, ratio
from speed.works import Work

Row = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """How to measure.

    Attributes:
        folder: keeps checkpoints.
        pythons: the interpreter of each engine that may take part.
        rounds: how often each engine has its turn.
        threads: of each engine.
        quick: tiny models and one round: tries everything, measures nothing.
    """

    folder: Path
    pythons: Mapping[str, str]
    rounds: int = 5
    threads: int = 2
    quick: bool = False


@dataclass(frozen=True)
class Group:
    """Engines and what they do.

    Attributes:
        title: of the work, for the table.
        checkpoint: a name in ``checkpoints.SIZES``.
        kind: of the model, see ``Setup``.
        work: what is computed.
        unit: "tokens/s", "items/s" or "ms".
        contestants: "engine:dtype".
        wanted: dtype -> engine -> the least ratio that we want to it; "limit" -> the least share of the limit.
        amount: of tokens or items in one call.
        calls: of each engine in one turn.
        bytes_read: dtype -> bytes of the weights that each token needs, where reading them is the limit.
    """

    title: str
    checkpoint: str
    kind: str
    work: Work
    unit: str
    contestants: tuple[str, ...]
    wanted: Mapping[str, Mapping[str, float]]
    amount: float = 0
    calls: int = 1
    bytes_read: Mapping[str, int] = field(default_factory=dict)


def compare(bench: Bench, case: str, groups: Iterable[Group]) -> list[Row]:
    """Measure groups that share checkpoint and kind where possible: a worker stays for the next group that wants it."""
    team = Team(bench)
    try:
        return [row for group in groups for row in _measure(team, case, group)]
    finally:
        team.close()


def _measure(team: Team, case: str, group: Group) -> list[Row]:
    bench = team.bench
    workers = team.workers(group)
    works = dict.fromkeys(workers, group.work)
    answers: dict[str, Any] = {}
    for name in list(workers):
        try:
            answers[name] = workers[name].answer(group.work)
        except Failed as error:
            team.failed[name] = str(error)
            del workers[name], works[name]
    reading = team.reading(group)
    if reading:
        workers, works = workers | reading, works | {"reading": {"kind": "read", "bytes": group.bytes_read["float32"]}}
        reading["reading"].answer(works["reading"])
    seconds = alternate(workers, works, bench.rounds, 1 if bench.quick else group.calls)
    dtypes = dict.fromkeys(name.split(":")[1] for name in group.contestants)
    return [_row(case, group, dtype, seconds, answers, team) for dtype in dtypes]


def _row(
    case: str, group: Group, dtype: str, seconds: dict[str, list[float]], answers: dict[str, Any], team: Team
) -> Row:
    """What the times of a group say about one dtype."""
    own = {name.split(":")[0]: times for name, times in seconds.items() if name.endswith(f":{dtype}")}
    amount = group.amount or 1e-3  # seconds are told as milliseconds
    speeds = {engine: [amount / s if group.amount else s / amount for s in times] for engine, times in own.items()}
    row = {
        "case": case,
        "title": f"tiny: {group.title}" if team.bench.quick else group.title,
        "dtype": dtype,
        "unit": group.unit,
        "date": date.today().isoformat(),
        "rounds": team.bench.rounds,
        "values": {engine: asdict(Spread.of(values)) for engine, values in speeds.items()},
        "ratios": ratios(own),
        "wanted": {} if team.bench.quick else dict(group.wanted.get(dtype, {})),
        "answers": {
            name.split(":")[0]: agreement(answer, *_reference(answers, dtype))
            for name, answer in answers.items()
            if name.endswith(f":{dtype}")
        },
        "seconds": {engine: [round(s, 6) for s in times] for engine, times in own.items()},
        "versions": {name: team.versions[name] for name in own},
    }
    for what in ("missing", "failed"):
        notes: dict[str, str] = getattr(team, what)
        row[what] = {name.split(":")[0]: why for name, why in notes.items() if name in _named(group, dtype)}
    if "reading" in seconds:
        row["limit"] = _limit(group, dtype, seconds["reading"], own)
    return row


def ratios(times: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """How many times better each of ours is than each of the others: "optimized/transformers" and so on."""
    return {
        f"{ours}/{other}": asdict(ratio(times[ours], times[other]))
        for ours in OURS
        for other in times
        if ours in times and other != ours and other not in OURS
    } | (
        {"optimized/readable": asdict(ratio(times["optimized"], times["readable"]))}
        if {"readable", "optimized"} <= {*times}
        else {}
    )


def _limit(group: Group, dtype: str, reading: list[float], own: Mapping[str, list[float]]) -> dict[str, Any]:
    """How near each engine came to the speed at which memory delivers the weights, in the same rounds."""
    from speed.engines.reading import PASSES

    rates = [PASSES * group.bytes_read["float32"] / s for s in reading]
    limits = [rate / group.bytes_read[dtype] for rate in rates]
    reached = {
        engine: asdict(Spread.of([group.amount / s / limit for s, limit in zip(times, limits, strict=True)]))
        for engine, times in own.items()
    }
    return {
        "GB/s": asdict(Spread.of([rate / 1e9 for rate in rates])),
        "bytes": group.bytes_read[dtype],
        "tokens/s": asdict(Spread.of(limits)),
        "reached": reached,
    }


def _reference(answers: Mapping[str, Any], dtype: str) -> tuple[Any, str]:
    """The answer that others are compared with: that of transformers in this dtype, or the next best."""
    for name in (f"transformers:{dtype}", "transformers:float32", "readable:float32", f"optimized:{dtype}"):
        if name in answers:
            return answers[name], name
    return None, ""


def _named(group: Group, dtype: str) -> list[str]:
    return [name for name in group.contestants if name.endswith(f":{dtype}")]


class Team:
    """The workers of a case."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.missing: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self._workers: dict[tuple[str, str], Worker] = {}

    def workers(self, group: Group) -> dict[str, Worker]:
        """Those that can take part in a group; of the others it is noted why not."""
        folder = make(group.checkpoint, self.bench.folder, self.bench.quick)
        found = {}
        for name in group.contestants:
            engine, dtype = name.split(":")
            if engine not in self.bench.pythons or name in self.failed:
                continue
            try:
                convert(engine, folder, self.bench.pythons[engine])
                found[name] = self._worker(Setup(engine, dtype, group.kind, str(folder), self.bench.threads))
            except Missing as why:
                self.missing[name] = str(why)
            except Failed as why:
                self.failed[name] = str(why)
        return found

    def reading(self, group: Group) -> dict[str, Worker]:
        """The one that only reads, if the group asks for it."""
        if not group.bytes_read or "reading" not in self.bench.pythons:
            return {}
        return {"reading": self._worker(Setup("reading", "float32", "read", "", self.bench.threads))}

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers.values():
            worker.close()
        gc.collect()

    def _worker(self, setup: Setup) -> Worker:
        key = (setup.name, setup.kind + setup.folder)
        if key not in self._workers:
            self._workers[key] = Worker(setup, self.bench.pythons[setup.engine])
            self.versions[setup.engine] = self._workers[key].version
        return self._workers[key]
