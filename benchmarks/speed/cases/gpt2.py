"""GPT-2 124M, greedy, 32 tokens in and 64 out: one row, where memory is the limit, and eight."""

from __future__ import annotations

from typing import Any

from speed.checkpoints import sizes
from speed.compare import Bench, Group, compare


def rows(bench: Bench) -> list[dict[str, Any]]:
    size = sizes("gpt2", bench.quick)
    new = 8 if bench.quick else 64
    work = {"kind": "generate", "prompt": 32, "new": new, "vocabulary": size["vocab_size"]}
    one = Group(
        title="GPT-2 124M, greedy, 32 + 64 tokens, batch 1",
        checkpoint="gpt2",
        kind="causal",
        work=work | {"rows": 1},
        unit="tokens/s",
        amount=new,
        contestants=(
            "readable:float32", "optimized:float32", "compiled:float32", "optimized:bfloat16", "compiled:bfloat16",
            "optimized:int8", "compiled:int8",
            "transformers:float32", "transformers:bfloat16", "transformers-5:float32", "transformers-5:bfloat16",
            "ctranslate2:float32", "ctranslate2:int8",
        ),
        wanted={"float32": {"transformers": 1.4, "limit": 0.85}, "int8": {"ctranslate2": 1.8}},
        bytes_read={dtype: bytes_per_token(size, dtype) for dtype in ("float32", "bfloat16", "int8")},
    )  # fmt: skip
    eight = Group(
        title="GPT-2 124M, greedy, 32 + 64 tokens, batch 8",
        checkpoint="gpt2",
        kind="causal",
        work=work | {"rows": 8},
        unit="tokens/s",
        amount=8 * new,
        contestants=(
            "readable:float32", "optimized:float32", "readable:bfloat16", "optimized:bfloat16", "optimized:int8",
            "transformers:float32", "transformers:bfloat16", "transformers-5:float32", "transformers-5:bfloat16",
            "ctranslate2:float32", "ctranslate2:int8",
        ),
        wanted={"float32": {"transformers": 1.15}, "bfloat16": {"transformers": 1.4}},
    )  # fmt: skip
    return compare(bench, "gpt2", [one, eight])


def bytes_per_token(size: dict[str, Any], dtype: str) -> int:
    """What a step reads of the weights: all matrices once, the vocabulary's too; biases and norms stay float32.

    The keys and values of the context are not counted: at 96 tokens they are 1 % of the float32 weights.
    """
    width, layers, vocabulary = size["n_embd"], size["n_layer"], size["vocab_size"]
    matrices = layers * 12 * width * width + vocabulary * width
    outputs = layers * 9 * width + vocabulary  # rows of all matrices: each has a scale in int8
    vectors = layers * (9 * width + 4 * width) + 2 * width
    each = {"float32": 4, "bfloat16": 2, "int8": 1}[dtype]
    return matrices * each + vectors * 4 + (outputs * 4 if dtype == "int8" else 0)
