"""Speed and memory beside other engines: ``make bench``, or ``python benchmarks/bench.py CASE...``.

All engines load the same weights (random, at the published sizes, made here) and do the same work, each in a process of
its own; one at a time computes, round after round, so that whatever else the machine does meets all. Results are added
to results.json case by case, so that a run can be resumed; results.md and the tables in docs/performance.md are written
from it. transformers 5 needs an environment of its own (--venv-5, made by `make bench-engines`); engines that are not
installed are left out.
"""

from __future__ import annotations

import sys
import time

from speed.cases import CASES, USUAL
from speed.options import bench_of, checked, parser
from speed.report import begin, merged, write
from speed.tables import complete, told


def main(arguments: list[str] | None = None) -> int:
    options = parser(__doc__, rounds=5)
    options.add_argument("cases", nargs="*", default="all", choices=["all", *CASES], help="default: all (but training)")
    args = checked(options, arguments)
    content = begin(args.out, args.threads, args.quick)
    print("\n".join(f"{name}: {value}" for name, value in content["machine"].items()), flush=True)
    rows = []
    cases = [args.cases] if isinstance(args.cases, str) else args.cases
    with bench_of(args) as bench:
        for case in dict.fromkeys(c for name in cases for c in (USUAL if name == "all" else [name])):
            start = time.perf_counter()
            print(f"\n{case} ...", flush=True)
            new = CASES[case](bench)
            print("\n".join(map(told, new)) + f"\n  ({time.perf_counter() - start:.0f} s)", flush=True)
            content = merged(content, case, new)
            rows += new
            if args.out:
                write(content, args.out)
    for row in rows:
        for engine, why in row["failed"].items():
            print(f"\n{row['title']}: {engine} failed:\n{why}", file=sys.stderr)
    return 0 if complete(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
