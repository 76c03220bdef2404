"""BART-base, four beams, 256 tokens in and 64 out."""

from __future__ import annotations

from typing import Any

from speed.checkpoints import sizes
from speed.compare import Bench, Group, compare


def rows(bench: Bench) -> list[dict[str, Any]]:
    new = 8 if bench.quick else 64
    vocabulary = sizes("bart", bench.quick)["vocab_size"]
    group = Group(
        title="BART-base, 4 beams, 256 -> 64 tokens",
        checkpoint="bart",
        kind="seq2seq",
        work={"kind": "generate", "rows": 1, "prompt": 256, "new": new, "beams": 4, "vocabulary": vocabulary},
        unit="tokens/s",
        amount=new,
        contestants=(
            "readable:float32", "optimized:float32", "optimized:int8", "transformers:float32",
            "transformers-5:float32", "ctranslate2:float32", "ctranslate2:int8",
        ),
        wanted={"float32": {"transformers": 1.6}},
    )  # fmt: skip
    return compare(bench, "bart", [group])
