"""How cost grows, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from speed.engines import ENGINES


def series_name(name: str) -> str:
    """ "optimized:int8" as a reader would say it."""
    engine, _, dtype = name.partition(":")
    return f"{ENGINES[engine].title}, {dtype}"


def growth_page(growth: dict[str, Any]) -> str:
    """Tables of tokens/s against context and batch, and what the cache takes."""
    contexts = [str(n) for n in growth["context"]["lengths"]]
    batches = [str(n) for n in growth["batch"]["sizes"]]
    memory = growth["cache"]
    last = memory["points"][-1]
    parts = [
        f"GPT-2 124M, tokens/s at a context of so many tokens, batch 1 ({growth['date']}, {growth['rounds']} runs):",
        _table(contexts, growth["context"]["series"]),
        "The same against the batch, all rows together, 32 + 32 tokens:",
        _table(batches, growth["batch"]["series"]),
        f"The cache takes 2 x {memory['layers']} layers x {memory['width']} numbers for each token of each row: "
        f"{memory['formula']:,} bytes in float32. Measured as resident memory with {memory['rows']} rows of "
        f"{last['tokens']:,} tokens: {memory['measured']:,.0f} bytes a token.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], series: dict[str, list[float | None]]) -> str:
    lines = [f"| engine | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for name, values in series.items():
        label = name if "cache" in name else series_name(name)
        lines.append(f"| {label} | {' | '.join('-' if v is None else f'{v:.4g}' for v in values)} |")
    return "\n".join(lines)
