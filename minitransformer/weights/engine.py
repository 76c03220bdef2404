"""Carrying tensors along a weight map: into a model, out of it, and as a table for readers.

Loading is planned from names and shapes alone. If anything does not fit, one error lists all of it and the model is
left as it was; otherwise tensor after tensor is read and moved, so that memory holds about one copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import CheckpointError
from minitransformer.weights.misfits import Misfits
from minitransformer.weights.ops import Op, Same, Shape
from minitransformer.weights.rows import Legacy
from minitransformer.weights.sources import Source, strange_prefix
from minitransformer.weights.table import BoundMap, WeightMap, template

OTHER_HEAD = "the head of another task"

LEGACY = (Legacy(".gamma", ".weight"), Legacy(".beta", ".bias"))
"""How files that came from TensorFlow call the parameters of norms, in every architecture."""
HEADS = tuple(
    f"{name}."
    for name in (
        "multiple_choice_head sequence_summary summary classifier classification_head score qa_outputs cls lm_head "
        "generator_predictions generator_lm_head discriminator_predictions predictions sop_classifier "
        "pre_classifier vocab_transform vocab_layer_norm vocab_projector crit head"
    ).split()
)
"""How the names of heads begin, of all tasks and architectures; a model has a use for its own only."""
BUFFERS = {
    "position_ids": "the numbers 0, 1, 2, ...",
    "token_type_ids": "zeros, as a buffer",
    "embed_positions._float_tensor": "says of which type the sinusoids are",
    "final_logits_bias": OTHER_HEAD,
}
"""Ends of names that are no weights, and why they are not."""


@dataclass
class LoadReport:
    """What became of every tensor."""

    used: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Name in the file -> our parameters."""
    ignored: dict[str, str] = field(default_factory=dict)
    """Name in the file -> the reason why it was not used."""
    missing: list[str] = field(default_factory=list)
    """Our parameters that the file lacks or shall not fill, where that was allowed. They are left as they were."""
    misshaped: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    """Name in the file -> its shape there, and the one that the model wants; where that was allowed."""

    def as_dictionary(self) -> dict[str, Any]:
        """Under the names that transformers has for it."""
        return {
            "missing_keys": list(self.missing),
            "unexpected_keys": list(self.ignored),
            "mismatched_keys": [(name, found, wanted) for name, (found, wanted) in self.misshaped.items()],
            "error_msgs": [],
        }


@torch.inference_mode(False)
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
    allow_unused: Iterable[str] = (),
    allow_misshaped: bool = False,
    new: Iterable[str] = (),
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
        allow_unused: shell patterns of names in the file for which the model need not have a use.
        allow_misshaped: whether a tensor of another shape counts as missing, rather than as an error.
        new: names of our parameters that the source may lack, or hold in another shape.

    Returns:
        What was used, ignored (and why), missing and of another shape.

    Raises:
        CheckpointError: tensors are unexpected, missing, mis-shaped, or tied but different. The model is unchanged.
    """
    bound = table.bind(model)
    allowed = _Allowed(list(allow_missing), list(allow_unused), allow_misshaped, set(new))
    plan, report = _plan(bound, source, allowed, leave_out or {})
    for names in plan.values():
        _check_equal(source, names)

    parameters = dict(model.named_parameters(remove_duplicate=False))
    filled: dict[int, nn.Parameter] = {}  # id of an old parameter -> what takes its place
    for row in bound.rows:
        if row.hf in plan:
            kept = any(fnmatchcase(row.ours[0], pattern) for pattern in keep_float32)
            row_dtype = torch.float32 if kept else dtype
            pieces = _read(source, plan[row.hf][0], row.op, row_dtype, torch.device(device))
            for name, piece in zip(row.ours, pieces, strict=True):
                old = parameters[name]
                filled[id(old)] = nn.Parameter(piece, requires_grad=old.requires_grad)
    for name, old in parameters.items():  # shared parameters come up under each of their names
        if id(old) in filled:
            owner, _, leaf = name.rpartition(".")
            model.get_submodule(owner)._parameters[leaf] = filled[id(old)]
    return report


def export_weights(
    model: nn.Module, table: WeightMap, state_dict: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The model's tensors under the names of the file format; of tied ones only those names that are to be written.

    Args:
        model: says what there is.
        table: the weight map of the model's architecture.
        state_dict: tensors under our names to take instead of the model's.

    Raises:
        CheckpointError: ``state_dict`` lacks some.
    """
    bound = table.bind(model)
    parameters: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    if state_dict is not None:
        lacking = [name for row in bound.rows for name in row.ours if name not in state_dict]
        if lacking:
            raise CheckpointError(f"the state_dict lacks {', '.join(lacking[:5])}: it must hold the model's own names")
        parameters = dict(state_dict)
    tensors = {}
    for row in bound.rows:
        tensor = row.op.revert([parameters[name].detach() for name in row.ours]).contiguous()
        tensors[bound.file_name(row.hf)] = tensor
        tensors.update({bound.file_name(copy): tensor.clone() for copy in bound.copies.get(row.hf, [])})
    return tensors


def under_our_names(model: nn.Module, table: WeightMap, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict under our names, if it is one under those of the file format, which a script for transformers has.

    What has no place keeps its name, so that ``load_state_dict`` counts it as unexpected; buffers that hold no
    learnt numbers are left out, and tied names count once.

    Args:
        model: whose state it is.
        table: the weight map of the model's architecture.
        tensors: the state dict, of either kind.
    """
    names_of: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names_of.setdefault(id(parameter), []).append(name)
    same = {name: names for names in names_of.values() for name in names}
    own = {*same, *(name for name, _ in model.named_buffers())}
    if own.issuperset(tensors):
        return dict(tensors)
    bound = table.bind(model)
    names, rows = _Names(bound, list(tensors)), {row.hf: row for row in bound.rows}
    first_name = {alias: first for first, others in bound.aliases.items() for alias in others}
    found: dict[str, Any] = {}
    for name, tensor in tensors.items():
        today = names.today(name)
        row = rows.get(first_name.get(today, today))
        if row is not None and isinstance(tensor, Tensor):
            fits = tuple(tensor.shape) == row.shape
            pieces = row.op.apply(tensor) if fits else [tensor] * len(row.ours)  # else PyTorch tells both shapes
            found.update({each: x for ours, x in zip(row.ours, pieces, strict=True) for each in same[ours]})
        elif name in own or names.reason_to_ignore(today) in (None, OTHER_HEAD):
            found[name] = tensor
    return found


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


@dataclass(frozen=True)
class _Allowed:
    """What a caller lets pass."""

    missing: list[str]
    unused: list[str]
    misshaped: bool
    new: set[str]


def _plan(
    bound: BoundMap, source: Source, allowed: _Allowed, leave_out: Mapping[str, str]
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
        elif any(fnmatchcase(name, pattern) for pattern in allowed.unused):
            report.ignored[name] = "the caller lets it stay unused"
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
        other_shapes = {name: tuple(source.shape(name)) for name in plan.get(row.hf, [])}
        other_shapes = {name: shape for name, shape in other_shapes.items() if shape != row.shape}
        is_new = allowed.new.issuperset(row.ours)
        if other_shapes and (allowed.misshaped or is_new):
            del plan[row.hf]
            report.misshaped.update({name: (shape, row.shape) for name, shape in other_shapes.items()})
            report.missing += row.ours
            continue
        for name in plan.get(row.hf, []):
            report.used[name] = row.ours
            if name in other_shapes:
                misfits.misshaped[name] = (other_shapes[name], row.shape)
                misfits.backbone_is_misshaped |= names.is_backbone(row.hf)
        if row.hf not in plan:
            if is_new or all(any(fnmatchcase(name, pattern) for pattern in allowed.missing) for name in row.ours):
                report.missing += row.ours
            else:
                misfits.missing[names.in_file(row.hf)] = row.shape
                misfits.backbone_is_missing |= names.is_backbone(row.hf)
                misfits.own.update(row.ours if row.hf in bound.own else ())
    misfits.nothing_fits = not report.used
    if misfits.unexpected:
        misfits.prefix = strange_prefix(source.names(), partial(_fitting, bound, rows | set(first_name)))
    misfits.raise_if_any()
    return plan, report


def _fitting(bound: BoundMap, known: set[str], file_names: list[str]) -> int:
    """How many of these names would have a use."""
    names = _Names(bound, file_names)
    return sum(1 for name in map(names.today, file_names) if name in known or names.reason_to_ignore(name))


class _Names:
    """A file's names in today's full form: with the backbone's prefix, legacy ends replaced.

    Whether the file is one of a model with a head, and so has prefixes, is decided once for all its names.
    """

    def __init__(self, bound: BoundMap, file_names: list[str]) -> None:
        table = bound.table
        self.bound, self.prefix, self.legacy = bound, table.file_prefix, [*table.legacy, *LEGACY]
        known = table.head_names + [name for tied in table.tied for name in tied.names]
        known += [name for name in bound.own if bound.has_head and name.startswith("head.")]
        self.heads = [template(name) for name in known if not name.startswith(self.prefix)]
        self.head_rows = [template(name) for name in table.head_names]
        self.idle = [template(name) for name in bound.idle]
        self.ignored = [(template(ignore.hf), ignore.why) for ignore in table.ignore]
        self.prefixed = any(name.startswith(self.prefix) for name in file_names)
        self.other = "" if self.prefixed or table.also is None else f"{table.also}."

    def is_backbone(self, hf: str) -> bool:
        return not self.bound.has_head or not self.is_head(hf)

    def is_head(self, hf: str) -> bool:
        return not hf.startswith(self.prefix) or any(head.fullmatch(hf) for head in self.head_rows)

    def today(self, name: str) -> str:
        for legacy in self.legacy:
            if name.endswith(legacy.old):
                name = name.removesuffix(legacy.old) + legacy.new
        if self.other and name.startswith(self.other):
            return self.prefix + name.removeprefix(self.other)
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
        inside = hf.removeprefix(self.prefix)
        if inside.startswith(HEADS):
            return OTHER_HEAD
        return next((why for ending, why in BUFFERS.items() if inside == ending or hf.endswith(f".{ending}")), None)


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
