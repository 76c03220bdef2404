"""Texts of unequal lengths through pipelines: all as their users call them, and theirs sorted by hand too."""

from __future__ import annotations

from typing import Any

from speed.compare import Bench, Group, compare

CONTESTANTS = (
    "readable:float32", "optimized:float32", "transformers:float32", "by-hand:float32", "transformers-5:float32",
)  # fmt: skip


def rows(bench: Bench) -> list[dict[str, Any]]:
    number = 16 if bench.quick else 256
    features = Group(
        title="256 texts of 3-110 words, MiniLM, feature extraction",
        checkpoint="minilm",
        kind="features",
        work={"kind": "features", "texts": number, "shortest": 3, "longest": 110, "batch": 32},
        unit="items/s",
        amount=number,
        contestants=CONTESTANTS,
        wanted={"float32": {"transformers": 2.6}},
    )
    some = 4 if bench.quick else 32
    zero_shot = Group(
        title="32 texts of 3-110 words, MiniLM, zero-shot with 10 labels",
        checkpoint="zero-shot",
        kind="zero-shot",
        work={"kind": "zero-shot", "texts": some, "shortest": 3, "longest": 110, "labels": 10, "batch": 1},
        unit="items/s",
        amount=some,
        contestants=CONTESTANTS,
        wanted={"float32": {"transformers": 2.4}},
    )
    return compare(bench, "texts", [features, zero_shot])
