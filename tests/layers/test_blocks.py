"""Blocks and stacks: the example's comparison with torch.nn, and what each wiring promises."""

from __future__ import annotations

import math
import runpy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from minitransformer.errors import ConfigError
from minitransformer.layers import (
    ACTIVATIONS,
    FeedForward,
    MultiHeadAttention,
    PostNormBlock,
    PreNormBlock,
    activation,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "blocks.py"


def test_example_blocks_equal_torch(capsys):
    default = torch.get_default_dtype()
    try:
        assert runpy.run_path(str(EXAMPLE))["main"]() < 1e-10
    finally:
        torch.set_default_dtype(default)
    assert "pre-norm" in capsys.readouterr().out


def test_post_norm_normalises_and_pre_norm_passes_through():
    x = torch.randn(2, 3, 8)
    parts = lambda: (MultiHeadAttention(8, 2), FeedForward(8, 12, activation("relu")), partial(nn.LayerNorm, 8))  # noqa: E731
    post = PostNormBlock(*parts())(x)
    torch.testing.assert_close(post.mean(-1), torch.zeros(2, 3), atol=1e-6, rtol=0)
    pre = PreNormBlock(*parts())
    for last in (pre.attn.output, pre.ffn.down):
        nn.init.zeros_(last.weight), nn.init.zeros_(last.bias)
    assert torch.equal(pre(x), x)  # sublayers that say nothing leave the residual stream alone


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("gelu", lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
        ("gelu_new", lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        ("gelu_pytorch_tanh", lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        ("gelu_fast", lambda x: 0.5 * x * (1 + math.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x)))),
        ("quick_gelu", lambda x: x / (1 + math.exp(-1.702 * x))),
        ("silu", lambda x: x / (1 + math.exp(-x))),
        ("swish", lambda x: x / (1 + math.exp(-x))),
        ("relu", lambda x: max(x, 0.0)),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("tanh", math.tanh),
        ("linear", lambda x: x),
    ],
)
def test_activations(name, formula):
    xs = torch.linspace(-4, 4, 33, dtype=torch.float64)
    expected = torch.tensor([formula(x) for x in xs.tolist()], dtype=torch.float64)
    torch.testing.assert_close(activation(name)(xs), expected, atol=1e-12, rtol=0)


def test_every_activation_is_tested():
    tested = {mark.args[1][i][0] for mark in test_activations.pytestmark for i in range(len(mark.args[1]))}
    assert tested == set(ACTIVATIONS)


def test_unknown_activation_is_named():
    with pytest.raises(ConfigError, match="unknown activation 'gelu_nwe'. Did you mean 'gelu_new'"):
        activation("gelu_nwe")
