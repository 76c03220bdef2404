"""A port against a trace: how wrong each of its operations is by itself, the first that is, and why.

Two errors an operation: the *inherited* one, their tensor against ours, and its *own*, their tensor against our
operation on their inputs, for which their code need not run. Rounding is measured, not guessed: an operation is wrong
if its own error is more than `TIMES` what rounding alone makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minitransformer.models.common.base import PretrainedModel
from minitransformer.parity.alignment import Aligned, Alignment, align, read_map
from minitransformer.parity.dumps import read_dump
from minitransformer.parity.evaluation import Evaluator
from minitransformer.parity.hypotheses import Context, causes, general_causes
from minitransformer.parity.noise import error
from minitransformer.parity.operations import Operation, model_tensors
from minitransformer.parity.traces import ParityError, Trace, read_trace

TIMES = 8.0
"""How many times its measured noise an error may be."""
EPS = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Row:
    """One of their tensors."""

    name: str
    theirs: str
    kind: str
    by: str
    """How it was found: "map", "name" or "value"."""
    layout: str
    inherited: float
    """Error against ours."""
    own: float
    """Error against our operation on their inputs."""
    noise: float
    """What rounding makes of it in their type."""
    covers: list[str]
    """The operations between their tensors and this one, which it speaks of all together."""
    state: str
    """"right", "inherits" or "wrong"."""

    @property
    def times(self) -> float:
        """The own error in units of noise."""
        return self.own / self.noise


@dataclass
class Comparison:
    """What is known of a port."""

    rows: list[Row]
    first: str | None
    """The first wrong operation."""
    cause: str | None
    """Why it is wrong: what brings its error down to the noise; "unknown" if nothing that is known does."""
    dtype: str
    kind: str
    left: list[str] = field(default_factory=list)
    """Their tensors that have no place."""
    remarks: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether no operation is wrong."""
        return self.first is None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; infinite numbers as text."""
        rows = [asdict(row) | {"times": row.times} for row in self.rows]
        plain = [
            {k: str(v) if isinstance(v, float) and not abs(v) < 1e300 else v for k, v in row.items()} for row in rows
        ]
        return {
            "same": self.same,
            "first_wrong": self.first,
            "cause": self.cause,
            "dtype": self.dtype,
            "format": self.kind,
            "operations": plain,
            "left": self.left,
            "remarks": self.remarks,
        }

    def __str__(self) -> str:
        width = max((len(row.name) for row in self.rows), default=0)
        lines = [f"{'operation':<{width}}  inherited      own   x noise"]
        for row in self.rows:
            mark = {"right": "", "inherits": "inherits", "wrong": "WRONG"}[row.state]
            told = f"{row.name:<{width}}  {row.inherited:9.1e} {row.own:8.1e} {row.times:9.3g}  {mark}"
            lines.append(told.rstrip())
        lines += [f"note: {remark}" for remark in self.remarks]
        if self.left:
            shown = ", ".join(self.left[:8]) + (" ..." if len(self.left) > 8 else "")
            lines.append(f"note: {len(self.left)} tensors have no place in the trace: {shown}")
        lines.append(self.verdict)
        return "\n".join(lines)

    @property
    def verdict(self) -> str:
        """One sentence or two."""
        if self.first is None:
            return f"All {len(self.rows)} tensors that could be compared are right, up to rounding in {self.dtype}."
        row = next(row for row in self.rows if row.name == self.first)
        told = f"The first wrong operation is {row.name} ({row.theirs} of the dump)"
        inside = [name for name in row.covers if name != row.name]
        if inside:
            told += f", or one of those before it that the dump lacks: {', '.join(inside[:6])}"
            told += " ..." if len(inside) > 6 else ""
        why = "the cause is unknown" if self.cause == UNKNOWN else f"cause: {self.cause}"
        return f"{told}; {why}."


def compare_files(
    trace: str | Path,
    dump: str | Path,
    *,
    map_file: str | Path | None = None,
    model: str | Path | None = None,
    dtype: str | None = None,
) -> Comparison:
    """Compare a dump with a trace, both in files.

    Args:
        trace: a folder that ``write_trace`` filled.
        dump: see ``dumps``.
        map_file: see ``alignment.read_map``.
        model: where the traced model is now, if not where the manifest says.
        dtype: the type that they computed in, if it is not that of their tensors.

    Raises:
        ParityError: one of them cannot be read, or they speak of other inputs.
    """
    ours = read_trace(trace)
    read = read_dump(dump)
    names = None if map_file is None else read_map(map_file)
    found = compare(ours, read, ours.load_model(model), names=names, dtype=dtype, kind=read.kind)
    found.remarks = read.remarks + found.remarks
    return found


def compare(
    trace: Trace,
    dump: Mapping[str, Tensor],
    model: PretrainedModel,
    *,
    names: Mapping[str, str] | None = None,
    dtype: str | None = None,
    kind: str = "tensors",
) -> Comparison:
    """Compare a port's tensors with a trace.

    Args:
        trace: ours.
        dump: theirs, by any names and in any order of axes.
        model: the one that was traced.
        names: their name -> ours.
        dtype: the type that they computed in, if it is not that of their tensors.
        kind: the format of the dump.

    Raises:
        ParityError: they were computed on other ids, or nothing of theirs could be placed.
    """
    alignment = align(trace, dump, names, kind)
    _check_ids(trace, dump)
    if not alignment.found:
        if alignment.remarks:
            raise ParityError(f"nothing of the dump can be compared: {alignment.remarks[0]}")
        shown = ", ".join(list(dump)[:5])
        raise ParityError(
            f"none of the {len(dump)} tensors ({shown} ...) fits the trace by name or by value: pass a map (--map)"
        )
    worked = _their_type(alignment, dtype)
    given = {name: trace.tensors[name] for name in trace.manifest["given"]}
    parameters = model_tensors(model)
    while True:
        theirs = _theirs(trace, alignment)
        evaluator = Evaluator(trace.operations, given, parameters, theirs)
        rows = [
            _row(trace, evaluator, operation, alignment.found[operation.name], worked)
            for operation in trace.operations
            if operation.name in alignment.found
        ]
        first = next((row for row in rows if row.state == "wrong"), None)
        if first is None or not _turned_back(alignment, evaluator, first):
            break
    for aligned in alignment.found.values():
        wrong = int((~aligned.values.isfinite()).sum())
        if wrong and not bool((aligned.values == float("-inf")).sum() == wrong):
            alignment.remarks.append(f"{aligned.theirs} holds {wrong} numbers that are NaN or infinite")
    cause = None if first is None else _cause(trace, evaluator, first, theirs[first.name])
    return Comparison(
        rows,
        None if first is None else first.name,
        cause,
        str(worked).removeprefix("torch."),
        kind,
        alignment.left,
        alignment.remarks,
    )


def _check_ids(trace: Trace, dump: Mapping[str, Tensor]) -> None:
    for name, told in trace.manifest["inputs"].items():
        for theirs in (
            name,
            f"inputs/{name}",
            f"inputs.kwargs.{name}",
            *(["idx", "ids"] if name == "input_ids" else []),
        ):
            if theirs not in dump:
                continue
            mine, x = torch.tensor(told), dump[theirs]
            if x.numel() == mine.numel() and torch.equal(x.double().flatten(), mine.double().flatten()):
                continue
            if x.numel() != mine.numel():
                said = f"{tuple(x.shape)} of them, not {tuple(mine.shape)}"
            else:
                place = int((x.double().flatten() != mine.double().flatten()).nonzero()[0])
                said = f"at place {place} it has {int(x.flatten()[place])}, not {int(mine.flatten()[place])}"
            raise ParityError(f"the dump was made on other {name} than the trace: {said}; run the port on the trace's")


def _their_type(alignment: Alignment, dtype: str | None) -> torch.dtype:
    if dtype is not None:
        found = getattr(torch, dtype.removeprefix("torch."), None)
        if found not in EPS:
            raise ParityError(f"--dtype must be float64, float32, float16 or bfloat16, not {dtype!r}")
        return found
    kinds = [aligned.values.dtype for aligned in alignment.found.values() if aligned.values.dtype in EPS]
    return max(set(kinds), key=lambda kind: EPS[kind]) if kinds else torch.float32


def _theirs(trace: Trace, alignment: Alignment) -> dict[str, Tensor]:
    result = {}
    for name, aligned in alignment.found.items():
        x = aligned.values.double()
        leaf = name.rpartition(".")[2].partition("#")[0]
        if leaf == "scores":
            x = x.masked_fill(x == float("-inf"), torch.finfo(torch.float64).min)
        result[name] = x
    return result


def _turned_back(alignment: Alignment, evaluator: Evaluator, first: Row) -> bool:
    """Whether an axis order was undone that the port may not have meant: what reads the tensor is wrong with it.

    A square tensor whose axes are exchanged is right in another layout, unless what comes after takes it as it stands.
    """
    for operation in evaluator.span(first.name):
        for name in operation.inputs.values():
            aligned = alignment.found.get(name)
            if aligned is not None and aligned.plain is not None:
                aligned.values, aligned.layout, aligned.plain = aligned.plain, "", None
                return True
    return False


def _row(trace: Trace, evaluator: Evaluator, operation: Operation, aligned: Aligned, worked: torch.dtype) -> Row:
    x = evaluator.theirs[operation.name]
    right = evaluator.compute(operation.name)
    span = evaluator.span(operation.name)
    mask = evaluator.given[operation.inputs["mask"]] if "mask" in operation.inputs else None
    own = difference(x, right, mask)
    noise = sum(scaled(one.noise, worked) for one in span)
    if len(span) > 1 and own > TIMES * noise and worked != torch.float64:
        noise += error(evaluator.compute(operation.name, worked), right, mask)
    inherited = difference(x, trace.tensors[operation.name], mask)
    wrong = not own <= TIMES * noise
    state = "wrong" if wrong else "inherits" if not inherited <= TIMES * noise else "right"
    covers = [one.name for one in span if one.kind != "identity" or one.name == operation.name]
    return Row(
        operation.name, aligned.theirs, operation.kind, aligned.by, aligned.layout, inherited, own, noise, covers, state
    )


def difference(x: Tensor, right: Tensor, mask: Tensor | None = None) -> float:
    """As ``noise.error``; what a mask hides must be hidden in ``x`` too, by whatever large negative number."""
    if mask is None:
        return error(x, right)
    seen = mask.expand(right.shape)
    if bool((~seen).any()) and bool(seen.any()):
        lowest = x.masked_fill(~seen, float("inf")).amin(-1, keepdim=True)
        shown = (~seen) & (x > lowest - 30.0) & seen.any(-1, keepdim=True)
        if bool(shown.any()):
            return float("inf")
    return error(x, right, mask)


def scaled(noise: Mapping[str, float], dtype: torch.dtype) -> float:
    """Measured noise in a type; in one that was not measured, by the ratio of their last bits."""
    name = str(dtype).removeprefix("torch.")
    if name in noise:
        return noise[name]
    return noise["float32"] * EPS[dtype] / EPS[torch.float32]


def _cause(trace: Trace, evaluator: Evaluator, first: Row, x: Tensor) -> str:
    context = Context(trace, evaluator, x, first.name)
    limit = TIMES * first.noise
    for kind in (causes, general_causes):
        for operation in evaluator.span(first.name):
            found = []
            for cause, change in kind(operation, context):
                try:
                    guess = evaluator.changed(first.name, operation, change)
                except (RuntimeError, IndexError, ValueError, KeyError):
                    continue  # it does not fit these shapes
                if guess.shape == x.shape and error(_clipped(guess), _clipped(x)) <= limit:
                    found.append(cause)
            if found:
                return " or ".join(dict.fromkeys(found))
    return UNKNOWN


def _clipped(x: Tensor) -> Tensor:
    """Numbers by which masks hide, made one."""
    return x.clamp(min=-1e4) if bool((x < -1e4).any()) else x
