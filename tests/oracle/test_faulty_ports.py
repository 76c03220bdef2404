"""A small part of ``benchmarks/faulty_ports.py``, which tries hundreds: a few faults drawn over all architectures."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from faulty_ports import run  # noqa: E402


def test_faults_are_named_and_what_is_in_no_catalogue_is_unknown():
    known, unknown = run(faults=24, foreign=8, seed=7)
    assert (known.tried, known.operation) == (24, 24) and known.cause >= 22
    assert (unknown.tried, unknown.operation, unknown.cause) == (8, 8, 8)
