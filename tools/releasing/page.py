"""The tables of docs/checkpoints.md, made of the checkpoints' evaluation.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from releasing.entries import Table
from releasing.tables import number, rows

PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"
BEGIN, END = "<!-- checkpoints: written by tools/release.py -->", "<!-- end of checkpoints -->"


def read_evaluations(home: Path, table: Table) -> dict[str, dict[str, Any]]:
    """evaluation.json of the checkpoints that are there: those of checkpoints.toml, then those of circuits.py."""
    found = {name: home / name / "evaluation.json" for name in table.entries}
    others = sorted(home.glob("*/evaluation.json"))
    found |= {path.parent.name: path for path in others if path.parent.name not in found}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.exists()}


def told(evaluations: dict[str, dict[str, Any]]) -> str:
    """Everything between the marks."""
    total = sum(one["bytes"] for one in evaluations.values()) / 1e6
    parts = [
        f"{len(evaluations)} checkpoint{'s' * (len(evaluations) != 1)}, {total:.1f} MB together.",
        rows(("`minitransformer/`", "what it does", "model", "parameters", "MB"), map(_described, evaluations.items())),
        "### Measured",
        "“Without pretraining” is the same recipe from random weights; “baseline” is the trivial answer.",
        rows(
            ("checkpoint", "measured on", "metric", "this model", "without pretraining", "baseline", "which is"),
            [line for item in evaluations.items() for line in _measured(*item)],
        ),
        "### Made by",
        rows(("checkpoint", "command", "seed", "steps", "minutes", "cores"), _runs(evaluations)),
        "### Learnt from",
        rows(("data", "licence", "by", "checkpoints"), _data(evaluations)),
    ]
    return "\n\n".join(parts)


def write_page(evaluations: dict[str, dict[str, Any]], page: Path = PAGE) -> None:
    """Put the tables into the page."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{told(evaluations)}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


def _described(item: tuple[str, dict[str, Any]]) -> tuple[str, ...]:
    name, one = item
    return f"`{name}`", one["what"], one["class"], f"{one['parameters']:,}", f"{one['bytes'] / 1e6:.1f}"


def _measured(name: str, one: dict[str, Any]) -> list[tuple[str, ...]]:
    lines = []
    for result in one["results"]:
        metric = next(iter(result["model"]))
        values = [number(result[who][metric], metric) if who in result else "" for who in ("model", "twin", "baseline")]
        what = f"{result['data']}, {result['task']}"
        share = 100 * result["validated_with"] / result["records"]
        if share >= 1:  # a few sentences that occur twice are told in the card
            what += f" ({share:.0f} % of it was used to choose the best step)"
        lines.append((f"`{name}`", what, metric, *values, result["baseline_is"]))
    return lines


def _runs(evaluations: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Each run once: those that made a checkpoint, and those that others begin with."""
    known = {run["command"]: run for one in evaluations.values() for run in one["runs"]}
    before = {run["command"]: f"(before `{name}`)" for name, one in evaluations.items() for run in one["runs"]}
    owners = {one["runs"][-1]["command"]: f"`{name}`" for name, one in evaluations.items()}
    return [
        (
            (before | owners)[command],
            f"`{command}`",
            str(run["seed"]),
            f"{run['steps']:,}",
            f"{run['minutes']:.1f}",
            str(run["cores"]),
        )
        for command, run in known.items()
    ]


def _data(evaluations: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    sets = {one["name"]: one for evaluation in evaluations.values() for one in evaluation["data"]}
    return [
        (
            f"[{one['name']}]({one['source']})",
            one["license"],
            one["by"],
            ", ".join(f"`{name}`" for name, e in evaluations.items() if one["name"] in [d["name"] for d in e["data"]]),
        )
        for one in sets.values()
    ]
