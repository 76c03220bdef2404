"""What a study returns: numbers whose axes have names and labels; they print, plot and save themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minitransformer.errors import StudyError, did_you_mean
from minitransformer.files import write_whole
from minitransformer.jsons import read_json

LARGEST = 2**30
"""Bytes of a file of results."""
SHOWN = 24
"""Rows and columns that a printed table has at most."""


@dataclass(repr=False)
class Result:
    """A tensor with a name for each axis and, where there are any, a label for each place on it.

    Args:
        values: the numbers.
        axes: a name for each axis of ``values``.
        labels: axis -> what stands at each place; axes without labels are numbered.
        title: what was measured, in a few words.
        about: single numbers and words that belong to the whole.

    Raises:
        StudyError: names or labels do not fit the numbers.
    """

    values: Tensor
    axes: tuple[str, ...]
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    title: str = ""
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = self.values.detach()
        self.axes = tuple(self.axes)
        self.labels = {axis: tuple(map(str, names)) for axis, names in self.labels.items()}
        if len(self.axes) != self.values.dim():
            raise StudyError(f"{len(self.axes)} axes {self.axes} for values of {self.values.dim()} dimensions")
        for axis, names in self.labels.items():
            if len(names) != self.values.shape[self._axis(axis)]:
                raise StudyError(f"axis {axis!r} has {self.values.shape[self._axis(axis)]} places, {len(names)} labels")

    def names(self, axis: str) -> tuple[str, ...]:
        """The labels along ``axis``, its numbers if it has none."""
        return self.labels.get(axis) or tuple(map(str, range(self.values.shape[self._axis(axis)])))

    def at(self, **places: int | str | slice | Sequence[int]) -> Result:
        """The part at these places: ``result.at(head=3, tap="encoder.blocks.0.attn.mixed")``.

        A number or a label drops its axis; a slice or a list keeps it. A label may be left out up to its last parts,
        so that ``blocks.0.attn.mixed`` names the tap, too, as long as only one ends so.

        Raises:
            StudyError: no such axis or label, or several labels end so.
        """
        values, axes, labels = self.values, list(self.axes), dict(self.labels)
        for axis, place in places.items():
            dim = self._axis(axis) if axis in axes else self._missing(axis)
            dim, names = axes.index(axis), self.names(axis)
            if isinstance(place, str):
                place = self._place(axis, place)
            if isinstance(place, int):
                if not -len(names) <= place < len(names):
                    raise StudyError(f"{axis} {place} does not exist: there are {len(names)}")
                values = values.select(dim, place)
                axes.remove(axis)
                labels.pop(axis, None)
                continue
            chosen = list(range(len(names)))[place] if isinstance(place, slice) else list(place)
            values = values.index_select(dim, torch.tensor(chosen, device=values.device, dtype=torch.long))
            labels[axis] = tuple(names[i] for i in chosen)
        return Result(values, tuple(axes), labels, self.title, dict(self.about))

    def mean(self, *axes: str) -> Result:
        """The mean along these axes, which are gone then."""
        dims = [self._axis(axis) for axis in axes]
        kept = tuple(axis for axis in self.axes if axis not in axes)
        labels = {axis: names for axis, names in self.labels.items() if axis in kept}
        return Result(self.values.mean(dims), kept, labels, self.title, dict(self.about))

    def top(self, k: int = 10, *, largest: bool = True) -> list[tuple[dict[str, str], float]]:
        """The ``k`` largest (or smallest) numbers, each with where it stands."""
        flat = self.values.flatten()
        best = flat.topk(min(k, len(flat)), largest=largest)
        places = [torch.unravel_index(i, self.values.shape) for i in best.indices]
        return [
            ({axis: self.names(axis)[int(i)] for axis, i in zip(self.axes, place, strict=True)}, float(value))
            for place, value in zip(places, best.values, strict=True)
        ]

    def __float__(self) -> float:
        return float(self.values)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        shape = ", ".join(f"{axis} {size}" for axis, size in zip(self.axes, self.values.shape, strict=True))
        head = " ".join(part for part in (self.title, f"({shape})" if shape else "") if part)
        told = [f"{name}: {_short(value)}" for name, value in self.about.items() if _is_short(value)]
        wide = [axis for axis, size in zip(self.axes, self.values.shape, strict=True) if size > 1]
        if len(wide) > 2:
            lines = [_line(place, value) for place, value in self.top(10)]
            return "\n".join([head, *told, "largest:", *lines])
        squeezed = self.at(**dict.fromkeys((a for a in self.axes if a not in wide), 0))
        return "\n".join([head, *told, *_table(squeezed)])

    def save(self, path: str | Path) -> None:
        """Write everything as JSON (what is no number there, NaN and infinity, as null)."""
        write_whole(path, json.dumps(self.to_dict(), ensure_ascii=False) + "\n")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "title": self.title,
            "axes": list(self.axes),
            "labels": {axis: list(names) for axis, names in self.labels.items()},
            "about": {name: _plain(value) for name, value in self.about.items()},
            "values": _plain(self.values),
        }

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read what ``save`` wrote.

        Raises:
            StudyError: the file is not of a result, or damaged.
        """
        raw = read_json(Path(path), error=StudyError, largest=LARGEST)
        try:
            values = torch.tensor(_without_null(raw["values"]), dtype=torch.float64)
            return cls(values, tuple(raw["axes"]), dict(raw["labels"]), str(raw["title"]), dict(raw["about"]))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise StudyError(f"{path} holds no result ({error}): give a file that save() wrote") from error

    def plot(self, path: str | Path | None = None, *, ax: Any = None) -> Any:
        """Draw bars for one axis, a field of colours for two; needs matplotlib.

        Args:
            path: a picture to write; by default none.
            ax: the matplotlib axes to draw on; by default new ones.

        Returns:
            The matplotlib axes.

        Raises:
            StudyError: matplotlib is missing, or more than two axes are longer than one: choose with ``at``.
        """
        wide = [axis for axis, size in zip(self.axes, self.values.shape, strict=True) if size > 1]
        if len(wide) > 2:
            raise StudyError(f"a picture has two axes, these numbers {len(wide)}: choose some by .at() or .mean()")
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise StudyError("drawing needs matplotlib: pip install matplotlib") from error
        drawn = self.at(**dict.fromkeys((a for a in self.axes if a not in wide), 0))
        values = drawn.values.to("cpu", torch.float64).numpy()
        size = (max(4.0, 0.35 * values.shape[-1] + 2.5), 0.3 * len(values) + 2) if values.ndim else (4.0, 3.0)
        figure = Figure(figsize=(min(size[0], 20.0), min(size[1], 20.0)), layout="constrained") if ax is None else None
        ax = figure.add_subplot() if figure is not None else ax
        if values.ndim == 2:
            limit = float(abs(values).max()) or 1.0
            signed = bool((values < 0).any())
            image = ax.imshow(
                values, cmap="RdBu" if signed else "viridis", vmin=-limit if signed else 0.0, vmax=limit, aspect="auto"
            )
            ax.figure.colorbar(image, ax=ax)
            ax.set_xticks(range(values.shape[1]), drawn.names(drawn.axes[1]), rotation=90)
            ax.set_yticks(range(values.shape[0]), drawn.names(drawn.axes[0]))
            ax.set_xlabel(drawn.axes[1])
            ax.set_ylabel(drawn.axes[0])
        else:
            values = values.reshape(-1)
            ax.barh(range(len(values)), values)
            if drawn.axes:
                ax.set_yticks(range(len(values)), drawn.names(drawn.axes[0]))
                ax.set_ylabel(drawn.axes[0])
            ax.invert_yaxis()
        ax.set_title(self.title)
        if path is not None:
            ax.figure.savefig(path)
        return ax

    def _axis(self, axis: str) -> int:
        return self.axes.index(axis) if axis in self.axes else self._missing(axis)

    def _missing(self, axis: str) -> int:
        raise StudyError(f"there is no axis {axis!r}.{did_you_mean(axis, self.axes)} There are {', '.join(self.axes)}.")

    def _place(self, axis: str, label: str) -> int:
        names = self.names(axis)
        found = [i for i, name in enumerate(names) if name == label]
        found = found or [i for i, name in enumerate(names) if name.endswith(f".{label}")]
        if len(found) == 1:
            return found[0]
        if found:
            raise StudyError(f"{axis} {label!r} stands at several places: {found}")
        raise StudyError(f"no {axis} is called {label!r}.{did_you_mean(label, names)}")


def _plain(value: Any) -> Any:
    """``value`` as JSON knows it."""
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | bool) or value is None else str(value)


def _without_null(values: Any) -> Any:
    if isinstance(values, list):
        return [_without_null(value) for value in values]
    return float("nan") if values is None else values


def _is_short(value: Any) -> bool:
    return isinstance(value, str | int | float) or (isinstance(value, Tensor) and value.numel() == 1)


def _short(value: Any) -> str:
    return f"{float(value):.4g}" if isinstance(value, float | Tensor) else str(value)


def _line(place: Mapping[str, str], value: float) -> str:
    return f"  {value: .4f}  " + "  ".join(f"{axis} {name}" for axis, name in place.items())


def _table(result: Result) -> list[str]:
    """At most two axes, as lines of text."""
    values = result.values
    if values.dim() == 0:
        return [f"  {float(values): .4f}"]
    rows = list(result.names(result.axes[0]))[:SHOWN]
    columns = list(result.names(result.axes[1]))[:SHOWN] if values.dim() == 2 else [""]
    grid = values.reshape(values.shape[0], -1)[: len(rows), : len(columns)].tolist()
    cells = [[f"{value:.3f}" if isinstance(value, float) else str(value) for value in row] for row in grid]
    heads = [name[-10:] for name in columns]
    widths = [max(len(heads[i]), *(len(row[i]) for row in cells)) for i in range(len(heads))] if cells else []
    first = max(map(len, rows), default=0)
    lines = [" " * first + "".join(f"  {head:>{width}}" for head, width in zip(heads, widths, strict=True))]
    lines = lines if any(heads) else []
    for name, row in zip(rows, cells, strict=True):
        lines.append(f"{name:<{first}}" + "".join(f"  {cell:>{w}}" for cell, w in zip(row, widths, strict=True)))
    hidden = values.shape[0] - len(rows), (values.shape[1] if values.dim() == 2 else 1) - len(columns)
    return [*lines, *([f"... {hidden[0]} more rows, {hidden[1]} more columns"] if any(hidden) else [])]
