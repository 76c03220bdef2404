"""Options that all programs of this folder share."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speed.compare import Bench
from speed.engines import ENGINES

ROOT = Path(__file__).resolve().parents[2]


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """A parser with the shared options."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help=f"turns of each engine (default {rounds})")
    made.add_argument("--threads", type=int, default=2, help="of each engine (default 2)")
    made.add_argument("--engines", help=f"only these, of {','.join(ENGINES)}")
    made.add_argument("--venv-5", type=Path, default=ROOT / ".venv5", help="environment with transformers 5")
    made.add_argument("--python", action="append", default=[], metavar="ENGINE=PATH", help="interpreter of an engine")
    made.add_argument("--models", type=Path, help="folder that keeps the checkpoints (default: made anew each time)")
    made.add_argument("--out", type=Path, help="folder for the results (default: this one; with --quick nowhere)")
    made.add_argument("--quick", action="store_true", help="tiny models, one round: tries all, measures nothing")
    return made


def checked(made: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """The options, or an error that names what is wrong."""
    args = made.parse_args(arguments)
    given = dict(pair.partition("=")[::2] for pair in args.python)
    unknown = {*(args.engines or "readable").split(","), *given} - {*ENGINES}
    if unknown:
        made.error(f"unknown engines: {', '.join(sorted(unknown))}; there are {', '.join(ENGINES)}")
    if args.rounds < 1 or args.threads < 1:
        made.error("--rounds and --threads are at least 1")
    if args.quick:
        args.rounds, args.threads = 1, 1
    else:
        args.out = args.out or ROOT / "benchmarks"
    return args


@contextmanager
def bench_of(args: argparse.Namespace) -> Iterator[Bench]:
    """How to measure; checkpoints that are not kept are removed at the end."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.models or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        yield Bench(folder, pythons(args), args.rounds, args.threads, args.quick)


def pythons(args: argparse.Namespace) -> dict[str, str]:
    """The interpreter of each engine that may take part."""
    chosen = args.engines.split(",") if args.engines else list(ENGINES)
    found = dict.fromkeys(chosen, sys.executable)
    five = args.venv_5 / "bin" / "python"
    if "transformers-5" in found and not five.exists():
        del found["transformers-5"]
    elif "transformers-5" in found:
        found["transformers-5"] = str(five)
    found.update(pair.split("=", 1) for pair in args.python)
    return found
