"""The plot of how cost grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speed.growth_tables import series_name

COLOURS = {
    "readable:float32": "#1b9e77", "optimized:float32": "#1f78b4", "optimized:int8": "#6a3d9a",
    "transformers:float32": "#d95f02", "ctranslate2:float32": "#8c6d31",
}  # fmt: skip


LEAST_RATIO = 1.6
"""Of neighbouring ticks: closer ones would print their numbers into each other."""


def apart(sizes: list[int]) -> list[int]:
    """Those of some growing numbers that have room on a logarithmic axis; the last one is always there."""
    kept: list[int] = []
    for size in reversed(sizes):
        if not kept or kept[-1] >= LEAST_RATIO * size:
            kept.append(size)
    return kept[::-1]


def draw(growth: dict[str, Any], path: Path) -> None:
    """Three panels: tokens/s against context, tokens/s against batch, memory of the cache."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "cost", "svg.fonttype": "none", "font.size": 9})
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for panel, what, xs in ((left, "context", "lengths"), (middle, "batch", "sizes")):
        for name, values in growth[what]["series"].items():
            plain = name in COLOURS
            label = series_name(name) if plain else name
            style = {"color": COLOURS.get(name, "#777777"), "linestyle": "-" if plain else "--"}
            panel.plot(growth[what][xs], values, marker="o", markersize=3, label=label, **style)
        panel.set_xscale("log", base=2)
        panel.set_ylabel("tokens/s")
        panel.grid(alpha=0.3)
        shown = apart(growth[what][xs])
        panel.set_xticks(shown, [str(x) for x in shown])
        panel.minorticks_off()
    left.set_yscale("log")
    left.set_xlabel("tokens of context, batch 1")
    left.legend(fontsize=7)
    middle.set_xlabel("batch, 32 + 32 tokens")
    middle.set_ylim(bottom=0)

    memory = growth["cache"]
    tokens = [point["tokens"] for point in memory["points"]]
    megabytes = [point["resident"] / memory["rows"] / 1e6 for point in memory["points"]]
    right.plot(tokens, [t * memory["formula"] / 1e6 for t in tokens], color="#777777", label="formula")
    right.plot(tokens, megabytes, "o", markersize=4, color="#1b9e77", label="measured (resident)")
    right.set_xlabel("tokens in the cache")
    right.set_ylabel("MB a row, float32")
    right.grid(alpha=0.3)
    right.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
