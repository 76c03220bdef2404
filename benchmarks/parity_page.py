"""What docs/parity.md keeps from one run of `make parity` to the next, and the rows that it begins with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

ROUNDING = 1e-12
"""Numbers below differ from run to run and from processor to processor."""
FACTOR = 10
"""Larger ones are the same if they are within this factor of each other."""

ARCHITECTURES = {
    "FSMT": "Transformer (2017), FSMT", "Bert": "BERT", "DistilBert": "DistilBERT", "Roberta": "RoBERTa",
    "Albert": "ALBERT", "Electra": "ELECTRA", "OpenAIGPT": "GPT", "GPT2": "GPT-2", "CTRL": "CTRL",
    "TransfoXL": "Transformer-XL", "Bart": "BART", "MBart": "mBART", "Marian": "Marian", "T5": "T5",
    "M2M100": "M2M100, NLLB", "Pegasus": "Pegasus", "MT5": "mT5", "UMT5": "umT5", "ModernBert": "ModernBERT",
    "Llama": "Llama", "Mistral": "Mistral", "Qwen2": "Qwen2", "Qwen3": "Qwen3",
}  # fmt: skip
"""How the names of an architecture's classes begin -> its name."""

Row = tuple[str, ...]


def cells(line: str) -> Row:
    """The cells of a line of a table."""
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))


def line(row: Row) -> str:
    """The other way round."""
    return f"| {' | '.join(row)} |"


class Published:
    """A page as it is now; an empty one if there is none."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8") if path.exists() else ""
        self._rows = {key(row): row for row in map(cells, self.text.splitlines()) if len(row) > 1}

    def keep(self, row: str) -> str:
        """A row, with the numbers that it has on the page where they differ by rounding only."""
        new = cells(row)
        old = self._rows.get(key(new))
        return row if old is None else line(tuple(a if same(a, b) else b for a, b in zip(old, new, strict=True)))

    def row(self, length: int, *names: str) -> str | None:
        """The row of a table of so many columns that begins with these cells, if the page has it."""
        found = self._rows.get((length, names[0], names[1] if len(names) > 1 else ""))
        return None if found is None else line(found)

    def sentence(self, begin: str) -> str | None:
        """The line that begins so."""
        return next((text for text in self.text.splitlines() if text.startswith(begin)), None)


def key(row: Row) -> tuple[int, str, str]:
    """What names a row of a table: its length, and the cells that are no numbers."""
    return len(row), row[0], "" if number(row[1]) is not None else row[1]


def number(cell: str) -> float | None:
    """A difference, or None if the cell is something else."""
    return float(cell) if re.fullmatch(r"\d+(\.\d+)?(e[+-]?\d+)?", cell) else None


def same(old: str, new: str) -> bool:
    """Whether two cells differ by rounding only."""
    a, b = number(old), number(new)
    if a is None or b is None:
        return old == new
    return max(a, b) <= ROUNDING or 0 < max(a, b) <= FACTOR * min(a, b)


def architecture(name: str) -> str:
    """The architecture of a class."""
    begin = max((begin for begin in ARCHITECTURES if name.startswith(begin)), key=len)
    return ARCHITECTURES[begin]


def summary(rows: Sequence[str]) -> list[str]:
    """A row an architecture, of the rows of its classes: how many there are, and the largest differences."""
    found: dict[str, list[Row]] = {name: [] for name in ARCHITECTURES.values()}
    for row in map(cells, rows):
        found[architecture(row[0])].append(row)
    lines = []
    for name, some in found.items():
        if some:
            columns = list(zip(*some, strict=True))
            worst = [max(column, key=lambda cell: number(cell) or 0.0) for column in columns[2:7]]
            files = "equal" if all(cell.startswith("equal") for cell in columns[8]) else "**differs**"
            lines.append(line((name, str(len(set(columns[0]))), str(len(some)), *worst, files)))
    return lines
