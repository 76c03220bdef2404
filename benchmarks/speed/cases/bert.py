"""BERT-base: eight rows of 128 tokens, where arithmetic is the limit, and one of 16."""

from __future__ import annotations

from typing import Any

from speed.checkpoints import sizes
from speed.compare import Bench, Group, compare

FLOAT32 = (
    "readable:float32", "optimized:float32", "transformers:float32", "transformers-5:float32", "ctranslate2:float32",
    "onnxruntime:float32",
)  # fmt: skip
BFLOAT16 = ("readable:bfloat16", "optimized:bfloat16", "transformers:bfloat16", "transformers-5:bfloat16")


def rows(bench: Bench) -> list[dict[str, Any]]:
    work = {"kind": "encode", "vocabulary": sizes("bert", bench.quick)["vocab_size"]}
    many = Group(
        title="BERT-base, 8 x 128 tokens",
        checkpoint="bert",
        kind="encoder",
        work=work | {"rows": 8, "length": 128},
        unit="ms",
        contestants=FLOAT32 + BFLOAT16,
        wanted={"float32": {"transformers": 1.05}, "bfloat16": {"transformers": 1.2}},
    )
    one = Group(
        title="BERT-base, 1 x 16 tokens",
        checkpoint="bert",
        kind="encoder",
        work=work | {"rows": 1, "length": 16},
        unit="ms",
        contestants=FLOAT32,
        wanted={"float32": {"onnxruntime": 1.0}},
        calls=15,
    )
    return compare(bench, "bert", [many, one])
