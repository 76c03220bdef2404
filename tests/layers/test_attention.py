"""attend() against formulas and against its fused twin; MultiHeadAttention with caches and masks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from minitransformer.layers import (
    DecoderCache,
    KVCache,
    MultiHeadAttention,
    PreNormBlock,
    Stack,
    View,
    attend,
    attend_fused,
    trace,
)

B, H, T, S, K = 2, 3, 4, 6, 5


@pytest.fixture
def qkv() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    sizes = [(B, H, T, K), (B, H, S, K), (B, H, S, K)]
    return tuple(torch.randn(size, generator=g, dtype=torch.float64) for size in sizes)


def test_attend_is_the_formula(qkv):
    q, k, v = qkv
    mixed = attend(q, k, v, temperature=3.0)
    for b in range(B):
        for h in range(H):
            for t in range(T):
                weights = torch.tensor([(q[b, h, t] @ k[b, h, s] / 3.0).exp() for s in range(S)], dtype=torch.float64)
                expected = sum(w * v[b, h, s] for s, w in enumerate(weights / weights.sum()))
                torch.testing.assert_close(mixed[b, h, t], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("mask_kind", ["none", "causal", "window", "padding", "both", "nothing visible"])
def test_fused_kernel_computes_the_same(qkv, with_bias, mask_kind):
    q, k, v = qkv
    padding = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]])
    hidden = {
        "none": {},
        "causal": {"causal": True},
        "window": {"causal": True, "window": 2},
        "padding": {"attention_mask": padding},
        "both": {"causal": True, "attention_mask": padding},
        "nothing visible": {"mask": torch.zeros(B, 1, T, S, dtype=torch.bool)},
    }[mask_kind]
    view = View(**hidden, bias=torch.randn(1, H, T, S, dtype=torch.float64) if with_bias else None)
    readable = attend(q, k, v, view, temperature=2.5)
    fused = attend_fused(q, k, v, view, temperature=2.5)
    torch.testing.assert_close(fused, readable, atol=1e-12, rtol=0)
    if mask_kind == "nothing visible" and not with_bias:
        torch.testing.assert_close(readable, v.mean(dim=2, keepdim=True).expand_as(readable))


def test_fused_kernel_has_the_same_gradients(qkv):
    grads = []
    for kernel in (attend, attend_fused):
        inputs = [x.clone().requires_grad_() for x in qkv]
        kernel(*inputs, View(causal=True), temperature=2.5).pow(2).sum().backward()
        grads.append([x.grad for x in inputs])
    for readable, fused in zip(*grads, strict=True):
        torch.testing.assert_close(fused, readable, atol=1e-11, rtol=0)


def test_a_hidden_key_changes_nothing(qkv):
    q, k, v = qkv
    view = View(torch.tensor([[1, 1, 1, 1, 1, 0]] * B))
    changed_k, changed_v = k.clone(), v.clone()
    changed_k[:, :, -1], changed_v[:, :, -1] = 100.0, 100.0
    assert torch.equal(attend(q, k, v, view, temperature=1.0), attend(q, changed_k, changed_v, view, temperature=1.0))
    assert not torch.allclose(attend(q, k, v, temperature=1.0), attend(q, changed_k, changed_v, temperature=1.0))


def test_watching_scores_or_pattern_chooses_the_readable_kernel(monkeypatch):
    fused = []
    function = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: fused.append(1) or function(*a, **k)
    )
    layer, x = MultiHeadAttention(12, 3), torch.randn(1, 4, 12)
    layer(x)
    for tap in ("raw_scores", "scores", "pattern"):
        with trace(layer, tap):
            layer(x)
    assert len(fused) == 1
    with trace(layer, "q", "mixed"):
        layer(x)
    assert len(fused) == 2


@pytest.mark.parametrize(
    ("view", "cached", "wanted"),
    [
        (View(), 0, (False, None)),
        (View(causal=True), 0, (True, None)),
        (View(causal=True), 5, (False, (1, 1, 4, 9))),
        (View(torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])), 0, (False, (2, 1, 1, 4))),
    ],
    ids=["all", "causal", "causal after others", "padding"],
)
def test_kernels_are_told_what_is_hidden_in_the_way_that_they_are_quickest_at(view, cached, wanted, monkeypatch):
    """Causality by name, padding as one row of numbers for each text, and no tensor of queries by keys without need."""
    asked = []
    function = torch.nn.functional.scaled_dot_product_attention

    def recorded(*args, attn_mask, is_causal, **named):
        asked.append((is_causal, attn_mask))
        return function(*args, attn_mask=attn_mask, is_causal=is_causal, **named)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", recorded)
    blocks = Stack(PreNormBlock(MultiHeadAttention(12, 3), nn.Identity(), nn.Identity) for _ in range(3))
    cache = DecoderCache()
    if cached:
        blocks(torch.randn(2, cached, 12), View(causal=True, cache=cache))
        asked.clear()
        view = View(causal=True, cache=cache)
    blocks(torch.randn(2, 4, 12), view)
    is_causal, shape = wanted
    assert [causal for causal, _ in asked] == [is_causal] * 3
    assert all(mask is asked[0][1] for _, mask in asked)  # made once, for all blocks
    assert (asked[0][1] if shape is None else tuple(asked[0][1].shape)) == shape
    if not cached:
        asked.clear()
        blocks(torch.randn(2, 1, 12), View(causal=True))
        assert {mask for _, mask in asked} == {None}  # a single query sees everything


def test_editing_the_pattern_changes_the_output():
    layer, x = MultiHeadAttention(12, 3).double(), torch.randn(1, 4, 12, dtype=torch.float64)
    with trace(layer, "mixed", "v", edit={"pattern": lambda p: torch.eye(4, dtype=p.dtype).expand_as(p)}) as t:
        layer(x)
    torch.testing.assert_close(t["mixed"], t["v"])  # each token attends to itself alone


def test_cached_self_attention_equals_the_full_pass():
    layer, x = MultiHeadAttention(12, 3).double(), torch.randn(2, 150, 12, dtype=torch.float64)
    whole = layer(x, View(causal=True))
    cache, parts, start = KVCache(), [], 0
    for length in (5, 1, 1, 60, 1, 82):  # grows past its first buffer
        part = x[:, start : start + length]
        parts.append(layer(part, View(causal=True, cache=cache)))
        start += length
    assert cache.length == 150
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-12, rtol=0)


def test_cross_attention_projects_its_memory_once():
    layer = MultiHeadAttention(12, 3)
    x, memory, cache = torch.randn(2, 1, 12), torch.randn(2, 5, 12), KVCache()
    projected = []
    layer.key.register_forward_hook(lambda *_: projected.append(1))
    first = layer(x, View(memory=memory, cache=cache))
    again = layer(x, View(memory=memory, cache=cache))
    assert len(projected) == 1
    torch.testing.assert_close(first, again)
    torch.testing.assert_close(first, layer(x, View(memory=memory)))


@pytest.mark.parametrize("new", [1, 3])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("watched", [None, "k", "pattern"])
def test_beams_share_what_was_read_of_their_source(new, padded, watched):
    torch.manual_seed(0)
    layer, cache = MultiHeadAttention(12, 3).double().eval(), DecoderCache()
    memory, mask = torch.randn(2, 5, 12).double(), torch.ones(2, 5)
    if padded:
        mask[0, 3:] = 0
    x = torch.randn(2, 1, 12).double()
    with torch.no_grad():
        cache[0].self_attn.append(x[:, None], x[:, None])
        layer(x, View(mask, memory=memory, cache=cache[0].cross_attn))
        rows = torch.tensor([0, 0, 0, 1, 1, 1])
        cache.select(rows)
        stored = cache[0].cross_attn.stored[0]
        assert len(stored) == 2 and cache[0].cross_attn.keys.equal(stored[rows])
        x = torch.randn(6, new, 12).double()
        expected = layer(x, View(mask[rows], memory=memory[rows]))
        view = View(mask[rows], memory=memory[rows], cache=cache[0].cross_attn)
        with trace(layer, *([watched] if watched else [])) as t:
            found = layer(x, view)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
        if watched:
            assert len(t[watched]) == 6
        cache.reorder(torch.tensor([2, 0, 0, 5, 5, 4]))
        assert len(cache[0].cross_attn.stored[0]) == 2
        left = torch.tensor([1, 4, 5])  # a source's beams are done
        cache.select(left)
        view = View(mask[rows][left], memory=memory[rows][left], cache=cache[0].cross_attn)
        torch.testing.assert_close(layer(x[left], view), expected[left], atol=1e-12, rtol=0)


def test_cache_reorder_select_crop():
    cache = DecoderCache()
    rows = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, 4, 5).contiguous()
    cache[0].self_attn.append(rows, rows)
    cache[0].cross_attn.store(rows, rows)
    cache.reorder(torch.tensor([2, 0, 0]))
    assert cache[0].self_attn.keys[:, 0, 0, 0].tolist() == [2, 0, 0]
    assert cache[0].cross_attn.keys[:, 0, 0, 0].tolist() == [0, 1, 2]
    cache.select(torch.tensor([1, 0]))
    assert cache[0].self_attn.values[:, 0, 0, 0].tolist() == [0, 2]
    assert cache[0].cross_attn.values[:, 0, 0, 0].tolist() == [1, 0]
    cache[0].self_attn.append(rows[:2, :, :1] + 10, rows[:2, :, :1] + 10)
    assert cache.length == 5
    cache.crop(4)
    assert cache.length == 4
    cache[0].self_attn.append(rows[:2, :, :1] + 20, rows[:2, :, :1] + 20)
    assert cache[0].self_attn.keys[:, 0, :, 0].tolist() == [[0, 0, 0, 0, 20], [2, 2, 2, 2, 21]]


def test_the_callers_tensors_are_never_written():
    keys = torch.zeros(1, 1, 64, 2)
    cache = KVCache()
    cache.append(keys, keys)
    cache.crop(3)
    cache.append(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
    assert keys.sum() == 0


def test_empty_cache_says_so():
    with pytest.raises(ValueError, match="empty"):
        _ = KVCache().keys


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="10 is not a multiple of num_heads 3"):
        MultiHeadAttention(10, 3)
    assert MultiHeadAttention(10, 3, head_size=4)(torch.randn(1, 2, 10)).shape == (1, 2, 10)


def test_attention_dropout_only_in_training():
    layer, x = MultiHeadAttention(12, 3, dropout=0.5), torch.randn(1, 4, 12)
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    layer.train()
    assert not torch.equal(layer(x), layer(x))
