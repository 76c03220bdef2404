"""The quick linear layer computes what F.linear does, only where it may and is asked to."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import minitransformer.layers.kernels as module
from minitransformer.layers import MultiHeadAttention, fast_linear, linear

pytestmark = pytest.mark.skipif(not module._AVAILABLE, reason="this build of PyTorch has no oneDNN")


@pytest.fixture
def calls(monkeypatch) -> list[tuple[int, ...]]:
    """Shapes of the inputs that oneDNN was called with."""
    shapes: list[tuple[int, ...]] = []
    function = module.linear_onednn
    monkeypatch.setattr(module, "linear_onednn", lambda x, w, b: shapes.append(tuple(x.shape)) or function(x, w, b))
    return shapes


@pytest.mark.parametrize("shape", [(1, 512), (3, 1, 512), (2, 70, 512), (2, 3, 5, 512)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_it_differs_by_rounding_only(shape, bias, calls):
    torch.manual_seed(0)
    layer, x = nn.Linear(512, 600, bias=bias), torch.randn(shape)
    with torch.no_grad():
        plain = linear(layer, x)
        assert calls == [] and torch.equal(plain, F.linear(x, layer.weight, layer.bias))
        with fast_linear():
            fast = linear(layer, x)
        exact = F.linear(x.double(), layer.weight.double(), None if layer.bias is None else layer.bias.double())
    assert calls == [shape] and fast.shape == plain.shape
    rounding = float((plain.double() - exact).abs().max())
    assert float((fast.double() - exact).abs().max()) < 4 * rounding + 1e-7


def test_it_is_used_only_where_it_fits(calls):
    layer, x = nn.Linear(512, 600), torch.randn(2, 512)
    with fast_linear():
        linear(layer, x)  # gradients are on
        with torch.no_grad():
            linear(layer.double(), x.double())
            linear(layer.bfloat16(), x.bfloat16())
            linear(nn.Linear(8, 8), torch.randn(2, 8))  # too small to be worth it
            linear(layer.float(), x[:0])
            linear(nn.Sequential(layer), x)  # whoever put it there shall be asked
            handle = layer.register_forward_hook(lambda *_: None)
            linear(layer, x)
            handle.remove()
    with torch.no_grad():
        linear(layer, x)  # nobody asked
    assert calls == []


def test_the_context_ends(calls):
    layer, x = MultiHeadAttention(512, 4), torch.randn(1, 2, 512)
    with torch.no_grad(), pytest.raises(RuntimeError, match="on purpose"), fast_linear():
        layer(x)
        raise RuntimeError("on purpose")
    assert len(calls) == 4
    with torch.no_grad():
        layer(x)
    assert len(calls) == 4
