"""Tables in Markdown, and numbers in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LOWER_IS_BETTER = ("perplexity", "bits_per_byte", "loss")


def better(metric: str, value: float, other: float) -> bool:
    """Whether a value beats another one."""
    return value < other if metric.endswith(LOWER_IS_BETTER) else value > other


def number(value: float, metric: str) -> str:
    """A value as people read it: rates in percent have one digit behind the point."""
    return f"{value:.2f}" if metric == "bits_per_byte" else f"{value:,.1f}"


def rows(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; columns of numbers stand to the right."""
    lines = [tuple(line) for line in lines]
    right = [all(_is_number(line[i]) for line in lines) and bool(lines) for i in range(len(head))]
    marks = ["---:" if is_right else "---" for is_right in right]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, marks, *lines))


def _is_number(cell: str) -> bool:
    return not cell or cell.split()[0].replace(",", "").replace(".", "").isdigit()
