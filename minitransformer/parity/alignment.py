"""Whose tensor is which: a port's tensors beside the taps, by a map, by names, or by their numbers alone."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import permutations
from pathlib import Path

import torch
from torch import Tensor

from minitransformer.parity.operations import Operation
from minitransformer.parity.traces import ParityError, Trace
from minitransformer.weights.table import template

NEAR = 0.02
"""How far sorted numbers may lie apart, as a share of their size, for two tensors to be taken for one."""
FURTHEST = 1e4
"""Scores beyond are hidden by a mask, each port with a number of its own."""
POINTS = 512

LLM_VIZ = {
    "tok_emb": "embeddings.words",
    "pos_emb": "embeddings.positions",
    "x": "embeddings.sum",
    "ln1": "blocks.0.attn_normed",
    "q": "blocks.0.attn.q",
    "k": "blocks.0.attn.k",
    "v": "blocks.0.attn.v",
    "att": "blocks.0.attn.scores",
    "attSm": "blocks.0.attn.pattern",
    "y": "blocks.0.attn.mixed",
    "yProj": "blocks.0.attn.out",
    "attnResid": "blocks.0.after_attn",
    "ln2": "blocks.0.ffn_normed",
    "fc": "blocks.0.ffn.pre",
    "gelu": "blocks.0.ffn.hidden",
    "mlp": "blocks.0.ffn.out",
    "mlpResid": "blocks.0.after_ffn",
    "block{i}": "blocks.{i}.output",
    "ln_f": "decoder.final_normed",
    "lm_head": "head.logits",
}
"""llm-viz's names -> ends of ours."""


@dataclass
class Aligned:
    """A port's tensor, in the place and layout of one of ours."""

    theirs: str
    read: Callable[[], Tensor]
    """Gives it in our order of axes."""
    dtype: torch.dtype
    layout: str
    """What was done to its axes; "" for nothing."""
    by: str
    """"map", "name" or "value"."""
    plain: Callable[[], Tensor] | None = None
    """Where the axes were exchanged though the shape is ours already: gives the tensor as it stands."""


@dataclass
class Alignment:
    """All of a port's tensors that have a place."""

    found: dict[str, Aligned] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    """Theirs that have no place."""
    remarks: list[str] = field(default_factory=list)
    misfits: dict[str, str] = field(default_factory=dict)
    """Ours -> theirs of that name, which no order of axes brings into the shape."""


def read_map(path: str | Path) -> dict[str, str]:
    """A map file: TOML with ``"their.{i}.name" = "our.blocks.{i}.name"``, perhaps under ``[names]``.

    Raises:
        ParityError: it is no such file.
    """
    tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # what is no TOML, no UTF-8, or nests without end
        raise ParityError(f"the map {path} cannot be read: {error}") from error
    rows = raw.get("names", raw)
    flat = dict(_flat(rows))
    if not flat or not all(isinstance(value, str) for value in flat.values()):
        raise ParityError(f'the map {path} must have lines like "their.{{i}}.name" = "blocks.{{i}}.attn.q"')
    return flat


def _flat(rows: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in rows.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value  # type: ignore[misc]


def align(
    trace: Trace, dump: Mapping[str, Tensor], names: Mapping[str, str] | None = None, kind: str = ""
) -> Alignment:
    """Give each of their tensors a place among ours, and its axes our order.

    Args:
        trace: ours.
        dump: theirs.
        names: their name -> ours, with ``{i}`` for numbers.
        kind: the dump's format, for formats with names of their own.
    """
    result = Alignment()
    by_name = {operation.name: operation for operation in trace.operations}
    pending: dict[str, int] = {}
    wanted: dict[str, list[tuple[str, int, int, str]]] = {}
    used: set[str] = set()
    for theirs in dump:
        targets: list[tuple[str, int, int, str]] = []
        for pattern, ours in (names or {}).items():
            match = template(pattern).fullmatch(theirs)
            if match:
                used.add(pattern)
                filled = ours
                for letter, number in match.groupdict().items():
                    filled = filled.replace(f"{{{letter}}}", number)
                found = _ending(filled, by_name)
                if found:
                    targets = [(found, 0, 1, "map")]
                else:
                    result.remarks.append(f"the map sends {theirs} to {filled}, but the trace has no such tensor")
        if not targets:
            targets = [(*target, "name") for target in _named(theirs, trace, by_name, kind, dump)]
        if targets:
            wanted[theirs] = targets
    for pattern in (names or {}).keys() - used:
        result.remarks.append(f"the row {pattern!r} of the map matches no tensor of the dump")
    for theirs in dump:
        try:
            x = dump[theirs]
        except ParityError as error:
            result.remarks.append(f"{error}")
            continue
        placed = False
        for name, part, parts, by in wanted.get(theirs, []):
            if name not in trace.tensors or name in result.found:
                continue
            aligned = _aligned(dump, theirs, (part, parts), trace.tensors, name, by)
            if aligned is None:
                result.misfits[name] = theirs
                result.remarks.append(
                    f"{theirs} has the shape {tuple(x.shape)}, and {name} {by_name[name].shape}: no order of axes fits"
                )
                continue
            result.found[name] = aligned
            placed = True
        if not placed and x.is_floating_point():
            pending[theirs] = x.numel()
    _by_value(trace, dump, pending, result)
    return result


def _aligned(
    dump: Mapping[str, Tensor],
    theirs: str,
    piece: tuple[int, int],
    ours: Mapping[str, Tensor],
    name: str,
    by: str,
    near: float = math.inf,
) -> Aligned | None:
    """Their tensor, or a part of it, in the place of one of ours, if an order of axes fits and it is near enough."""
    part = _piece(dump[theirs], piece)
    how = fit(part, ours[name], near)
    if how is None:
        return None
    shape = tuple(ours[name].shape)

    def read() -> Tensor:
        return arranged(_piece(dump[theirs], piece), shape, how)

    plain = (lambda: _piece(dump[theirs], piece)) if how and tuple(part.shape) == shape else None
    return Aligned(theirs, read, part.dtype, how, by, plain)


def _piece(x: Tensor, piece: tuple[int, int]) -> Tensor:
    part, parts = piece
    return x if parts == 1 or x.shape[-1] % parts else x.chunk(parts, dim=-1)[part]


_PARTS = re.compile(r"[^A-Za-z0-9]+")


def _simple(name: str) -> str:
    return ".".join(part for part in _PARTS.split(name) if part).lower()


def _ending(name: str, known: Mapping[str, Operation]) -> str:
    """The one known name that is ``name`` or ends with it."""
    if name in known:
        return name
    found = [one for one in known if one.endswith(f".{name}")]
    return found[0] if len(found) == 1 else ""


def _named(
    theirs: str, trace: Trace, by_name: Mapping[str, Operation], kind: str, dump: Mapping[str, Tensor]
) -> list[tuple[str, int, int]]:
    """The places that a name speaks of: ours, with the part of their tensor that belongs there."""
    if theirs.startswith("outputs.") or ("." not in theirs and theirs.endswith("logits")):  # the model's scores
        scores = [name for name in by_name if name.endswith(f".{theirs.removeprefix('outputs.')}")]
        return [(scores[0], 0, 1)] if len(scores) == 1 and theirs.endswith("logits") else []
    if theirs.startswith(("inputs/", "outputs/", "gradients/")) or theirs in trace.manifest["given"]:
        return []
    if kind == "llm-viz":
        for pattern, ours in LLM_VIZ.items():
            match = template(pattern).fullmatch(theirs)
            if match:
                found = _ending(ours.replace("{i}", match.groupdict().get("i", "")), by_name)
                return [(found, 0, 1)] if found else []
    simple = _simple(theirs)
    exact = [name for name in by_name if _simple(name) == simple]
    exact = exact or [name for name in by_name if _simple(name).endswith(f".{simple}") and "." in simple]
    if len(exact) == 1:
        return [(exact[0], 0, 1)]
    if theirs.endswith((".inputs", ".inputs.args")) or ".inputs" in theirs:
        return []
    module, _, call = re.sub(r"\.outputs?(\.\d+)?$", "", theirs).partition("#")
    known = _modules(trace)
    calls = known.get(module) or known.get(module.partition(".")[2]) or []
    number = int(call) if call.isdigit() else 0
    usual = calls[number] if number < len(calls) else []
    if len(calls) < 2 or any(parts > 1 for places in calls for _, _, parts in places):
        return usual
    try:
        x = dump[theirs]
    except ParityError:  # told where it is read for good
        return usual
    for places in [usual, *calls]:  # one module may be called for several things, in any order
        for name, _, _ in places:
            if name in trace.tensors and tuple(trace.tensors[name].shape) == tuple(x.shape):
                if _distance(x, trace.tensors[name]) < NEAR:
                    return places
    fitting = [places for places in calls if by_name[places[0][0]].shape == tuple(x.shape)]
    return usual if usual in fitting or not fitting else fitting[0]


def _modules(trace: Trace) -> dict[str, list[list[tuple[str, int, int]]]]:
    """Module of the checkpoint -> for each of its calls, the tensors that it gives."""
    known: dict[str, list[list[tuple[str, int, int]]]] | None = trace.manifest.get("_modules")
    if known is None:
        known = {}
        for operation in trace.operations:
            told, bias = operation.file_parameters, operation.file_parameters.get("bias")
            weight = told.get("norm", told.get("weight", told.get("table")))  # the last that is applied
            if weight is None or not weight["name"].endswith(".weight"):
                continue
            module = weight["name"].removesuffix(".weight")
            own = bias is None or "norm" in told or bias["name"] == f"{module}.bias"
            if operation.kind == "linear" and operation.name.endswith("logits"):
                if bias is not None and not own:  # its weight is that of the embeddings
                    if not bias["name"].endswith(".bias"):
                        continue  # the module knows nothing of the bias
                    module = bias["name"].removesuffix(".bias")
                elif module in known:  # tied: the module may be that of either name
                    known["lm_head"] = [[(operation.name, 0, 1)]]
            match = re.search(r"part (\d+) of (\d+)", weight["how"])
            place = (int(match[1]) - 1, int(match[2])) if match else (0, 1)
            calls = known.setdefault(module, [])
            call = sum(any(one[1:] == place for one in places) for places in calls)
            if call == len(calls):
                calls.append([])
            calls[call].append((operation.name, *place))
        trace.manifest["_modules"] = known
    return known


def fit(theirs: Tensor, ours: Tensor, near: float = math.inf) -> str | None:
    """What brings the axes of their tensor into our order; None if nothing gives the shape, or none comes near.

    Of several ways the one that brings it nearest to ours is taken, and of equally good ones the first.
    """
    ways = list(layouts(theirs, tuple(ours.shape)))
    if len(ways) == 1 and near == math.inf:
        return ways[0][1]
    best: tuple[float, str] | None = None
    for values, how in ways:
        distance = _distance(values, ours)
        if best is None or distance < 0.01 * best[0]:
            best = (distance, how)
            if distance < 1e-3:
                break
    return None if best is None or not best[0] < near else best[1]


def arranged(x: Tensor, shape: tuple[int, ...], how: str) -> Tensor:
    """A tensor in the layout that ``fit`` has found."""
    return next(values for values, way in layouts(x, shape) if way == how)


def _distance(x: Tensor, ours: Tensor) -> float:
    x, ours = x.double().clamp(-FURTHEST, FURTHEST), ours.double().clamp(-FURTHEST, FURTHEST)
    x = x.nan_to_num()
    return float((x - ours).pow(2).mean().sqrt() / (ours.pow(2).mean().sqrt() + 1e-30))


def layouts(x: Tensor, shape: tuple[int, ...]) -> Iterator[tuple[Tensor, str]]:
    """The ways in which a tensor can be brought into a shape without a change of its numbers."""
    if tuple(x.shape) == shape:
        yield x, ""
    small, wanted = [n for n in x.shape if n != 1], [n for n in shape if n != 1]
    squeezed = x.squeeze()
    if sorted(small) == sorted(wanted):
        for order in permutations(range(len(small))):
            if [small[i] for i in order] == wanted and len(order) <= 5:
                how = "axes of length one" if list(order) == sorted(order) else f"axes in the order {order}"
                if tuple(x.shape) != shape or list(order) != sorted(order):
                    yield squeezed.permute(order).reshape(shape), how
    if len(shape) == 4:
        b, h, t, k = shape
        builders: list[tuple[tuple[int, ...], Callable[[Tensor], Tensor], str]] = [
            ((b, t, h * k), lambda y: y.reshape(b, t, h, k).transpose(1, 2), "heads side by side"),
            ((t, b, h * k), lambda y: y.reshape(t, b, h, k).permute(1, 2, 0, 3), "heads side by side, tokens first"),
            ((b, h * k, t), lambda y: y.reshape(b, h, k, t).transpose(2, 3), "heads side by side, tokens last"),
            ((b * h, t, k), lambda y: y.reshape(b, h, t, k), "batch and heads in one axis"),
        ]
        for merged, build, how in builders:
            if tuple(squeezed.shape) == tuple(n for n in merged if n != 1) and x.dim() < 4:
                yield build(squeezed), how
    flat = shape[0] * shape[1] if len(shape) == 3 else -1
    if len(shape) == 3 and tuple(squeezed.shape) == (flat, shape[2]) and shape[0] > 1:
        yield squeezed.reshape(shape), "batch and tokens in one axis"
    if x.dim() == len(shape) and tuple(x.shape) != shape:
        longer = [a >= b for a, b in zip(x.shape, shape, strict=True)]
        if all(longer) and sum(a != b for a, b in zip(x.shape, shape, strict=True)) == 1:
            yield x[tuple(slice(n) for n in shape)], f"cut from {tuple(x.shape)}, which is padded"


def _fingerprint(x: Tensor) -> Tensor:
    """Sorted sizes of the numbers at some hundred places: the same for every order of axes."""
    flat = x.detach().double().flatten().abs()
    flat = flat[flat < FURTHEST]
    if not len(flat):
        return flat
    flat = torch.sort(flat).values
    places = torch.linspace(0, len(flat) - 1, min(POINTS, len(flat))).round().long()
    return flat[places]


def _by_value(trace: Trace, dump: Mapping[str, Tensor], pending: Mapping[str, int], result: Alignment) -> None:
    """Give those that have no place by name the place of the nearest numbers.

    Args:
        trace: ours.
        dump: theirs.
        pending: theirs that have no place, and how many numbers each has.
        result: gets them.
    """
    candidates: dict[int, list[str]] = {}
    sizes = set(pending.values())
    for operation in trace.operations:
        if operation.name in trace.tensors and operation.name not in result.found:
            size = math.prod(operation.shape)
            if size in sizes:
                candidates.setdefault(size, []).append(operation.name)
    prints = {name: _fingerprint(trace.tensors[name]) for names in candidates.values() for name in names}
    pairs: list[tuple[float, int, str, str]] = []
    order = {operation.name: operation.index for operation in trace.operations}
    for theirs, size in pending.items():
        if size not in candidates:
            continue
        mine = _fingerprint(dump[theirs])
        for name in candidates[size]:
            other = prints[name]
            if len(other) == len(mine) and len(mine):
                distance = float((mine - other).pow(2).mean().sqrt() / (other.pow(2).mean().sqrt() + 1e-30))
                if distance < NEAR:
                    pairs.append((round(distance, 6), order[name], theirs, name))
    placed: set[str] = set()
    for _, _, theirs, name in sorted(pairs):
        if theirs in placed or name in result.found:
            continue
        aligned = _aligned(dump, theirs, (0, 1), trace.tensors, name, "value", near=0.1)
        if aligned is not None:
            result.found[name] = aligned
            placed.add(theirs)
    result.left += [theirs for theirs in pending if theirs not in placed]
