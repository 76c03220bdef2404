"""A process that holds one engine, and computes when it is told to: ``python -m speed.worker``.

One JSON object a line, both ways. The first line is the ``Setup``; the answer says whether it could be loaded. Then
``{"do": "answer", "work": ...}`` does a work once (which also warms up) and gives back its answer, and ``{"do": "time",
"work": ..., "calls": n}`` gives back the seconds of each of n calls. Between lines the process waits, so that engines
of different environments take turns on the same cores. The end of the input ends it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any, TextIO

from speed.engines import ENGINES, Setup, Unable

KEPT = 4  # of each axis of an answer that is an array; the shortest text has five tokens


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print shall not write between our lines
    serve(sys.stdin, replies)


def serve(lines: TextIO, replies: TextIO) -> None:
    """Answer the lines of one conversation."""

    def reply(**content: Any) -> None:
        print(json.dumps(content), file=replies, flush=True)

    setup = Setup(**json.loads(lines.readline()))
    try:
        module = import_module(f"speed.engines.{ENGINES[setup.engine].module}")
        prepare = module.load(setup)
        version = module.version()
    except (ImportError, Unable) as error:
        return reply(unable=str(error))
    except Exception:
        return reply(failed=traceback.format_exc())
    reply(version=version)
    runs: dict[str, Callable[[], Any]] = {}
    for line in lines:
        order = json.loads(line)
        try:
            key = json.dumps(order["work"])
            if key not in runs:
                runs[key] = prepare(order["work"])
            gc.collect()
            if order["do"] == "answer":
                reply(answer=plain(runs[key]()))
            else:
                reply(seconds=[_seconds(runs[key]) for _ in range(order["calls"])])
        except Exception:
            reply(failed=traceback.format_exc())


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def plain(answer: Any, kept: int | None = None) -> Any:
    """An answer as JSON: token ids and scores as they are; with three axes or more, the first few of each."""
    if isinstance(answer, (list, tuple)):
        kept = kept or (KEPT if _depth(answer) >= 3 else None)
        return [plain(part, kept) for part in answer[:kept]]
    if not hasattr(answer, "tolist"):
        return answer
    if len(answer.shape) >= 3:
        answer = answer[(slice(KEPT),) * len(answer.shape)]
    return (answer.float() if str(answer.dtype) == "torch.bfloat16" else answer).tolist()


def _depth(answer: Any) -> int:
    return 1 + _depth(answer[0]) if isinstance(answer, (list, tuple)) and answer else 0


if __name__ == "__main__":
    main()
