"""The drawings of architectures show what the architectures are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from minitransformer.models.auto import ARCHITECTURES


@pytest.fixture(scope="module")
def drawings() -> Iterator[Any]:
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    try:
        import drawings

        yield drawings
    finally:
        sys.path.pop(0)


def kinds(drawings: Any, model_type: str) -> list[list[str]]:
    return [[part.kind for part in column.parts[1:]] for column in drawings.columns(model_type)]


def test_wirings_are_drawn_as_they_are(drawings) -> None:
    post = ["attention", "residual", "norm", "ffn", "residual", "norm"]
    pre = ["norm", "attention", "residual", "norm", "ffn", "residual"]
    assert kinds(drawings, "bert") == [post]
    assert kinds(drawings, "gpt2") == kinds(drawings, "llama") == [pre]
    cross = ["cross", "residual", "norm"]
    assert kinds(drawings, "bart") == [post, [*post[:3], *cross, *post[3:]]]
    assert kinds(drawings, "t5") == [pre, [*pre[:3], "norm", "cross", "residual", *pre[3:]]]


def test_what_stands_in_a_drawing_is_told_by_the_code(drawings) -> None:
    text = {name: drawings.drawn(name) for name in ("bert", "gpt2", "t5", "llama", "marian")}
    assert "words + types + places, normed" in text["bert"] and "to all" in text["bert"]
    assert "to the past" in text["gpt2"] and "to all" not in text["gpt2"]
    assert "RMS norm" in text["t5"] and "by distance" in text["t5"] and "layer norm" not in text["t5"]
    assert "rotary" in text["llama"] and "silu with a gate" in text["llama"]
    assert "encoder&#39;s output" in text["marian"] or "to the encoder" in text["marian"]


@pytest.mark.parametrize("model_type", sorted(set(ARCHITECTURES) - {"fsmt"}))
def test_every_architecture_has_a_drawing(drawings, model_type: str) -> None:
    root = ElementTree.fromstring(drawings.drawn(model_type))
    boxes = root.findall("{http://www.w3.org/2000/svg}rect")
    assert len(boxes) >= 5
    assert root.findall("{http://www.w3.org/2000/svg}circle")
