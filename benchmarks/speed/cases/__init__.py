"""What is compared: one file for each subject, which offers ``rows(bench)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from speed.cases import bart, bert, gpt2, start, texts, training

CASES: dict[str, Callable[[Any], list[dict[str, Any]]]] = {
    "gpt2": gpt2.rows,
    "bert": bert.rows,
    "bart": bart.rows,
    "texts": texts.rows,
    "start": start.rows,
    "training": training.rows,
}
USUAL = tuple(case for case in CASES if case != "training")
"""What "all" means; training takes as long as all of these together."""
