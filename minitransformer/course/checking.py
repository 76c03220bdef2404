"""``check``: a learner's part, put into a real checkpoint; right, or the first wrong operation and its likely cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minitransformer.course.exercises import EXERCISES, Exercise, Part
from minitransformer.errors import MinitransformerError, StudyError, did_you_mean
from minitransformer.parity.findings import UNKNOWN

CLOSE = 1e-10
"""How far numbers may be from ours, relative to the largest; everything is computed in float64."""
ROUNDED = 1e-5
"""How far they may be if a part computes in float32, which is said."""
ROUNDING = "the part computes in float32; keep the type of what comes in, which is float64"


@dataclass(frozen=True, repr=False)
class Verdict:
    """What is known of a part. True if it is right; printed, a sentence."""

    exercise: str
    first: str | None = None
    """The first wrong operation or result."""
    cause: str | None = None
    error: float = 0.0
    """The largest difference from ours, relative to the largest of our numbers."""

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return self.first is None

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        if self.right:
            return f"{self.exercise}: right, all numbers within {CLOSE:g} of the library's."
        cause = (
            "unknown: none of the mistakes that are known gives these numbers" if self.cause == UNKNOWN else self.cause
        )
        return f"{self.exercise}: not yet. The first wrong operation is {self.first}; likely cause: {cause}."


def check(part: Part, exercise: str | None = None) -> Verdict:
    """Put a part into the checkpoint of its exercise and compare what comes of it with the library, in float64.

    Args:
        part: the function that the exercise asks for.
        exercise: its name; by default that of the function, with or without ``my_`` before it.

    Returns:
        A verdict, which prints itself.

    Raises:
        StudyError: there is no such exercise, or the part is no function.
    """
    one = find(part, exercise)
    ours = one.run(one.solution)
    try:
        theirs = one.run(part)
    except MinitransformerError:
        raise
    except Exception as error:  # noqa: BLE001  whatever a learner's code does
        told = _mistake_that(one, error)
        return Verdict(one.name, one.name, told or f"it raises {type(error).__name__}: {error}", float("inf"))
    if not set(ours) & set(theirs):
        return Verdict(one.name, one.name, f"it gives none of {', '.join(list(ours)[:3])} ...", float("inf"))
    place, distance = _first_difference(ours, theirs)
    if place is None:
        return Verdict(one.name)
    cause: str = UNKNOWN
    first: str = place
    if one.compare is not None:
        found = one.compare(theirs)
        first, cause = found.first or place, found.cause or UNKNOWN
    if distance <= ROUNDED:
        return Verdict(one.name, first, ROUNDING, distance)
    known = [why for why, mistake in one.mistakes.items() if _same(one, mistake, theirs)]
    return Verdict(one.name, first, known[0] if known else cause, distance)


def find(part: Part, exercise: str | None = None) -> Exercise:
    """The exercise that a part is meant for."""
    if not callable(part):
        raise StudyError(f"check takes the function that an exercise asks for, not {type(part).__name__}")
    name = str(exercise or getattr(part, "__name__", ""))
    name = name.removeprefix("my_") if name not in EXERCISES else name
    if name not in EXERCISES:
        known = ", ".join(EXERCISES)
        raise StudyError(
            f"no exercise is called {name!r}.{did_you_mean(name, EXERCISES)} Name the function as the exercise does, "
            f"or pass exercise=, one of: {known}"
        )
    return EXERCISES[name]


def _first_difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Any]) -> tuple[str | None, float]:
    for name, right in ours.items():
        if name not in theirs or name.startswith("_"):  # the latter only help to tell mistakes apart
            continue
        error = difference(right, theirs[name])
        if not error <= CLOSE:
            return name, error
    return None, 0.0


def difference(right: Tensor, found: Any) -> float:
    """The largest difference, relative to the largest of ours; infinite if the shapes differ."""
    x = torch.as_tensor(found).detach().double()
    right = right.detach().double()
    if x.shape != right.shape or not torch.equal(x.isfinite(), right.isfinite()):
        return float("inf")
    finite = right.isfinite()
    if not torch.equal(x[~finite].nan_to_num(), right[~finite].nan_to_num()):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    return float((x[finite] - right[finite]).abs().max() / right[finite].abs().max().clamp(min=1e-300))


def _same(one: Exercise, mistake: Part, theirs: Mapping[str, Any]) -> bool:
    try:
        made = one.run(mistake)
    except Exception:  # noqa: BLE001  this mistake raises, theirs did not
        return False
    return all(difference(x, theirs[name]) <= ROUNDED for name, x in made.items() if name in theirs)


def _mistake_that(one: Exercise, error: Exception) -> str | None:
    """A known mistake that raises the very same error."""
    for why, mistake in one.mistakes.items():
        try:
            one.run(mistake)
        except Exception as other:  # noqa: BLE001
            if (type(other), str(other)) == (type(error), str(error)):
                return f"{why} (it raises {type(error).__name__})"
    return None
