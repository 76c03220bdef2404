"""Whether engines gave the same answer."""

from __future__ import annotations

from typing import Any


def agreement(answer: Any, reference: Any, name: str = "the reference") -> str:
    """How far an answer agrees with a reference: "equal", a share of the tokens, or the largest difference.

    Args:
        answer: nested lists of token ids or of numbers.
        reference: the same.
        name: of the reference, for answers of another shape.
    """
    ours, theirs = list(_leaves(answer)), list(_leaves(reference))
    if len(ours) != len(theirs):
        return f"{len(ours)} values, {len(theirs)} of {name}"
    if ours == theirs:
        return "equal"
    if all(isinstance(value, int) for value in ours):
        same = sum(a == b for a, b in zip(ours, theirs, strict=True))
        return f"{100 * same / len(ours):.0f} % of tokens"
    return f"within {max(abs(a - b) for a, b in zip(ours, theirs, strict=True)):.0e}"


def agrees(told: str) -> bool:
    """Whether what `agreement` told is no more than float32 rounding."""
    return told == "equal" or (told.startswith("within ") and float(told.split()[1]) < 1e-3)


def _leaves(value: Any) -> Any:
    if isinstance(value, list):
        for part in value:
            yield from _leaves(part)
    else:
        yield value
