"""One report of everything in which a file and a model disagree, with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from minitransformer.errors import CheckpointError
from minitransformer.weights.sources import WRAPPERS

Shape = tuple[int, ...]

LINES = 12
"""Of each kind; layers that lack the same share a line."""


class MisfitError(CheckpointError):
    """The tensors of a file are not those of the model.

    Attributes:
        count: how many are missing, unexpected and of another shape, in words.
    """

    count = ""


class Misfits:
    """Collects misfits, to raise them together. Names are those of the file.

    Attributes:
        missing: name -> the shape that the model wants.
        unexpected: name -> the shape in the file.
        misshaped: name -> the shape in the file, and the one that the model wants.
        backbone_is_missing: whether more is missing than a head.
        backbone_is_misshaped: whether more than a head has another shape.
        nothing_fits: whether no name at all was recognised.
        own: our names of what is missing and lies in parts of a user's own.
        prefix: what stands before all names and must go for them to fit; None if nothing does.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.missing: dict[str, Shape] = {}
        self.unexpected: dict[str, Shape] = {}
        self.misshaped: dict[str, tuple[Shape, Shape]] = {}
        self.backbone_is_missing = False
        self.backbone_is_misshaped = False
        self.nothing_fits = False
        self.own: set[str] = set()
        self.prefix: str | None = None

    def raise_if_any(self) -> None:
        """Raise the report, if there is anything to report.

        Raises:
            CheckpointError: there is.
        """
        missing = {name: f"{shape}" for name, shape in self.missing.items()}
        unexpected = {name: f"{shape}" for name, shape in self.unexpected.items()}
        shapes = {name: f"is {found}, should be {wanted}" for name, (found, wanted) in self.misshaped.items()}
        if not (missing or unexpected or shapes):
            return
        if self.prefix:
            raise self._error(
                [
                    f"all names in {self.where} begin with {self.prefix!r}, which "
                    f"{WRAPPERS.get(self.prefix, 'a module around the model')} puts there: pass "
                    f"strip_prefix={self.prefix!r} to from_pretrained to read them without it"
                ]
            )
        parts = [f"the weights in {self.where} do not fit the model."]
        parts += _section("missing", missing, near=unexpected)
        parts += _section("unexpected", unexpected, near=missing)
        parts += _section("of another shape than the config asks for", shapes, near={})
        raise self._error(parts + self._remedy())

    def _error(self, lines: list[str]) -> MisfitError:
        error = MisfitError("\n".join(lines))
        counts = {
            "missing": len(self.missing),
            "unexpected": len(self.unexpected),
            "of another shape": len(self.misshaped),
        }
        error.count = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        return error

    def _transposed(self) -> list[str]:
        return [name for name, (found, wanted) in self.misshaped.items() if found == wanted[::-1]]

    def _remedy(self) -> list[str]:
        transposed = self._transposed()
        if (
            transposed
            and not self.missing
            and len(transposed) == sum(len(pair[0]) > 1 for pair in self.misshaped.values())
        ):
            return [
                f"These are the transposes of what this architecture's files hold ({transposed[0]} and others): a port "
                "that stores weights as (out, in) where they are (in, out), or the other way round. Square ones, whose "
                "shape does not tell, will be transposed too. Transpose them all when the file is written."
            ]
        if self.nothing_fits and self.unexpected:
            return ["No name fits: the file belongs to another architecture than config.json says."]
        if self.own:
            patterns = list(dict.fromkeys(_NUMBER.sub("*", name) for name in sorted(self.own)))
            return [
                "No file has parameters of new parts before they were trained and saved. Name those that are new and "
                f"shall be drawn: new_parameters={patterns[:6]!r}"
            ]
        if self.missing and not self.backbone_is_missing and not self.unexpected and not self.misshaped:
            return [
                "The checkpoint has no such head. Choose the class that it was trained for, or pass "
                "allow_missing_head=True to start the head from random weights and train it."
            ]
        if self.misshaped and not self.backbone_is_misshaped and not self.unexpected and not self.missing:
            return [
                "The head has another size than the config asks for, which may be for other labels. Pass new_head=True "
                "to start one of the config's size from random weights and train it."
            ]
        if self.missing and not self.unexpected and not self.misshaped:
            return [
                "The file holds only a part of this model. Choose the class that it was trained for, and the "
                "config.json that came with it."
            ]
        question = "Is this the config.json that came with these weights? Compare its sizes and numbers of layers."
        if self.unexpected and not self.missing and not self.misshaped:
            patterns = list(dict.fromkeys(_NUMBER.sub("*", name, count=1) for name in self.unexpected))
            shown = f"{patterns[:3]!r}" if len(patterns) <= 3 else f"[{patterns[0]!r}, ...]"
            return [f"{question} If the model shall go without them, pass allow_unused={shown}."]
        return [question]


def _section(title: str, entries: Mapping[str, str], near: Mapping[str, str]) -> list[str]:
    """Title and lines of one kind of misfit, each line with its near miss among ``near``."""
    if not entries:
        return []
    groups = _group(entries)
    lines = [f"  {len(entries)} {title}:"]
    for numbers, names in list(groups.values())[:LINES]:
        name = names[0]
        shown = name if len(names) == 1 else _NUMBER.sub("{" + _ranges(numbers) + "}", name, count=1)
        lines.append(f"    {shown}  {entries[name]}{_near_miss(name, entries[name], near)}")
    rest = sum(len(names) for _, names in list(groups.values())[LINES:])
    return [*lines, f"    ... and {rest} more"] if rest else lines


_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def _group(entries: Mapping[str, str]) -> dict[tuple[str, str], tuple[list[int], list[str]]]:
    """Names that differ in their first number only (a layer's) and have the same to say."""
    groups: dict[tuple[str, str], tuple[list[int], list[str]]] = {}
    for name, detail in entries.items():
        number = _NUMBER.search(name)
        numbers, names = groups.setdefault((_NUMBER.sub("#", name, count=1), detail), ([], []))
        names.append(name)
        numbers += [int(number[0])] if number else []
    return groups


def _ranges(numbers: Iterable[int]) -> str:
    """Numbers in words: 0-3,5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _near_miss(name: str, shape: str, others: Mapping[str, str]) -> str:
    """`` (near: ...)``: the name on the other side that is most alike, of the same shape if there is one."""
    alike = get_close_matches(name, others, n=5, cutoff=0.6)
    fitting = [other for other in alike if others[other] == shape] or alike
    return f"  (near: {fitting[0]}  {others[fitting[0]]})" if fitting else ""
