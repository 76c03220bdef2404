"""Where a part is here that transformers calls otherwise: read off the weight maps, for errors that tell it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from torch import nn

from minitransformer.layers.part import hints
from minitransformer.weights import BACKBONE, WeightMap

_seen: dict[int, WeightMap] = {}
"""The maps of the architectures that were loaded."""


def remember(table: WeightMap) -> None:
    """Let parts that know no architecture, such as a stack, answer for this map, too."""
    _seen.setdefault(id(table), table)


def part_elsewhere(module: nn.Module, name: str) -> str:
    """A sentence that says where the part ``name`` is in ``module``; empty where the weight maps know nothing of it."""
    own: WeightMap | None = getattr(type(module), "WEIGHTS", None)
    outside: list[str] = []
    for table in [own] if own is not None else list(_seen.values()):
        if own is not None and name == table.prefix and _leads(module, ["backbone"]):
            return " Here it is .backbone; print(model) shows all parts"
        for places in _places(table).get(name, []):
            found = [path for path in (_inside(module, *place) for place in places) if path]
            if found:
                common = _common(found)
                told = [".".join(common)] if common else list(dict.fromkeys(path[0] for path in found))
                return f" Here it is .{' and .'.join(told)}; print(model) shows all parts"
            outside = outside or _common([place for place, _ in places])
    if outside and own is None and not any(word.startswith("{") for word in outside):
        return f" In the whole model it is .{'.'.join(outside)}; print(model) shows all parts"
    return ""


def _inside(module: nn.Module, place: Sequence[str], numbers: int) -> list[str]:
    """The end of ``place`` that leads somewhere from ``module``: "blocks" of "encoder.blocks", from the encoder.

    Args:
        module: where to begin.
        place: words of a name, some of them numbers to come: "{i}".
        numbers: how many numbers may lie on the way; more would lead into the parts of this one's parts.
    """
    for start in range(len(place)):
        end = place[start:]
        fits = not end[0].startswith("{") and sum(word.startswith("{") for word in end) <= numbers
        if fits and _leads(module, end):
            return list(end)
    below = [BACKBONE.removesuffix("."), *place]
    return below if _leads(module, below) else []


def _leads(module: nn.Module | None, path: Sequence[str]) -> bool:
    for word in path:
        parts = {} if module is None else module.__dict__.get("_modules", {})
        module = next(iter(parts.values()), None) if word.startswith("{") else parts.get(word)
    return module is not None


def _common(paths: Sequence[Sequence[str]]) -> list[str]:
    """The words that all paths begin with, up to a number."""
    words: list[str] = []
    for each in zip(*paths, strict=False):
        if len(set(each)) > 1:
            break
        words.append(each[0])
    while words and words[-1].startswith("{"):
        words.pop()
    return words


@cache
def _places(table: WeightMap) -> dict[str, list[list[tuple[list[str], int]]]]:
    """The last word of a part's name in transformers -> for each part so called, where its own parts are here.

    Beside each place stands how many numbers of its name come behind that word.
    """
    found: dict[str, list[list[tuple[list[str], int]]]] = {}
    for rows in (table.backbone, *table.heads.values()):
        parts: dict[str, list[tuple[list[str], int]]] = {}
        for row in rows:
            theirs = row.hf.split(".")[:-1]
            for end in range(1, len(theirs) + 1):
                numbers = sum(word.startswith("{") for word in theirs[end:])
                places = [(ours.split(".")[:-1], numbers) for ours in row.our_names]
                parts.setdefault(".".join(theirs[:end]), []).extend(places)
        for name, places in parts.items():
            found.setdefault(name.rpartition(".")[2], []).append(places)
    return found


hints.append(part_elsewhere)
