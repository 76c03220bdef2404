"""Cross-entropy over large vocabularies, part by part: the scores of all tokens need not lie in memory together.

Each function has a readable form (``F.cross_entropy``), and is held to it by a test in float64:

* ``vocabulary_cross_entropy`` scores so many tokens at a time and makes their gradients at once, so that of scores
  there is one part in memory, ever; for training, where nobody asks for them.
* ``cross_entropy`` takes scores that are there already, and keeps of the way there one number a token.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from minitransformer.errors import TrainingError

IGNORED = -100
"""The label of a token that does not count."""

AT_ONCE = 2**23
"""Scores that are computed together: 32 MiB in float32."""

WORTHWHILE = 2**20
"""Scores; fewer are PyTorch's own business."""


def vocabulary_cross_entropy(
    x: Float[Tensor, "token hidden_size"],
    weight: Float[Tensor, "classes hidden_size"],
    bias: Float[Tensor, " classes"] | None,
    labels: Int[Tensor, " token"],
    *,
    label_smoothing: float = 0.0,
    divisor: int = 1,
    at_once: int | None = None,
) -> Float[Tensor, ""]:
    """``F.cross_entropy(F.linear(x, weight, bias), labels, reduction="sum") / divisor``, in float32 or wider.

    The gradients are made on the way there, and only multiplied on the way back. Under autocast products have its type.

    Args:
        x: what the last layer reads.
        weight: of the last layer.
        bias: of the last layer.
        labels: class numbers; -100 does not count.
        label_smoothing: share of the target that is spread evenly over all classes.
        divisor: by what the sum is divided.
        at_once: tokens that are scored together; by default as many as make 32 MiB in float32.

    Raises:
        TrainingError: somebody asks for the gradient of the gradient, or goes back twice.
    """
    if not torch.is_grad_enabled():
        x, weight, bias = x.detach(), weight.detach(), None if bias is None else bias.detach()
    loss: Tensor = _VocabularyLoss.apply(x, weight, bias, labels, label_smoothing, divisor, at_once)  # type: ignore[no-untyped-call]
    return loss


def cross_entropy(
    logits: Float[Tensor, "token classes"], labels: Int[Tensor, " token"], *, label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """``F.cross_entropy``, of half precision in float32; large ones hold no second tensor of the scores' size."""
    if logits.numel() < WORTHWHILE or is_transformed():
        return F.cross_entropy(_wide(logits), labels, label_smoothing=label_smoothing)
    loss: Tensor = _Loss.apply(logits, labels, label_smoothing)  # type: ignore[no-untyped-call]
    return loss


class _VocabularyLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        label_smoothing: float,
        divisor: int,
        at_once: int | None,
    ) -> Tensor:
        device = x.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        wide = torch.promote_types(x.dtype, torch.float32)
        inputs = (x, weight, bias)
        # Not divided yet: in half precision small numbers would be lost.
        slopes = [
            torch.zeros_like(each, dtype=wide) if each is not None and needed else None
            for each, needed in zip(inputs, ctx.needs_input_grad, strict=False)
        ]
        to_x, to_weight, to_bias = slopes
        total = torch.zeros((), dtype=wide, device=x.device)
        with torch.autocast(device, enabled=False):
            matrix, offset = weight.to(kind), None if bias is None else bias.to(kind)
            size = _tokens(at_once, len(x), len(weight))
            for i in range(0, len(x), size):
                given, asked = x[i : i + size].to(kind), labels[i : i + size]
                scores = F.linear(given, matrix, offset).to(wide).log_softmax(dim=-1)
                total += _loss(scores, asked, label_smoothing).sum()
                if any(ctx.needs_input_grad):
                    slope = _slope(scores.exp_(), asked, label_smoothing)
                    if to_bias is not None:
                        to_bias += slope.sum(dim=0)
                    slope = slope.to(kind)
                    if to_x is not None:
                        to_x[i : i + size] = slope @ matrix
                    if to_weight is not None:
                        _add_product(to_weight, slope, given)
        ctx.slopes, ctx.divisor = slopes, divisor
        ctx.kinds = [None if each is None else each.dtype for each in inputs]
        return total / divisor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise TrainingError(
                "the loss over a vocabulary has no second derivative: take F.cross_entropy of the model's logits"
            )
        if ctx.slopes is None:
            raise TrainingError("the way back through the loss over a vocabulary can be gone once: compute it anew")
        slopes, ctx.slopes = ctx.slopes, None
        share = grad / ctx.divisor
        found = [None if s is None else s.mul_(share).to(kind) for s, kind in zip(slopes, ctx.kinds, strict=True)]
        return (*found, None, None, None, None)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        ctx.save_for_backward(logits, labels)
        ctx.label_smoothing = label_smoothing
        losses = [_loss(_wide(x).log_softmax(dim=-1), y, label_smoothing) for x, y in _parts(logits, labels)]
        return torch.cat(losses).sum() / (labels != IGNORED).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        logits, labels = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody will differentiate the gradient
            loss = F.cross_entropy(_wide(logits), labels, label_smoothing=ctx.label_smoothing)
            return torch.autograd.grad(loss, logits, grad, create_graph=True)[0], None, None
        share, found = grad / (labels != IGNORED).sum(), torch.empty_like(logits)
        for x, y, to in _parts(logits, labels, found):
            slope = _slope(_wide(x).softmax(dim=-1), y, ctx.label_smoothing).mul_(share)
            to.copy_(
                slope.masked_fill_((y == IGNORED)[:, None], 0)
            )  # also where none counts, and the share is infinite
        return found, None, None


def _parts(*tensors: Tensor) -> Any:
    """Parts of scores, and of what belongs to them."""
    size = _tokens(None, *tensors[0].shape)
    return zip(*(torch.split(x, size) for x in tensors), strict=True)


def _wide(x: Tensor) -> Tensor:
    """``x`` in float32, if it is narrower."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _tokens(at_once: int | None, tokens: int, classes: int) -> int:
    """How many tokens make a part: about the same number in each."""
    most = max(1, AT_ONCE // classes) if at_once is None else at_once
    return max(1, -(-tokens // max(1, -(-tokens // most))))


def _loss(log_shares: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """The loss of each token, from the logarithms of its softmax; 0 where it does not count."""
    counted = labels != IGNORED
    loss = -log_shares.gather(1, labels.where(counted, 0)[:, None])[:, 0]
    if label_smoothing:
        loss = (1 - label_smoothing) * loss - label_smoothing * log_shares.mean(dim=-1)
    return loss.where(counted, 0)


def _slope(shares: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """The gradient of each token's loss, written into its softmax."""
    counted = labels != IGNORED
    target = labels.where(counted, 0)[:, None]
    if label_smoothing:
        shares -= label_smoothing / shares.shape[1]
    shares.scatter_add_(1, target, torch.full_like(target, label_smoothing - 1, dtype=shares.dtype))
    return shares.masked_fill_(~counted[:, None], 0)


def _add_product(to: Tensor, slope: Tensor, x: Tensor) -> None:
    """Add ``slope.T @ x``."""
    if to.dtype == x.dtype:
        to.addmm_(slope.T, x)
    else:
        to += slope.T @ x


def is_transformed() -> bool:
    """Whether somebody compiles, traces, or differentiates in another way than backwards."""
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )
