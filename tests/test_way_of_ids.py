"""How much a reader meets on the way of ``input_ids`` through BERT: no more than was agreed, and less is welcome."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tools"))

from way_of_ids import told, way_through_bert  # noqa: E402

FILES, LINES, LINES_WITHOUT_BOUNDARY = 14, 450, 340


def test_the_way_through_bert_is_short():
    way = way_through_bert()
    text = told(way)
    print(text)
    assert len(way) <= FILES and sum(map(len, way.values())) <= LINES, text
    inside = sum(len(lines) for file, lines in way.items() if not file.endswith("boundary.py"))
    assert inside <= LINES_WITHOUT_BOUNDARY, text


def test_the_way_meets_no_guests():
    """Neither what other architectures need, nor what optimises or compares models."""
    files = set(way_through_bert())
    assert {"models/bert.py", "layers/attention.py", "layers/blocks.py"} <= files
    assert all(file.startswith(("layers/", "models/common/")) or file == "models/bert.py" for file in files), files
    guests = {"layers/cache.py", "models/common/caches.py", "models/common/habits.py", "models/common/vectors.py"}
    assert not files & guests
