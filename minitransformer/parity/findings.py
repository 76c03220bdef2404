"""What a comparison found: a row for each of their tensors, the first wrong operation, and why it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Row:
    """One of their tensors."""

    name: str
    theirs: str
    kind: str
    by: str
    """How it was found: "map", "name" or "value"."""
    layout: str
    inherited: float
    """Error against ours."""
    own: float
    """Error against our operation on their inputs."""
    noise: float
    """What rounding makes of it in their type."""
    covers: list[str]
    """The operations between their tensors and this one, which it speaks of all together."""
    state: str
    """"right", "inherits" or "wrong"."""

    @property
    def times(self) -> float:
        """The own error in units of noise."""
        return self.own / self.noise


@dataclass
class Comparison:
    """What is known of a port."""

    rows: list[Row]
    first: str | None
    """The first wrong operation."""
    cause: str | None
    """Why it is wrong: what brings its error down to the noise; "unknown" if nothing that is known does."""
    dtype: str
    kind: str
    left: list[str] = field(default_factory=list)
    """Their tensors that have no place."""
    remarks: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def same(self) -> bool:
        """Whether no operation is wrong."""
        return self.first is None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; infinite numbers as text."""
        rows = [asdict(row) | {"times": row.times} for row in self.rows]
        plain = [
            {k: str(v) if isinstance(v, float) and not abs(v) < 1e300 else v for k, v in row.items()} for row in rows
        ]
        return {
            "same": self.same,
            "first_wrong": self.first,
            "cause": self.cause,
            "dtype": self.dtype,
            "format": self.kind,
            "operations": plain,
            "left": self.left,
            "remarks": self.remarks,
        }

    def __str__(self) -> str:
        width = max((len(row.name) for row in self.rows), default=0)
        lines = [f"{'operation':<{width}}  inherited      own   x noise"]
        for row in self.rows:
            mark = {"right": "", "inherits": "inherits", "wrong": "WRONG"}[row.state]
            told = f"{row.name:<{width}}  {row.inherited:9.1e} {row.own:8.1e} {row.times:9.3g}  {mark}"
            lines.append(told.rstrip())
        lines += [f"note: {remark}" for remark in self.remarks]
        if self.left:
            shown = ", ".join(self.left[:8]) + (" ..." if len(self.left) > 8 else "")
            lines.append(f"note: {len(self.left)} tensors have no place in the trace: {shown}")
        lines.append(self.verdict)
        return "\n".join(lines)

    @property
    def verdict(self) -> str:
        """One sentence or two."""
        if self.first is None:
            return f"All {len(self.rows)} tensors that could be compared are right, up to rounding in {self.dtype}."
        row = next(row for row in self.rows if row.name == self.first)
        told = f"The first wrong operation is {row.name} ({row.theirs} of the dump)"
        inside = [name for name in row.covers if name != row.name]
        if inside:
            told += f", or one of those before it that the dump lacks: {', '.join(inside[:6])}"
            told += " ..." if len(inside) > 6 else ""
        why = "the cause is unknown" if self.cause == UNKNOWN else f"cause: {self.cause}"
        return f"{told}; {why}."
