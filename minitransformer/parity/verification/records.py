"""What a verification says: a line a stage, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from minitransformer.parity.report import STYLE

PASSED, FAILED, LEFT_OUT = "passed", "failed", "left out"


@dataclass(frozen=True)
class Stage:
    """One thing that was looked at."""

    name: str
    state: str
    """"passed", "failed" or "left out"."""
    told: str
    """What was found, or why it was left out."""
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Verification:
    """All stages."""

    model: str
    against: str
    """What it was compared with; "nothing" where no reference is."""
    stages: list[Stage] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether no stage failed."""
        return not any(stage.state == FAILED for stage in self.stages)

    def count(self, state: str) -> int:
        """How many stages have it."""
        return sum(stage.state == state for stage in self.stages)

    @property
    def verdict(self) -> str:
        """One sentence."""
        failed = [stage.name for stage in self.stages if stage.state == FAILED]
        left = [stage.name for stage in self.stages if stage.state == LEFT_OUT]
        told = f"Wrong: {', '.join(failed)}" if failed else f"All {self.count(PASSED)} stages that could be run passed"
        return f"{told}; left out: {', '.join(left)}." if left else f"{told}."

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; infinite numbers as text."""
        stages = [asdict(stage) for stage in self.stages]
        for stage in stages:
            stage["numbers"] = {k: _plain(v) for k, v in stage["numbers"].items()}
        return {"model": self.model, "against": self.against, "same": self.same, "stages": stages}

    def __str__(self) -> str:
        width = max((len(stage.name) for stage in self.stages), default=0)
        lines = [f"{self.model}, beside {self.against}"]
        lines += [f"{stage.state:<8}  {stage.name:<{width}}  {stage.told}" for stage in self.stages]
        return "\n".join([*lines, self.verdict])

    def page(self) -> str:
        """For a browser, without a network."""
        rows = "".join(
            f'<tr class="{ {FAILED: "wrong", LEFT_OUT: "inherits"}.get(stage.state, "right") }"><td>{stage.state}</td>'
            f"<td>{escape(stage.name)}</td><td>{escape(stage.told)}</td></tr>\n"
            for stage in self.stages
        )
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Verification</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{STYLE}</style></head><body><h1>{escape(self.model)}, beside {escape(self.against)}</h1>\n"
            f'<p class="{"right" if self.same else "wrong"}">{escape(self.verdict)}</p>\n'
            f"<table><thead><tr><th></th><th>stage</th><th>found</th></tr></thead><tbody>\n{rows}</tbody></table>"
            "</body></html>\n"
        )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not abs(value) < 1e300 else value
