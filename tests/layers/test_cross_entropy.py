"""Cross-entropy part by part, against PyTorch's in one piece."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from minitransformer.errors import TrainingError
from minitransformer.layers import cross_entropy as parts
from minitransformer.layers.cross_entropy import cross_entropy, vocabulary_cross_entropy

TOKENS, WIDTH, CLASSES = 23, 5, 17


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Several tokens a part, and no number of scores that is too small."""
    monkeypatch.setattr(parts, "AT_ONCE", 7 * CLASSES)
    monkeypatch.setattr(parts, "WORTHWHILE", 0)


def case(dtype=torch.float64, labelled=None):
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(size, dtype=dtype) for size in ((TOKENS, WIDTH), (CLASSES, WIDTH), (CLASSES,)))
    labels = torch.randint(CLASSES, (TOKENS,))
    labels[3::4] = -100
    if labelled is not None:
        labels[labelled:] = -100
    return [t.requires_grad_() for t in (x, weight, bias)], labels


def gradients(loss, inputs):
    return torch.autograd.grad(loss, [t for t in inputs if t is not None and t.requires_grad])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("at_once", [None, 1, 5, 1000])
def test_the_last_layer_and_its_loss_in_parts(smoothing, biased, at_once):
    (x, weight, bias), labels = case()
    bias = bias if biased else None
    plain = F.cross_entropy(F.linear(x, weight, bias), labels, reduction="sum", label_smoothing=smoothing) / 9
    ours = vocabulary_cross_entropy(x, weight, bias, labels, label_smoothing=smoothing, divisor=9, at_once=at_once)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    for found, expected in zip(
        gradients(3 * ours, (x, weight, bias)), gradients(3 * plain, (x, weight, bias)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_is_frozen_gets_no_gradient(frozen):
    inputs, labels = case()
    inputs[frozen].requires_grad_(False)
    plain = F.cross_entropy(F.linear(*inputs), labels, reduction="sum")
    for found, expected in zip(
        gradients(vocabulary_cross_entropy(*inputs, labels), inputs), gradients(plain, inputs), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_tied_table_gets_both_its_gradients():
    (_, table, _), labels = case()
    ids = torch.arange(TOKENS) % CLASSES
    plain = F.cross_entropy(F.embedding(ids, table) @ table.T, labels, reduction="sum")
    ours = vocabulary_cross_entropy(F.embedding(ids, table), table, None, labels)
    torch.testing.assert_close(*gradients(ours, [table]), *gradients(plain, [table]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("labelled", [None, 1, 0])
def test_scores_that_are_there(smoothing, labelled):
    (x, weight, bias), labels = case(labelled=labelled)
    logits = F.linear(x, weight, bias)
    plain = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    ours = cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12, equal_nan=True)
    for found, expected in zip(gradients(2 * ours, [logits]), gradients(2 * plain, [logits]), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # PyTorch's own way forwards warns of itself
def test_scores_that_are_there_can_be_differentiated_twice_and_otherwise():
    (x, weight, bias), labels = case()
    logits = F.linear(x, weight, bias).detach().requires_grad_()
    (slope,) = torch.autograd.grad(cross_entropy(logits, labels), logits, create_graph=True)
    (again,) = torch.autograd.grad(slope.pow(2).sum(), logits)
    (expected,) = torch.autograd.grad(F.cross_entropy(logits, labels), logits, create_graph=True)
    torch.testing.assert_close(again, *torch.autograd.grad(expected.pow(2).sum(), logits), rtol=1e-12, atol=1e-12)
    by_function = torch.func.grad(lambda z: cross_entropy(z, labels))(logits.detach())
    torch.testing.assert_close(by_function, slope, rtol=1e-12, atol=1e-12)
    _, forwards = torch.func.jvp(lambda z: cross_entropy(z, labels), (logits.detach(),), (slope.detach(),))
    torch.testing.assert_close(forwards, slope.pow(2).sum(), rtol=1e-12, atol=1e-12)


def test_half_precision_is_widened_part_by_part():
    (x, weight, bias), labels = case(torch.bfloat16)
    logits = F.linear(x, weight, bias)
    ours, plain = cross_entropy(logits, labels), F.cross_entropy(logits.float(), labels)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(*gradients(ours, [logits]), *gradients(plain, [logits]))
    whole = vocabulary_cross_entropy(x, weight, bias, labels, divisor=10**9)
    scaled = F.cross_entropy(logits.float(), labels, reduction="sum") / 10**9
    torch.testing.assert_close(whole, scaled)
    for found, expected in zip(
        gradients(whole * 1e9, (x, weight, bias)), gradients(scaled * 1e9, (x, weight, bias)), strict=True
    ):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, expected, rtol=5e-2, atol=5e-2)


def test_autocast_computes_the_layer_in_its_type():
    inputs, labels = case(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours, plain = vocabulary_cross_entropy(*inputs, labels), F.linear(*inputs)
        assert plain.dtype == torch.bfloat16
    plain = F.cross_entropy(plain.float(), labels, reduction="sum")
    torch.testing.assert_close(ours, plain)
    for found, expected in zip(gradients(ours, inputs), gradients(plain, inputs), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=5e-2, atol=5e-2)


def test_what_the_loss_in_parts_refuses():
    inputs, labels = case()
    loss = vocabulary_cross_entropy(*inputs, labels)
    with pytest.raises(TrainingError, match="no second derivative"):
        torch.autograd.grad(loss, inputs, create_graph=True)
    loss = vocabulary_cross_entropy(*inputs, labels)
    torch.autograd.grad(loss, inputs, retain_graph=True)
    with pytest.raises(TrainingError, match="once"):
        torch.autograd.grad(loss, inputs)
    for wrong in (CLASSES, -3):
        with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
            vocabulary_cross_entropy(*inputs, labels.masked_fill(labels == labels[0], wrong))


def test_without_gradients_none_are_made(monkeypatch):
    inputs, labels = case()
    monkeypatch.setattr(parts, "_slope", None)
    with torch.no_grad():
        vocabulary_cross_entropy(*inputs, labels)
        cross_entropy(F.linear(*inputs), labels)
