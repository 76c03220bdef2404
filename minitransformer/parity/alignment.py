"""Whose tensor is which: a port's tensors beside the taps, by a map, by names, or by their numbers alone."""

from __future__ import annotations

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
    values: Tensor
    layout: str
    """What was done to its axes; "" for nothing."""
    by: str
    """"map", "name" or "value"."""
    plain: Tensor | None = None
    """Where the axes were exchanged though the shape is ours already: the tensor as it stands."""


@dataclass
class Alignment:
    """All of a port's tensors that have a place."""

    found: dict[str, Aligned] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    """Theirs that have no place."""
    remarks: list[str] = field(default_factory=list)


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
    pending: dict[str, Tensor] = {}
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
            targets = [(*target, "name") for target in _named(theirs, trace, by_name, kind)]
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
            piece = x if parts == 1 else x.chunk(parts, dim=-1)[part] if x.shape[-1] % parts == 0 else x
            fitted = fit(piece, trace.tensors[name])
            if fitted is None:
                result.remarks.append(
                    f"{theirs} has the shape {tuple(x.shape)}, and {name} {by_name[name].shape}: no order of axes fits"
                )
                continue
            plain = piece if fitted[1] and piece.shape == fitted[0].shape else None
            result.found[name] = Aligned(theirs, *fitted, by, plain)
            placed = True
        if not placed and x.is_floating_point():
            pending[theirs] = x
    _by_value(trace, pending, result)
    return result


_PARTS = re.compile(r"[^A-Za-z0-9]+")


def _simple(name: str) -> str:
    return ".".join(part for part in _PARTS.split(name) if part).lower()


def _ending(name: str, known: Mapping[str, Operation]) -> str:
    """The one known name that is ``name`` or ends with it."""
    if name in known:
        return name
    found = [one for one in known if one.endswith(f".{name}")]
    return found[0] if len(found) == 1 else ""


def _named(theirs: str, trace: Trace, by_name: Mapping[str, Operation], kind: str) -> list[tuple[str, int, int]]:
    """The places that a name speaks of: ours, with the part of their tensor that belongs there."""
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
    module = re.sub(r"\.outputs?(\.\d+)?$", "", theirs)
    return _modules(trace).get(module, []) or _modules(trace).get(module.partition(".")[2], [])


def _modules(trace: Trace) -> dict[str, list[tuple[str, int, int]]]:
    """Module of the checkpoint -> the tensors that it gives."""
    known: dict[str, list[tuple[str, int, int]]] | None = trace.manifest.get("_modules")
    if known is None:
        known = {}
        for operation in trace.operations:
            for role in ("weight", "table"):
                told = operation.file_parameters.get(role)
                if told is None or not told["name"].endswith(".weight") or "#" in operation.name:
                    continue
                match = re.search(r"part (\d+) of (\d+)", told["how"])
                place = (int(match[1]) - 1, int(match[2])) if match else (0, 1)
                places = known.setdefault(told["name"].removesuffix(".weight"), [])
                if match or not places:
                    places.append((operation.name, *place))
                elif operation.kind == "linear" and operation.name.endswith("logits"):
                    known.setdefault("lm_head", [(operation.name, 0, 1)])
        trace.manifest["_modules"] = known
    return known


def fit(theirs: Tensor, ours: Tensor) -> tuple[Tensor, str] | None:
    """Their tensor with its axes as ours has them, and what that took; None if nothing gives the shape.

    Of several ways the one that brings it nearest to ours is taken, and of equally good ones the first.
    """
    best: tuple[float, Tensor, str] | None = None
    for values, how in layouts(theirs, tuple(ours.shape)):
        distance = _distance(values, ours)
        if best is None or distance < 0.01 * best[0]:
            best = (distance, values, how)
            if distance < 1e-3:
                break
    return None if best is None else (best[1], best[2])


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


def _key(x: Tensor) -> int:
    return x.numel()


def _by_value(trace: Trace, pending: dict[str, Tensor], result: Alignment) -> None:
    candidates: dict[int, list[str]] = {}
    sizes = {x.numel() for x in pending.values()}
    for operation in trace.operations:
        if operation.name in trace.tensors and operation.name not in result.found:
            size = 1
            for n in operation.shape:
                size *= n
            if size in sizes:
                candidates.setdefault(size, []).append(operation.name)
    prints = {name: _fingerprint(trace.tensors[name]) for names in candidates.values() for name in names}
    pairs: list[tuple[float, int, str, str]] = []
    order = {operation.name: operation.index for operation in trace.operations}
    for theirs, x in pending.items():
        mine = _fingerprint(x)
        for name in candidates.get(x.numel(), []):
            other = prints[name]
            if len(other) == len(mine) and len(mine):
                distance = float((mine - other).pow(2).mean().sqrt() / (other.pow(2).mean().sqrt() + 1e-30))
                if distance < NEAR:
                    pairs.append((round(distance, 6), order[name], theirs, name))
    placed: set[str] = set()
    for _, _, theirs, name in sorted(pairs):
        if theirs in placed or name in result.found:
            continue
        fitted = fit(pending[theirs], trace.tensors[name])
        if fitted is not None and _distance(fitted[0], trace.tensors[name]) < 0.1:
            result.found[name] = Aligned(theirs, *fitted, "value")
            placed.add(theirs)
    result.left += [theirs for theirs in pending if theirs not in placed]
