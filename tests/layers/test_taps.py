"""Taps: reading, replacing, naming, and leaving no trace behind."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from minitransformer.layers import (
    FeedForward,
    MultiHeadAttention,
    PostNormBlock,
    PreNormBlock,
    Stack,
    Tap,
    activation,
    tap_names,
    trace,
)


@pytest.fixture
def stack() -> Stack:
    torch.manual_seed(0)

    def block(wiring):
        attn, ffn = MultiHeadAttention(8, 2), FeedForward(8, 12, activation("gelu"))
        return wiring(attn, ffn, partial(nn.LayerNorm, 8))

    return Stack([block(PostNormBlock), block(PreNormBlock)], final_norm=nn.LayerNorm(8)).double()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 5, 8, dtype=torch.float64)


def test_names_and_shapes(stack):
    names = tap_names(stack)
    assert names["blocks.0.attn.pattern"] == "batch heads query key"
    for (
        wanted
    ) in "input attn.q attn.k attn.v attn.scores attn.pattern attn.mixed attn.out ffn.hidden ffn.out output".split():
        assert f"blocks.1.{wanted}" in names
    assert list(tap_names(stack, "blocks.*.attn.q")) == ["blocks.0.attn.q", "blocks.1.attn.q"]
    assert not stack.state_dict().keys() & names.keys()  # taps hold nothing


def test_reading_gives_what_was_computed(stack, x):
    with trace(stack, "*") as t:
        out = stack(x)
    assert torch.equal(t["output"], out)
    assert torch.equal(t["blocks.0.input"], x)
    pattern = t["blocks.1.attn.pattern"]
    assert pattern.shape == (2, 2, 5, 5)
    torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 2, 5, dtype=torch.float64))
    torch.testing.assert_close(t["blocks.1.attn.scores"].softmax(-1), pattern)
    torch.testing.assert_close(t["blocks.0.attn.mixed"], t["blocks.0.attn.pattern"] @ t["blocks.0.attn.v"])
    assert set(t) == set(tap_names(stack)) and len(t) == len(tap_names(stack))


def test_editing_replaces_and_leaves_nothing_behind(stack, x):
    before = stack(x)
    with trace(stack, "blocks.0.output", edit={"blocks.0.output": torch.zeros_like}) as t:
        edited = stack(x)
    assert t["blocks.0.output"].abs().sum() == 0  # what is recorded is what went on
    assert not torch.allclose(edited, before)
    assert torch.equal(stack(x), before)
    assert not any(tap._forward_hooks for tap in stack.modules() if isinstance(tap, Tap))


def test_hooks_go_when_the_block_fails(stack, x):
    with pytest.raises(RuntimeError, match="on purpose"), trace(stack, "*"):
        raise RuntimeError("on purpose")
    assert not any(tap.watched for tap in stack.modules() if isinstance(tap, Tap))


def test_a_pattern_may_begin_at_any_module(stack, x):
    outer = nn.ModuleDict({"encoder": stack})
    with trace(outer, "blocks.0.attn.pattern") as t:
        stack(x)
    assert torch.equal(t["encoder.blocks.0.attn.pattern"], t["blocks.0.attn.pattern"])
    assert "attn.pattern" in t and "attn.q" not in t


def test_repeated_passes(stack, x):
    with trace(stack, "blocks.0.input") as t:
        stack(x)
        stack(2 * x)
    assert [c.equal(e) for c, e in zip(t.calls("blocks.0.input"), (x, 2 * x), strict=True)] == [True, True]
    with pytest.raises(ValueError, match="passed 2 times"):
        t["blocks.0.input"]
    t.clear()
    with pytest.raises(KeyError, match="nothing has passed"):
        t["blocks.0.input"]


def test_wrong_names_are_named(stack, x):
    with pytest.raises(KeyError, match=r"no tap matches 'blocks.0.attn.patern'.*Did you mean 'blocks.0.attn.pattern'"):
        trace(stack, "blocks.0.attn.patern")
    with pytest.raises(KeyError, match="no tap matches"):
        trace(stack, edit={"nowhere": torch.zeros_like})
    with trace(stack, "blocks.*.attn.q") as t:
        stack(x)
    with pytest.raises(KeyError, match="ambiguous"):
        t["attn.q"]
    with pytest.raises(KeyError, match="no watched tap"):
        t["blocks.0.attn.k"]
