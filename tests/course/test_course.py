"""The course of transformers, cell by cell: what runs there runs here by one changed import, and gives the same."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("accelerate", reason="chapters 3 and 7 train with it, too")

FIRST = "chapter1_3_pipelines"
SECTIONS = [
    pytest.param(path.stem, marks=pytest.mark.slow if path.stem.startswith("chapter7_") else ())
    for path in sorted((Path(__file__).parent / "sections").glob("*.py"))
]
"""Those of chapter 7 train for minutes."""

DIFFERENT: dict[tuple[str, int], str] = {
    ("chapter7_6_causal_language_model", 5): "prints the training loss, which there counts each text's first token",
    ("chapter7_6_causal_language_model", 7): "the same: nothing predicts a text's first token",
}
"""Section and cell that give something else -> why; docs/differences.md says so, too."""
NEVER_ALIKE = {
    ("chapter6_8_block_by_block", cell): "a WordPiece trainer numbers what continues words anew in every process"
    for cell in (1, 3)
}
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
TIMES = re.compile(r"'\w*(?:_runtime|_per_second|_preparation_time)': [0-9.e+-]+(?:, )?")
"""What a training prints about the time that it took."""


@pytest.mark.parametrize("section", SECTIONS)
def test_every_cell_runs_and_gives_what_it_gives_there(classroom: Any, section: str) -> None:
    theirs, ours = (classroom.results[library][section] for library in ("transformers", "minitransformer"))
    assert len(ours) == len(theirs) > 1
    wrong = []
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert b["error"] is None, f"cell {number} of {section} does not run with transformers: {b['traceback']}"
        if (section, number) in DIFFERENT | NEVER_ALIKE:
            continue
        if a["error"] is not None:
            wrong.append(f"cell {number} fails: {a['error']}\n{a['text']}")
        else:
            told = difference(a["value"], b["value"], "value") or difference(a["printed"], b["printed"], "printed")
            if told:
                wrong.append(f"cell {number}: {told}\n{a['text']}")
    assert not wrong, "\n\n".join(wrong)


def difference(ours: Any, theirs: Any, where: str) -> str:
    """Where two values part, or nothing."""
    if isinstance(theirs, float) and isinstance(ours, int | float):
        return "" if math.isclose(ours, theirs, rel_tol=2e-4, abs_tol=2e-5) else f"{where}: {ours} for {theirs}"
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if ours.keys() != theirs.keys():
            return f"{where}: names {sorted(ours)} for {sorted(theirs)}"
        return next(filter(None, (difference(ours[n], theirs[n], f"{where}[{n}]") for n in theirs)), "")
    if isinstance(theirs, list) and isinstance(ours, list):
        if len(ours) != len(theirs):
            return f"{where}: {len(ours)} entries for {len(theirs)}: {ours!r:.300} for {theirs!r:.300}"
        pairs = enumerate(zip(ours, theirs, strict=True))
        return next(filter(None, (difference(a, b, f"{where}[{i}]") for i, (a, b) in pairs)), "")
    if isinstance(theirs, str) and isinstance(ours, str) and NUMBER.search(theirs):
        told = [TIMES.sub("", text) for text in (ours, theirs)]
        texts, numbers = [NUMBER.split(text) for text in told], [NUMBER.findall(text) for text in told]
        if texts[0] == texts[1]:
            return difference(*([float(x) for x in found] for found in numbers), where)
    return "" if ours == theirs else f"{where}: {ours!r:.300} for {theirs!r:.300}"


def test_a_cache_that_transformers_filled_serves_us_offline(classroom: Any) -> None:
    first = Path(__file__).parent / "sections" / f"{FIRST}.py"
    home = str(classroom.home / "transformers")
    asked = len(classroom.hub.requests)
    found = classroom.run("minitransformer", [first], HF_HOME=home, HF_HUB_OFFLINE="1")[FIRST]
    assert [cell["error"] for cell in found] == [None] * len(found)
    for a, b in zip(found, classroom.results["minitransformer"][FIRST], strict=True):
        assert not difference(a["value"], b["value"], "value")
    assert len(classroom.hub.requests) == asked
