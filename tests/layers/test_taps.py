"""Taps: reading, replacing, naming, and leaving no trace behind."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from minitransformer.errors import TraceError
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


# ------------------------------------------------------------------------------------------------------------- edits


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda x: None, "gives NoneType, not a tensor"),
        (lambda x: 0.0, "gives float, not a tensor"),
        (lambda x: x[:1], r"of shape \(1, 5, 8\) for one of shape \(2, 5, 8\)"),
        (lambda x: x.float(), "of dtype torch.float32 for one of dtype torch.float64"),
        (lambda x: x.to("meta"), "of device meta for one of device cpu"),
        (lambda x: x.zero_(), "changes its argument in place"),
        (lambda x: x.mul_(2) * 0, "changes its argument in place"),
    ],
)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_edits_that_change_what_they_should_not(stack, x, fn, message, mode):
    with mode(), pytest.raises(TraceError, match=message), trace(stack, edit={"blocks.0.attn.out": fn}):
        stack(x)
    assert not any(tap._forward_hooks for tap in stack.modules() if isinstance(tap, Tap))


def test_what_is_not_strict_is_up_to_the_caller(stack, x):
    with torch.no_grad(), trace(stack, "blocks.0.attn.out", edit={"attn.out": lambda x: x.float()}, strict=False) as t:
        stack(x)
    assert t["blocks.0.attn.out"].dtype == torch.float32
    with torch.no_grad(), trace(stack, edit={"blocks.0.attn.out": lambda x: None}, strict=False):
        assert torch.equal(stack(x), stack(x))


def test_an_edit_may_ask_for_the_name(stack, x):
    asked = []

    def edit(x, name):
        asked.append(name)
        return x

    def scale(x, factor=2):  # has a second argument of its own
        return x * factor

    with trace(stack, edit={"blocks.*.output": edit, "blocks.0.input": scale}):
        stack(x)
    assert asked == ["blocks.0.output", "blocks.1.output"]


def test_edits_of_one_tap_act_in_the_order_in_which_they_are_given(stack, x):
    def add(number):
        return lambda x: 10 * x + number

    edits = {
        "blocks.0.*": lambda x, name: x,
        "blocks.0.output": lambda x: 0 * x,
        "*.output": add(1),
        "blocks.?.output": add(2),
    }
    with trace(stack, "blocks.0.output") as outer, trace(stack, "blocks.0.output", edit=edits) as t:
        stack(x)
    assert t["blocks.0.output"].eq(12).all()
    assert outer["blocks.0.output"].eq(12).all()  # what is recorded is what goes on


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("tap", ["blocks.0.input", "blocks.0.attn.pattern", "blocks.0.attn.q", "blocks.0.output"])
def test_an_edit_holds_for_what_backward_computes_again_or_that_is_an_error(stack, x, reentrant, tap):
    def gradient():
        x.grad = None
        x.requires_grad_()
        checkpointed = checkpoint(stack.blocks[0], x, use_reentrant=reentrant)
        return stack.blocks[1](checkpointed).pow(2).sum()

    edit = {tap: lambda x: 2 * x}
    with trace(stack, edit=edit):
        stack.blocks[1](stack.blocks[0](x.requires_grad_())).pow(2).sum().backward()
    wanted = x.grad

    with trace(stack, tap, edit=edit) as t:
        gradient().backward()
        assert len(t.calls(tap)) == 1
    torch.testing.assert_close(x.grad, wanted)
    assert not any(tap._forward_hooks for tap in stack.modules() if isinstance(tap, Tap))

    with trace(stack, edit=edit):
        loss = gradient()
    if tap.endswith("output") and not reentrant:  # nothing is computed again that depends on the edit
        loss.backward()
        torch.testing.assert_close(x.grad, wanted)
    else:
        with pytest.raises(TraceError, match=r"backward\(\) inside of the trace's with block"):
            loss.backward()
    gradient().backward()  # the model is as it was
    assert not torch.allclose(x.grad, wanted)
    assert not any(tap._forward_hooks for tap in stack.modules() if isinstance(tap, Tap))


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_made_inside_of_a_trace_has_no_hooks(stack, x, copied):
    before = stack(x)
    with trace(stack, "*", edit={"output": torch.zeros_like}):
        taps = {name: copied(m) for name, m in stack.named_modules() if isinstance(m, Tap)}
        whole = copy.deepcopy(stack)
    assert not any(tap._forward_hooks for tap in taps.values())
    assert torch.equal(whole(x), before)
