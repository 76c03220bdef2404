"""The results file: read, extended, and told in results.md and docs/performance.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from speed.cases import CASES
from speed.engines import ENGINES
from speed.growth_tables import growth_page
from speed.machine import facts
from speed.options import ROOT
from speed.tables import page

HERE = ROOT / "benchmarks"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- results: written by `make bench` -->", "<!-- end of results -->"
SAME = ("processor", "cores", "threads", "features")
Content = dict[str, Any]


def begin(out: Path | None, threads: int, quick: bool) -> Content:
    """The facts of this machine, and what was measured on the same before."""
    content: Content = {"machine": facts(threads, quick), "versions": {}, "rows": []}
    if out and (out / "results.json").exists():
        before = json.loads((out / "results.json").read_text())
        if "rows" in before and all(before["machine"].get(key) == content["machine"][key] for key in SAME):
            return before | {"machine": content["machine"]}
    return content


def merged(content: Content, case: str, rows: list[dict[str, Any]]) -> Content:
    """The results with those of a case replaced, in the order of the cases."""
    order = list(CASES)
    kept = [row for row in content["rows"] if row["case"] != case]
    versions = content["versions"] | {engine: v for row in rows for engine, v in row["versions"].items()}
    return content | {
        "versions": {engine: versions[engine] for engine in ENGINES if engine in versions},
        "rows": sorted(kept + rows, key=lambda row: order.index(row["case"])),
    }


def write(content: Content, out: Path) -> None:
    """results.json and results.md; and the page of the documentation, for a run that goes to the usual place."""
    out.mkdir(parents=True, exist_ok=True)
    told = page(content) if content["rows"] else ""
    growth = growth_page(content["growth"]) if "growth" in content else ""
    (out / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "results.md").write_text("\n".join(part for part in (told, growth) if part))
    if out == HERE:
        picture = "![Cost against context and batch](images/cost.svg)\n\n" if growth else ""
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{told}\n{picture}{growth}{END}{rest.split(END)[1]}")
