"""docs/taps.md tells the truth: its tables against the taps of all architectures and heads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import Twin, inputs_for

from minitransformer.layers import tap_names, trace
from minitransformer.models.auto import ARCHITECTURES, architecture
from minitransformer.models.common.base import PretrainedModel

PAGE = Path(__file__).parents[2] / "docs" / "taps.md"


def documented() -> dict[str, str]:
    """Names in the page's tables, and the axes that it tells."""
    rows = [line.strip("|").split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    axes = [" ".join(re.split(r",? +", row[1].strip())) for row in rows]
    return {name: a for a, row in zip(axes, rows, strict=True) for name in re.findall(r"`(.+?)`", row[0])}


def general(name: str) -> str:
    """A tap's name as the page has it: of any block, any stack, any side."""
    name = re.sub(r"^(.*\.)?blocks\.\d+\.", "", name)
    name = re.sub(r"^cross_attn\.", "attn.", name)
    name = re.sub(r"^(backbone\.)?((encoder|decoder)_)?(embeddings|pooler)\.", r"\4.", name)
    name = re.sub(r"^(backbone\.)?(encoder|decoder)_positions\.", "positions.", name)
    name = re.sub(r"^(backbone\.)?(encoder|decoder)\.(groups\.\d+\.)?", "stack.", name)
    return re.sub(r"^head\.(words|order|next)\.", "head.", name)


CLASSES = {
    model_class.__name__: model_class
    for model_type in ARCHITECTURES
    for model_class in architecture(model_type).heads.values()
}
UNUSED = {"embeddings.token_types", "embeddings.positions"}
"""Taps that nothing passes where a model has no such part, or nobody gives token types."""


@pytest.fixture(params=TWINS, ids=str)
def twin(request):
    return request.param


def small(twin: Twin) -> PretrainedModel:
    model_class = CLASSES[twin.name]
    return model_class.from_config(model_class.CONFIG.from_hf(twin.config)).double().eval()


def test_every_tap_is_in_the_table_with_its_axes():
    table, seen = documented(), set()
    for twin in TWINS:
        for name, axes in tap_names(small(twin)).items():
            seen.add(general(name))
            assert table.get(general(name)) == axes, f"{twin}: {name} ({axes})"
    assert set(table) - seen == {"cross_attn...."}


def test_everything_passes_its_tap_and_nothing_changes(twin):
    model = small(twin)
    inputs, _ = inputs_for(twin, [3, 9, 1], "right")
    with torch.no_grad():
        before = model(**inputs)
        with trace(model, "*") as t:
            watched = model(**inputs)
    passed = {name for name in tap_names(model) if t.calls(name)}
    assert {general(name) for name in set(tap_names(model)) - passed} <= UNUSED
    for name, axes in tap_names(model).items():
        if "..." not in axes:
            assert all(x.dim() == len(axes.split()) for x in t.calls(name)), name
    for name, value in before.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(watched[name], value, atol=1e-12, rtol=0)
