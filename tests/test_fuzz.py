"""The attacks of `tests/fuzz`: that they notice what they look for, and a few seeds of each."""

from __future__ import annotations

from collections import Counter
from random import Random

from fuzz import ATTACKS
from fuzz.misbehaviour import WAYS
from fuzz.runner import Report, run

OUTCOMES = {
    "answer": "answer",
    "named": "named error",
    "raw": "raw exception",
    "hang": "hang",
    "die": "died",
    "memory": "out of memory",
    "system": "code ran",
    "write": "code ran",
    "patch": "changed the process",
    "broken": "half-written",
}


def test_nothing_that_breaks_a_promise_goes_unnoticed() -> None:
    told: list[dict[str, object]] = []
    drawn = {Random(f"fuzz.misbehaviour {seed}").choice(WAYS): seed for seed in range(200)}
    report = run(["fuzz.misbehaviour"], seeds=sorted(drawn.values()), processes=1, seconds=1.0, tell=told.append)
    assert {case["case"]: case["outcome"] for case in report.broken} == {
        way: outcome for way, outcome in OUTCOMES.items() if outcome not in ("answer", "named error")
    }
    assert told == report.broken and set(OUTCOMES) == set(WAYS)
    assert report.counts["fuzz.misbehaviour"] == Counter(OUTCOMES.values())


def test_the_table_counts_by_outcome() -> None:
    report = Report({"files": Counter({"answer": 3, "hang": 1}), "hub": Counter({"named error": 2})})
    lines = [line.split() for line in report.table().splitlines()]
    assert lines == [
        ["attack", "answer", "named", "error", "hang"],
        ["files", "3", "0", "1"],
        ["hub", "0", "2", "0"],
        ["all", "3", "2", "1"],
    ]


def test_a_few_seeds_of_each_attack() -> None:
    report = run(ATTACKS, seeds=range(2), processes=1, seconds=120.0)  # on a busy machine, too
    assert not report.broken, report.broken
