"""The losses of the task heads. A label of -100 means "do not count this one", as in PyTorch and transformers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from minitransformer.layers.cross_entropy import IGNORED, cross_entropy


def token_loss(
    logits: Float[Tensor, "batch token classes"],
    labels: Int[Tensor, "batch token"] | None,
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""] | None:
    """Cross-entropy of a label at each token, averaged over the labelled ones (masked LM, tagging, seq2seq).

    Args:
        logits: scores of the classes.
        labels: class numbers.
        label_smoothing: share of the target that is spread evenly over all classes, so that the model need not be
            certain (https://arxiv.org/abs/1512.00567; 0.1 in section 5.4 of https://arxiv.org/abs/1706.03762).
    """
    if labels is None:
        return None
    scores, labels = logits.flatten(0, 1), labels.flatten()
    if logits.dtype in (torch.float16, torch.bfloat16) and not torch.is_autocast_enabled(logits.device.type):
        return F.cross_entropy(scores, labels, label_smoothing=label_smoothing)
    return cross_entropy(scores, labels, label_smoothing=label_smoothing)


def replaced_token_loss(
    logits: Float[Tensor, "batch token"],
    labels: Int[Tensor, "batch token"] | None,
    attention_mask: Int[Tensor, "batch token"] | None = None,
) -> Float[Tensor, ""] | None:
    """Binary cross-entropy at each token that is not padding; labels are 1 where the token was replaced, else 0."""
    if labels is None:
        return None
    counted = labels != -100
    if attention_mask is not None:
        counted = counted & (attention_mask != 0)
    losses = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
    return losses.where(counted, 0).sum() / counted.sum()


def next_token_loss(
    logits: Float[Tensor, "batch token vocab_size"], labels: Int[Tensor, "batch token"] | None
) -> Float[Tensor, ""] | None:
    """Cross-entropy of each token's successor: pass the input ids as labels, the shift happens here."""
    if labels is None:
        return None
    following = F.pad(labels[:, 1:], (0, 1), value=IGNORED)  # the last token has none; its scores need no copy to leave
    return cross_entropy(logits.flatten(0, 1), following.flatten())


def classification_loss(
    logits: Float[Tensor, "batch classes"], labels: Tensor | None, problem_type: str | None = None
) -> Float[Tensor, ""] | None:
    """Loss of one prediction for a text.

    Args:
        logits: scores of the classes.
        labels: class numbers (batch), or targets (batch, classes) for several labels, or values (batch) for regression.
        problem_type: "regression", "single_label_classification" or "multi_label_classification"; if None, told from
            the number of classes and the type of the labels, as in transformers.
    """
    if labels is None:
        return None
    if problem_type is None:
        if logits.shape[-1] == 1:
            problem_type = "regression"
        elif labels.dtype.is_floating_point:
            problem_type = "multi_label_classification"
        else:
            problem_type = "single_label_classification"
    if problem_type == "regression":
        return F.mse_loss(logits.squeeze(-1), labels.to(logits.dtype).view_as(logits.squeeze(-1)))
    if problem_type == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    return F.cross_entropy(logits, labels.view(-1))


def span_loss(
    start_logits: Float[Tensor, "batch token"],
    end_logits: Float[Tensor, "batch token"],
    start_positions: Int[Tensor, " batch"] | None,
    end_positions: Int[Tensor, " batch"] | None,
) -> Float[Tensor, ""] | None:
    """Mean cross-entropy of an answer's first and last token; positions outside the text do not count."""
    if start_positions is None or end_positions is None:
        return None
    length = start_logits.shape[1]
    losses = [
        F.cross_entropy(logits, positions.view(-1).clamp(0, length), ignore_index=length)
        for logits, positions in ((start_logits, start_positions), (end_logits, end_positions))
    ]
    return (losses[0] + losses[1]) / 2
