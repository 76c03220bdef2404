"""What a run of ``make parity`` changes on its page: what it measured anew, and no more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from models.twins import TWINS

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks"))

from parity_page import ARCHITECTURES, Published, architecture, cells, same, summary  # noqa: E402

PAGE = ROOT / "docs" / "parity.md"
LINES = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
NAMES = {twin.name for twin in TWINS}
TWIN_ROWS = [line for line in LINES if len(cells(line)) == 9 and cells(line)[0] in NAMES]


def test_the_page_begins_with_a_row_an_architecture() -> None:
    lines = [cells(line) for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert [row[0] for row in lines[1 : 1 + len(ARCHITECTURES)]] == list(ARCHITECTURES.values())
    assert [f"| {' | '.join(row)} |" for row in lines[1 : 1 + len(ARCHITECTURES)]] == summary(TWIN_ROWS)
    assert sum(int(row[2]) for row in lines[1 : 1 + len(ARCHITECTURES)]) == len(TWIN_ROWS) > 100


def test_every_twin_belongs_to_an_architecture() -> None:
    assert {architecture(twin.name) for twin in TWINS} == set(ARCHITECTURES.values())
    assert architecture("MBartModel") == "mBART" and architecture("DistilBertModel") == "DistilBERT"


def test_rounding_rewrites_nothing() -> None:
    published = Published(PAGE)
    assert [published.keep(row) for row in TWIN_ROWS] == TWIN_ROWS
    noise = [row.replace("e-16", "e-15").replace("| 0 |", "| 3e-16 |") for row in TWIN_ROWS]
    assert [published.keep(row) for row in noise] == TWIN_ROWS


@pytest.mark.parametrize(
    ("old", "new", "equal"),
    [
        ("0", "9e-13", True), ("2e-15", "0", True), ("3e-07", "1e-06", True), ("equal", "equal", True),
        ("0", "2e-12", False), ("1e-07", "2e-06", False), ("3e-16", "1e-05", False), ("equal", "**differs**", False),
        ("", "1e-16", False), ("1e-05", "0", False),
    ],
)  # fmt: skip
def test_what_counts_as_rounding(old: str, new: str, equal: bool) -> None:
    assert same(old, new) == equal


def test_a_real_difference_is_written(tmp_path: Path) -> None:
    rows = ["| BertModel |  | 0 | 2e-16 | 0 |  |  | 1e-10 | equal |", "| float32 | 3e-07 | 0 | 0 |"]
    (tmp_path / "page.md").write_text("\n".join(rows))
    published = Published(tmp_path / "page.md")
    row = "| BertModel |  | 4e-16 | 5e-03 | 0 |  |  | 1e-10 | **differs** |"
    assert published.keep(row) == "| BertModel |  | 0 | 5e-03 | 0 |  |  | 1e-10 | **differs** |"
    assert published.keep("| float32 | 9e-07 | 2e-04 | 0 |") == "| float32 | 3e-07 | 2e-04 | 0 |"
    assert published.keep("| NewModel |  | 1 |") == "| NewModel |  | 1 |"


def test_what_is_not_measured_stays(tmp_path: Path) -> None:
    line = Published(PAGE).sentence("STS benchmark")
    assert line is not None and "Spearman" in line
    assert Published(tmp_path / "nothing.md").sentence("STS benchmark") is None
