"""Where two models part, run side by side, and in which weights they differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.weights.engine import export_weights
from minitransformer.weights.table import template

FLOAT64_TOLERANCE = 1e-10
"""Largest difference of a float64 twin that counts as rounding."""

FORWARD_PASS = (
    ("encoder_hidden_states", "encoder_attentions"),
    ("encoder_last_hidden_state",),
    ("decoder_hidden_states", "decoder_attentions", "cross_attentions"),
    ("hidden_states", "attentions"),
    ("mems",),
    ("last_hidden_state",),
    ("pooler_output",),
    *((field,) for field in "start_logits end_logits logits prediction_logits sop_logits".split()),
)
"""Fields of outputs in the order in which they are computed; those of one stack block by block."""
OUTPUT_FIELDS = tuple(field for fields in FORWARD_PASS for field in fields)


@dataclass(frozen=True)
class Difference:
    """How far apart two models are at one place."""

    name: str
    largest: float
    typical: float
    """Root mean square of the reference's values, for scale."""

    def __str__(self) -> str:
        return f"{self.name:<32} largest difference {self.largest:9.2e}   values around {self.typical:.2g}"


def divergence(
    ours: Any, reference: Any, inputs: Mapping[str, Tensor], *, keep: Tensor | None = None
) -> Iterator[Difference]:
    """The differences of two models on the same inputs, in the order of the forward pass.

    Block by block: what comes into it, its attention maps, what comes into the next one. The first large difference
    shows where the models part. A reference with another attention than the readable one is given that one meanwhile.

    Args:
        ours: a model of this library.
        reference: a model of transformers.
        inputs: arguments of both.
        keep: (batch, token), true at the tokens to compare; what stands at padding is nobody's business.

    Raises:
        InputError: a model is in training mode, where dropout makes every pass another one; or their numbers are of
            different types.
        AssertionError: one of them lacks an output, or has one of another shape.
    """
    _check_comparable(ours, reference)
    asked = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad(), readable_attention(reference):
        a, b = ours(**inputs, **asked), reference(**inputs, **asked)
    for fields in FORWARD_PASS:
        pairs = {field: list(_pairs(field, a, b)) for field in fields}
        for i in range(max(map(len, pairs.values()))):
            for field, found in pairs.items():
                if i < len(found):
                    name = f"{field}[{i}]" if isinstance(getattr(a, field), tuple) else field
                    yield _difference(name, field, *found[i], keep)


def _pairs(field: str, a: Any, b: Any) -> Iterator[tuple[Tensor, Tensor]]:
    mine: Any = getattr(a, field, None)
    theirs: Any = getattr(b, field, None)
    if isinstance(theirs, tuple) and not theirs:  # what transformers 5 says where there is nothing
        theirs = None
    if mine is None and theirs is None:
        return
    if mine is None or theirs is None:
        raise AssertionError(f"{field} is missing in {'ours' if mine is None else 'the reference'}")
    yield from zip(mine, theirs, strict=True) if isinstance(mine, tuple) else [(mine, theirs)]


def _difference(name: str, field: str, x: Tensor, y: Tensor, keep: Tensor | None) -> Difference:
    if x.shape != y.shape:
        raise AssertionError(f"{name} has shape {tuple(x.shape)}, the reference {tuple(y.shape)}")
    if keep is not None:
        x, y = _kept(field, x, keep), _kept(field, y, keep)
    return Difference(name, float((x - y).abs().max()), float(y.pow(2).mean().sqrt()))


def _check_comparable(ours: Any, reference: Any) -> None:
    """See that both are in evaluation mode and of one type; of a function nothing is known."""
    kinds = []
    for name, model in (("ours", ours), ("the reference", reference)):
        if getattr(model, "training", False):
            raise InputError(f"{name} is in training mode, where dropout makes every pass another one: call .eval()")
        if isinstance(model, nn.Module):
            kinds.append({p.dtype for p in model.parameters() if p.is_floating_point()})
    if len(kinds) == 2 and kinds[0] != kinds[1]:
        said = [" and ".join(sorted(str(kind).removeprefix("torch.") for kind in of)) for of in kinds]
        raise InputError(f"ours is in {said[0]}, the reference in {said[1]}: load both with the same dtype")


@contextmanager
def readable_attention(reference: Any) -> Iterator[None]:
    """Let a model of transformers give its attention maps, which only its eager attention does."""
    now = getattr(getattr(reference, "config", None), "_attn_implementation", "eager")
    if now in (None, "eager"):
        yield
        return
    reference.set_attn_implementation("eager")
    try:
        yield
    finally:
        reference.set_attn_implementation(now)


def assert_same(
    ours: Any,
    reference: Any,
    inputs: Mapping[str, Tensor],
    *,
    keep: Tensor | None = None,
    atol: float = FLOAT64_TOLERANCE,
) -> None:
    """Raise an AssertionError that names the first place where two models differ by more than ``atol``."""
    compared = list(divergence(ours, reference, inputs, keep=keep))
    assert compared, "nothing to compare"
    for difference in compared:
        assert difference.largest <= atol, f"first divergence: {difference}"


def _kept(field: str, x: Tensor, keep: Tensor) -> Tensor:
    """The part of ``x`` that belongs to kept tokens."""
    keep = keep.bool()
    if "attentions" in field and x.shape[-2] == keep.shape[1]:
        return x.transpose(1, 2)[keep]  # (kept tokens, heads, keys)
    if x.dim() >= 2 and x.shape[:2] == keep.shape:
        return x[keep]
    return x


@dataclass(frozen=True)
class WeightDifference:
    """One tensor of a checkpoint's format, in two models."""

    name: str
    """In the checkpoint."""
    state: str
    """"same", "differs", "another shape", "missing" (theirs lacks it) or "unknown" (ours does)."""
    largest: float
    """Largest difference, where the shapes are the same."""


def compare_weights(ours: Any, theirs: Any) -> list[WeightDifference]:
    """The parameters of two models under the checkpoint's names, so that layout and fused matrices do not matter.

    Args:
        ours: a model of this library.
        theirs: a model of transformers, another one of ours, or tensors by the checkpoint's names.
    """
    mine = _named_weights(ours)
    others = theirs if isinstance(theirs, Mapping) else _named_weights(theirs)
    result = []
    for name, x in mine.items():
        y = others.get(name)
        if y is None or x.shape != y.shape:
            result.append(WeightDifference(name, "missing" if y is None else "another shape", math.inf))
            continue
        largest = float((x.double() - y.double()).abs().max()) if x.numel() else 0.0
        result.append(WeightDifference(name, "same" if largest == 0 else "differs", largest))
    known = {tensor.data_ptr() for name, tensor in others.items() if name in mine}  # tied ones have several names
    idle = ours.WEIGHTS.ignore
    for name, y in others.items():
        if name not in mine and y.data_ptr() not in known and not any(template(row.hf).fullmatch(name) for row in idle):
            result.append(WeightDifference(name, "unknown", math.inf))
    return result


def _named_weights(model: Any) -> dict[str, Tensor]:
    """A model's tensors under the checkpoint's names."""
    if hasattr(model, "WEIGHTS"):
        return export_weights(model, model.WEIGHTS)
    return {name: x.detach() for name, x in model.state_dict().items()}
