"""`python -m fuzz`: attack the library for some minutes, print what came of it, exit 1 if a promise broke."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time

from fuzz import ATTACKS
from fuzz.runner import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--attack", action="append", choices=ATTACKS, help="one attack (several times for more)")
    parser.add_argument("--minutes", type=float, default=10.0, help="time to spend; default: 10")
    parser.add_argument("--cases", type=int, help="so many of each attack, however long that takes")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; default: 0")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    seeds = itertools.count(given.seed) if given.cases is None else range(given.seed, given.seed + given.cases)
    until = time.monotonic() + 60 * given.minutes if given.cases is None else None
    report = run(given.attack or ATTACKS, seeds=iter(seeds), processes=given.processes, until=until, tell=_tell)
    print(report.table())
    print("slowest:", json.dumps(report.slowest, ensure_ascii=True))
    return 1 if report.broken else 0


def _tell(broken: dict[str, object]) -> None:
    print(json.dumps(broken, ensure_ascii=True), flush=True)


if __name__ == "__main__":
    sys.exit(main())
