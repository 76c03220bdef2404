"""Parity tools: tiny reference twins, and where two models part. The only module that may import transformers.

A twin is a small model of transformers, built from a config without any network, *every* parameter drawn anew (a new
model's zero biases and unit norms would hide swapped rows), in float64 and with its readable attention: a difference
that is rounding vanishes there, a difference that is a bug stays::

    reference = reference_twin("BertForMaskedLM", hidden_size=32, num_hidden_layers=3, ...)
    reference.save_pretrained(folder)
    ours = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float64)
    for row in divergence(ours, reference, inputs):
        print(row)
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from minitransformer.errors import InputError

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


def reference_twin(class_name: str, *, seed: int = 0, dtype: torch.dtype = torch.float64, **config: Any) -> Any:
    """A transformers model with all parameters drawn anew, in evaluation mode and with eager attention.

    Args:
        class_name: such as "BertForMaskedLM".
        seed: of the parameters.
        dtype: of the parameters.
        **config: arguments of its config class.

    Raises:
        ImportError: transformers is not installed.
    """
    transformers = importlib.import_module("transformers")
    model_class = getattr(transformers, class_name)
    settings = model_class.config_class(attn_implementation="eager", **config)
    return repaired(redraw(model_class(settings).to(dtype), seed).eval())


def wide(forward: Callable[..., Any]) -> Callable[..., Any]:
    """``forward``, but what it rounds from float64 to float32 on the way (T5's norms, some losses) stays in float64."""
    to, to_float = Tensor.to, Tensor.float

    def to_unless_double(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x if x.dtype == torch.float64 and args[:1] == (torch.float32,) else to(x, *args, **kwargs)

    def float_unless_double(x: Tensor) -> Tensor:
        return x if x.dtype == torch.float64 else to_float(x)

    @wraps(forward)
    def wide_forward(*args: Any, **kwargs: Any) -> Any:
        with mock.patch.multiple(Tensor, to=to_unless_double, float=float_unless_double):
            return forward(*args, **kwargs)

    return wide_forward


def repaired(model: Any) -> Any:
    """A transformers model, with what is broken in 4.57 mended: Transformer-XL can neither run nor always save.

    Its forward calls ``x.type_as(dtype=...)``, an argument that PyTorch does not know; while it runs, it does. And
    ``save_pretrained`` refuses tensors that several blocks share; it gets copies of them. In float64 it fails once
    more, as FSMT does, where float32 tensors shall hold float64's lowest number: see ``wide``.

    FSMT counts positions from the ids that it is given, but its ``generate`` gives only the last one when there is a
    cache, and so puts every new token in the first place; here it gives all of them.
    """
    model.forward = wide(model.forward)
    if model.config.model_type == "fsmt" and hasattr(model, "prepare_inputs_for_generation"):
        prepare = model.prepare_inputs_for_generation
        model.prepare_inputs_for_generation = lambda ids, **kwargs: prepare(ids, **kwargs) | {"decoder_input_ids": ids}
    if model.config.model_type != "transfo-xl":
        return model
    dtype = model.base_model.word_emb.emb_layers[0].weight.dtype
    model.to(torch.float32).to(dtype)  # its from_pretrained rounds some parameters to float32; here all are rounded
    forward, save, type_as = model.forward, model.save_pretrained, Tensor.type_as

    def type_as_or_to(x: Tensor, *other: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        return type_as(x, *other) if dtype is None else x.to(dtype)

    def repaired_forward(*args: Any, **kwargs: Any) -> Any:
        with mock.patch.object(Tensor, "type_as", type_as_or_to):
            return forward(*args, **kwargs)

    def repaired_save(folder: Any) -> None:
        tensors = model.state_dict()
        save(
            folder, state_dict={n: x.clone() if n.endswith(("r_w_bias", "r_r_bias")) else x for n, x in tensors.items()}
        )

    model.forward, model.save_pretrained = repaired_forward, repaired_save
    return model


@torch.no_grad()
def redraw(model: nn.Module, seed: int = 0) -> Any:
    """Draw all parameters anew, biases and norms too, so that no two rows are alike; but tables that are never trained.

    Projections keep the size of what passes through them; norms scatter around one, biases around zero.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if parameter.dim() > 1:
            new = noise * (1.5 / math.sqrt(parameter.shape[-1]))
        elif name.endswith("weight"):
            new = 1.0 + 0.3 * noise
        else:
            new = 0.3 * noise
        parameter.copy_(new)
    for name, buffer in model.named_buffers():
        if name.endswith("final_logits_bias"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator, dtype=torch.float64))
    return model


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
    kinds = []
    for name, model in (("ours", ours), ("the reference", reference)):
        if getattr(model, "training", False):
            raise InputError(f"{name} is in training mode, where dropout makes every pass another one: call .eval()")
        kinds.append({p.dtype for p in model.parameters() if p.is_floating_point()})
    if kinds[0] != kinds[1]:
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
