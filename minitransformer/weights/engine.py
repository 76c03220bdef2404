"""Carrying tensors along a weight map: into a model, out of it, and as a table for readers.

Loading is planned from names and shapes alone. If anything does not fit, one error lists all of it and the model is
left as it was; otherwise tensor after tensor is read and moved, so that memory holds about one copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol

import torch
from torch import Tensor, nn

from minitransformer.errors import CheckpointError
from minitransformer.weights.misfits import Misfits
from minitransformer.weights.ops import Op, Same
from minitransformer.weights.table import BoundMap, WeightMap, template

OTHER_HEAD = "the head of another task"


class Source(Protocol):
    """Tensors by name, read one at a time (``open_checkpoint`` gives one)."""

    where: str

    def names(self) -> list[str]:
        """Names of all tensors."""

    def shape(self, name: str) -> Sequence[int]:
        """Shape of a tensor, without reading it."""

    def read(self, name: str, *, transient: bool = False) -> Tensor:
        """A tensor; ``transient`` says that it will be copied and dropped."""


@dataclass
class LoadReport:
    """What became of every tensor."""

    used: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Name in the file -> our parameters."""
    ignored: dict[str, str] = field(default_factory=dict)
    """Name in the file -> the reason why it was not used."""
    missing: list[str] = field(default_factory=list)
    """Our parameters that the file lacks or shall not fill, where that was allowed. They are left as they were."""


@torch.no_grad()
def load_weights(
    model: nn.Module,
    source: Source,
    table: WeightMap,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    allow_missing: Iterable[str] = (),
    leave_out: Mapping[str, str] | None = None,
    keep_float32: Iterable[str] = (),
) -> LoadReport:
    """Fill ``model`` (which may be on the meta device) from ``source``.

    Args:
        model: its parameters are replaced; shared ones stay shared.
        source: the tensors.
        table: the weight map of the model's architecture.
        dtype: of the new parameters.
        device: of the new parameters.
        allow_missing: shell patterns of our parameters that the source may lack.
        leave_out: our parameters that the source shall not fill, and why not; they count as missing.
        keep_float32: shell patterns of our parameters that shall be in float32 whatever ``dtype`` is.

    Returns:
        What was used, ignored (and why) and missing.

    Raises:
        CheckpointError: tensors are unexpected, missing, mis-shaped, or tied but different. The model is unchanged.
    """
    bound = table.bind(model)
    plan, report = _plan(bound, source, list(allow_missing), leave_out or {})
    for names in plan.values():
        _check_equal(source, names)

    parameters = dict(model.named_parameters(remove_duplicate=False))
    new: dict[int, nn.Parameter] = {}  # id of an old parameter -> what takes its place
    for row in bound.rows:
        if row.hf in plan:
            kept = any(fnmatchcase(row.ours[0], pattern) for pattern in keep_float32)
            row_dtype = torch.float32 if kept else dtype
            pieces = _read(source, plan[row.hf][0], row.op, row_dtype, torch.device(device))
            for name, piece in zip(row.ours, pieces, strict=True):
                old = parameters[name]
                new[id(old)] = nn.Parameter(piece, requires_grad=old.requires_grad)
    for name, old in parameters.items():  # shared parameters come up under each of their names
        if id(old) in new:
            owner, _, leaf = name.rpartition(".")
            model.get_submodule(owner)._parameters[leaf] = new[id(old)]
    return report


def export_weights(model: nn.Module, table: WeightMap) -> dict[str, Tensor]:
    """The model's tensors under the names of the file format; of tied ones only those names that are to be written."""
    bound = table.bind(model)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    tensors = {}
    for row in bound.rows:
        tensor = row.op.revert([parameters[name].detach() for name in row.ours]).contiguous()
        tensors[bound.file_name(row.hf)] = tensor
        tensors.update({bound.file_name(copy): tensor.clone() for copy in bound.copies.get(row.hf, [])})
    return tensors


@dataclass(frozen=True)
class Line:
    """A row of a weight map as ``explain`` shows it."""

    hf: str
    ours: tuple[str, ...]
    op: Op
    shape: tuple[int, ...]
    note: str


def explain(model: nn.Module, table: WeightMap) -> list[Line]:
    """The weight map as it applies to this model, for readers: names and shapes as in a file that we write."""
    bound = table.bind(model)
    lines = []
    for row in bound.rows:
        others = [bound.file_name(name) for name in bound.aliases.get(row.hf, [])]
        note = f"or {', '.join(others)}" if others else ""
        lines.append(Line(bound.file_name(row.hf), row.ours, row.op, row.shape, note))
    return lines


def _plan(
    bound: BoundMap, source: Source, allow_missing: list[str], leave_out: Mapping[str, str]
) -> tuple[dict[str, list[str]], LoadReport]:
    """Which tensors of the file fill which row: several, if the file holds tied names twice.

    Raises:
        CheckpointError: anything does not fit.
    """
    names, report, misfits = _Names(bound, source.names()), LoadReport(), Misfits(source.where)
    rows = {row.hf for row in bound.rows}
    first_name = {alias: first for first, others in bound.aliases.items() for alias in others}
    plan: dict[str, list[str]] = {}
    spare: dict[str, list[str]] = {}
    for name in source.names():
        today = names.today(name)
        hf = first_name.get(today, today)
        if hf in rows:
            (spare if today in bound.other_heads else plan).setdefault(hf, []).append(name)
        elif reason := names.reason_to_ignore(today):
            report.ignored[name] = reason
        else:
            misfits.unexpected[name] = tuple(source.shape(name))

    for hf, held in spare.items():  # the tensor under the name of a head that this model lacks: if under no other
        if hf in plan:
            report.ignored.update(dict.fromkeys(held, OTHER_HEAD))
        else:
            plan[hf] = held

    for row in bound.rows:
        if all(name in leave_out for name in row.ours):
            report.ignored.update(dict.fromkeys(plan.pop(row.hf, []), leave_out[row.ours[0]]))
            report.missing += row.ours
            continue
        for name in plan.get(row.hf, []):
            report.used[name] = row.ours
            if tuple(source.shape(name)) != row.shape:
                misfits.misshaped[name] = (tuple(source.shape(name)), row.shape)
                misfits.backbone_is_misshaped |= names.is_backbone(row.hf)
        if row.hf not in plan:
            if all(any(fnmatchcase(name, pattern) for pattern in allow_missing) for name in row.ours):
                report.missing += row.ours
            else:
                misfits.missing[names.in_file(row.hf)] = row.shape
                misfits.backbone_is_missing |= names.is_backbone(row.hf)
    misfits.nothing_fits = not report.used
    misfits.raise_if_any()
    return plan, report


class _Names:
    """A file's names in today's full form: with the backbone's prefix, legacy ends replaced.

    Whether the file is one of a model with a head, and so has prefixes, is decided once for all its names.
    """

    def __init__(self, bound: BoundMap, file_names: list[str]) -> None:
        table = bound.table
        self.bound, self.prefix, self.legacy = bound, table.file_prefix, table.legacy
        known = table.head_names + [name for tied in table.tied for name in tied.names]
        self.heads = [template(name) for name in known if not name.startswith(self.prefix)]
        self.head_rows = [template(name) for name in table.head_names]
        self.idle = [template(name) for name in bound.idle]
        self.ignored = [(template(ignore.hf), ignore.why) for ignore in table.ignore]
        self.prefixed = any(name.startswith(self.prefix) for name in file_names)

    def is_backbone(self, hf: str) -> bool:
        return not self.bound.has_head or not self.is_head(hf)

    def is_head(self, hf: str) -> bool:
        return not hf.startswith(self.prefix) or any(head.fullmatch(hf) for head in self.head_rows)

    def today(self, name: str) -> str:
        for legacy in self.legacy:
            if name.endswith(legacy.old):
                name = name.removesuffix(legacy.old) + legacy.new
        if not self.prefix:  # most files of this architecture go without, but some heads' have it
            return name.removeprefix(f"{self.bound.table.prefix}.")
        if self.prefixed or any(head.fullmatch(name) for head in self.heads):
            return name
        return self.prefix + name

    def in_file(self, hf: str) -> str:
        """The name that this file would use."""
        return hf if self.prefixed else hf.removeprefix(self.prefix)

    def reason_to_ignore(self, hf: str) -> str | None:
        for pattern, why in self.ignored:
            if pattern.fullmatch(hf):
                return why
        if any(pattern.fullmatch(hf) for pattern in self.idle):
            return OTHER_HEAD if self.is_head(hf) else "this model has no such part"
        if not self.bound.has_head and self.prefixed and not hf.startswith(self.prefix):
            return OTHER_HEAD
        return None


def _read(source: Source, name: str, op: Op, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    tensor = source.read(name)  # a view of the mapped file: nothing is in memory yet
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise CheckpointError(
            f"{name} in {source.where} holds numbers of type {kind}, but weights are floating-point. "
            "Quantised checkpoints are not supported: use the original one."
        )
    if isinstance(op, Same) and tensor.dtype == dtype and device.type == "cpu":
        return [tensor.contiguous()]
    return [_copy(piece, dtype, device) for piece in op.apply(source.read(name, transient=True))]


def _copy(piece: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    copy = torch.empty(piece.shape, dtype=dtype, device=device)  # before what is temporary: leaves no hole in memory
    if piece.dim() == 2 and piece.stride(0) == 1:  # transposed: several times quicker from a compact matrix
        piece = piece.t().to(dtype).contiguous().t()
    return copy.copy_(piece)


def _check_equal(source: Source, names: list[str]) -> None:
    for other in names[1:]:
        first, second = (source.read(name, transient=True) for name in (names[0], other))
        if not torch.equal(first, second):
            raise CheckpointError(
                f"{names[0]} and {other} in {source.where} should be one tensor, but differ. "
                'If the model is meant to have two, set "tie_word_embeddings": false in config.json.'
            )
