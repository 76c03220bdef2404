"""Hundreds of calls leave nothing behind: no tensor, no Python object, no memory of the process.

What is measured, and why the bounds are where they are:

- **Tensors** that are alive, with the garbage collector switched off: none more than before. A tensor in a cycle of
  references would wait for the collector, which counts objects, not bytes, and may let gigabytes pile up.
- **Blocks** of Python's allocator (``sys.getallocatedblocks``): fewer than half of one a call, in that fifth of the
  calls that keeps the least. An object that is kept of each call takes at least one in every fifth.
- **Memory of the process** (resident set): less than 4 MB over 600 calls. The smallest thing worth keeping by
  mistake, a call's scores or its cache, has over 10 kB in these models, which is 6 MB.

``python tests/memory_calls.py`` prints the numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import memory_calls
import pytest

BLOCKS_A_CALL = 0.5
MEGABYTES = 4.0

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process from /proc"),
]


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    """What a process of its own has counted."""
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    command = [sys.executable, memory_calls.__file__, "--json"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert run.returncode == 0, run.stderr
    counts: dict[str, dict[str, float]] = json.loads(run.stdout.splitlines()[-1])
    return counts


@pytest.mark.parametrize("work", [work.__name__ for work in memory_calls.WORK])
def test_nothing_is_left_behind(work: str, found: dict[str, dict[str, float]]) -> None:
    counts = found[work]
    assert counts["tensors"] <= 0
    assert counts["blocks per call"] < BLOCKS_A_CALL
    assert counts["megabytes"] < MEGABYTES


def test_that_the_bounds_can_fail(found: dict[str, dict[str, float]]) -> None:
    """Keeping each call's scores is far over all of them."""
    counts = found["keep"]
    assert counts["tensors"] == 20
    assert counts["blocks per call"] > 1.5 * BLOCKS_A_CALL
    assert counts["megabytes"] > 2 * MEGABYTES
