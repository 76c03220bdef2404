"""A port against a trace: how wrong each of its operations is by itself, the first that is, and why.

Two errors an operation: the *inherited* one, their tensor against ours, and its *own*, their tensor against our
operation on their inputs, for which their code need not run. Rounding is measured, not guessed: an operation is wrong
if its own error is more than `TIMES` what rounding alone makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from minitransformer.models.common.base import PretrainedModel
from minitransformer.parity.alignment import Aligned, Alignment, align, read_map
from minitransformer.parity.dumps import read_dump
from minitransformer.parity.evaluation import Evaluator, Recent
from minitransformer.parity.findings import UNKNOWN, Comparison, Row
from minitransformer.parity.hypotheses import Context, causes, general_causes
from minitransformer.parity.hypotheses.ids import ids_of_rows, told_difference
from minitransformer.parity.noise import error
from minitransformer.parity.operations import Operation, model_tensors
from minitransformer.parity.padding import Keep, keeping, masks_of, of_side
from minitransformer.parity.traces import ParityError, Trace, read_trace

TIMES = 8.0
"""How many times its measured noise an error may be."""
EPS = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}


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
    weights: Mapping[str, Tensor] | None = None,
) -> Comparison:
    """Compare a port's tensors with a trace.

    Args:
        trace: ours.
        dump: theirs, by any names and in any order of axes.
        model: the one that was traced.
        names: their name -> ours.
        dtype: the type that they computed in, if it is not that of their tensors.
        kind: the format of the dump.
        weights: their parameters by our names, where they are known: one that differs is a cause.

    Raises:
        ParityError: they were computed on other ids, or nothing of theirs could be placed.
    """
    alignment = align(trace, dump, names, kind)
    _check_ids(trace, dump)
    _check_length(trace, dump, alignment, model_tensors(model))
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
        theirs = Theirs(alignment.found)
        evaluator = Evaluator(trace.operations, given, parameters, theirs)
        rows = [
            _row(trace, evaluator, operation, alignment.found[operation.name], worked)
            for operation in trace.operations
            if operation.name in alignment.found
        ]
        first = next((row for row in rows if row.state == "wrong"), None)
        if first is None or not _turned_back(alignment, evaluator, first):
            break
    cause = None
    if first is not None:
        context = Context(trace, evaluator, theirs[first.name], first.name, worked, weights or {})
        cause = _cause(context, first)
    return Comparison(
        rows,
        None if first is None else first.name,
        cause,
        str(worked).removeprefix("torch."),
        kind,
        alignment.left,
        alignment.remarks + theirs.remarks,
    )


class Theirs(Mapping[str, Tensor]):
    """Their tensors in our layout, in float64, by our names; each is read when it is asked for."""

    def __init__(self, found: Mapping[str, Aligned]) -> None:
        self.found, self.remarks, self._recent = found, list[str](), Recent()
        self._looked_at: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        return self._recent.get(name, lambda: self._read(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __contains__(self, name: object) -> bool:
        return name in self.found

    def _read(self, name: str) -> Tensor:
        x = self.found[name].read().double()
        hidden = x == float("-inf")
        if name not in self._looked_at:
            self._looked_at.add(name)
            wrong = int((~x.isfinite()).sum())
            if wrong and int(hidden.sum()) != wrong:
                self.remarks.append(f"{self.found[name].theirs} holds {wrong} numbers that are NaN or infinite")
        if name.rpartition(".")[2].partition("#")[0] == "scores":
            x = x.masked_fill(hidden, torch.finfo(torch.float64).min)
        return x


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


def _check_length(
    trace: Trace, dump: Mapping[str, Tensor], alignment: Alignment, parameters: Mapping[str, Tensor]
) -> None:
    """Words of another number of tokens tell which ids were read.

    Raises:
        ParityError: they were others.
    """
    for operation in trace.operations:
        theirs = alignment.misfits.get(operation.name)
        if theirs is None or operation.kind != "embedding" or not operation.name.endswith("words"):
            continue
        x, own = dump[theirs], trace.tensors[operation.inputs["ids"]]
        x = x[None] if x.dim() == 2 and len(own) == 1 else x
        ids = ids_of_rows(x, parameters[operation.parameters["table"]].double(), 0.05)
        if ids is not None and len(ids) == len(own):
            raise ParityError(
                f"the dump was made on {ids.shape[1]} tokens, the trace on {own.shape[1]}: "
                f"{told_difference(ids, own)}; run the port on the trace's input_ids"
            )


def _their_type(alignment: Alignment, dtype: str | None) -> torch.dtype:
    if dtype is not None:
        found = {str(kind): kind for kind in EPS}.get(f"torch.{dtype.removeprefix('torch.')}")
        if found is None:
            raise ParityError(f"--dtype must be float64, float32, float16 or bfloat16, not {dtype!r}")
        return found
    kinds = [aligned.dtype for aligned in alignment.found.values() if aligned.dtype in EPS]
    return max(set(kinds), key=lambda kind: EPS[kind]) if kinds else torch.float32


def _turned_back(alignment: Alignment, evaluator: Evaluator, first: Row) -> bool:
    """Whether an axis order was undone that the port may not have meant: what reads the tensor is wrong with it.

    A square tensor whose axes are exchanged is right in another layout, unless what comes after takes it as it stands.
    """
    for operation in evaluator.span(first.name):
        for name in operation.inputs.values():
            aligned = alignment.found.get(name)
            if aligned is not None and aligned.plain is not None:
                aligned.read, aligned.layout, aligned.plain = aligned.plain, "", None
                return True
    return False


def _row(trace: Trace, evaluator: Evaluator, operation: Operation, aligned: Aligned, worked: torch.dtype) -> Row:
    x = evaluator.theirs[operation.name]
    right = evaluator.compute(operation.name)
    span = evaluator.span(operation.name)
    mask = evaluator.given[operation.inputs["mask"]] if "mask" in operation.inputs else None
    keep = tokens_that_count(trace, operation)
    own = difference(x, right, mask, keep)
    noise = sum(scaled(one.noise, worked) for one in span)
    if len(span) > 1 and own > TIMES * noise and worked != torch.float64:
        noise += difference(evaluator.compute(operation.name, worked), right, mask, keep)
    inherited = difference(x, trace.tensors[operation.name], mask, keep)
    wrong = not own <= TIMES * noise
    state = "wrong" if wrong else "inherits" if not inherited <= TIMES * noise else "right"
    covers = [one.name for one in span if one.kind != "identity" or one.name == operation.name]
    return Row(
        operation.name, aligned.theirs, operation.kind, aligned.by, aligned.layout, inherited, own, noise, covers, state
    )


def tokens_that_count(trace: Trace, operation: Operation) -> Keep | None:
    """What takes the tokens out of an operation's result that are no padding."""
    two_sides = any(".cross_attn." in one.name for one in trace.operations)
    mask = of_side(operation.name.partition("#")[0], masks_of(trace.manifest["inputs"]), two_sides=two_sides)
    return keeping(operation.axes, operation.shape, mask)


def difference(x: Tensor, right: Tensor, mask: Tensor | None = None, keep: Keep | None = None) -> float:
    """As ``noise.error``; what a mask hides must be hidden in ``x`` too, by whatever large negative number."""
    if keep is not None:
        mask = None if mask is None else keep(mask.expand(right.shape))
        x, right = keep(x), keep(right)
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


def _cause(context: Context, first: Row) -> str:
    evaluator, limit = context.evaluator, TIMES * first.noise
    keep = tokens_that_count(context.trace, evaluator.by_name[first.name])
    x = context.x if keep is None else keep(context.x)
    for kind in (causes, general_causes):
        for operation in evaluator.span(first.name):
            found = []
            for cause, change in kind(operation, context):
                try:
                    guess = evaluator.changed(first.name, operation, change)
                except (RuntimeError, IndexError, ValueError, KeyError):
                    continue  # it does not fit these shapes
                if guess.shape != context.x.shape:
                    continue
                if _agrees(guess if keep is None else keep(guess), x, limit):
                    found.append(cause)
            if found:
                return " or ".join(dict.fromkeys(found))
    return UNKNOWN


def _agrees(guess: Tensor, x: Tensor, limit: float) -> bool:
    """Whether a guess is their tensor, up to so much; infinite numbers must be where they are there."""
    endless = x.isinf()
    if not bool(endless.any()):
        return error(_clipped(guess), _clipped(x)) <= limit
    same = bool((guess.masked_fill(~endless, 0.0) == x.masked_fill(~endless, 0.0)).all())
    return same and error(guess, x, ~endless) <= limit


def _clipped(x: Tensor) -> Tensor:
    """Numbers by which masks hide, made one."""
    return x.clamp(min=-1e4) if bool((x < -1e4).any()) else x
