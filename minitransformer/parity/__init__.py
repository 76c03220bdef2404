"""Parity as a tool: trace a model, compare anybody's port with it, name the first wrong operation and its cause."""

from minitransformer.parity.comparison import compare, compare_files
from minitransformer.parity.divergence import divergence
from minitransformer.parity.dumps import Dump, read_dump
from minitransformer.parity.findings import UNKNOWN, Comparison, Row
from minitransformer.parity.kinds import KINDS, Kind
from minitransformer.parity.operations import Operation
from minitransformer.parity.report import page
from minitransformer.parity.traces import ParityError, Trace, read_trace, write_trace
from minitransformer.parity.verification import Stage, Verification, verify
from minitransformer.parity.weights import WeightDifference, compare_weights

__all__ = [
    "KINDS",
    "UNKNOWN",
    "Comparison",
    "Dump",
    "Kind",
    "Operation",
    "ParityError",
    "Row",
    "Stage",
    "Trace",
    "Verification",
    "WeightDifference",
    "compare",
    "compare_files",
    "compare_weights",
    "divergence",
    "page",
    "read_dump",
    "read_trace",
    "verify",
    "write_trace",
]
