"""Tiny twins of the reference, to compare with; transformers is imported where one is asked for.

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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TO, _FLOAT = Tensor.to, Tensor.float


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


@contextmanager
def in_float64() -> Iterator[None]:
    """Meanwhile, what is rounded from float64 to float32 on the way (norms, patterns, losses) stays in float64."""
    to, to_float, softmax = Tensor.to, Tensor.float, F.softmax

    def to_unless_double(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x if x.dtype == torch.float64 and args[:1] == (torch.float32,) else to(x, *args, **kwargs)

    def float_unless_double(x: Tensor) -> Tensor:
        return x if x.dtype == torch.float64 else to_float(x)

    def softmax_unless_double(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return softmax(x, *args, **{**kwargs, "dtype": None if x.dtype == torch.float64 else kwargs.get("dtype")})

    with (
        mock.patch.multiple(Tensor, to=to_unless_double, float=float_unless_double),
        mock.patch.object(F, "softmax", softmax_unless_double),
    ):
        yield


@contextmanager
def type_as_or_to() -> Iterator[None]:
    """Meanwhile, ``x.type_as(dtype=...)`` does what Transformer-XL means by it."""
    type_as = Tensor.type_as

    def repaired_type_as(x: Tensor, *other: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        return type_as(x, *other) if dtype is None else x.to(dtype)

    with mock.patch.object(Tensor, "type_as", repaired_type_as):
        yield


@contextmanager
def running(model: nn.Module) -> Iterator[None]:
    """Lets a model of transformers run, as exactly as its type is."""
    with ExitStack() as stack:
        if getattr(getattr(model, "config", None), "model_type", None) == "transfo-xl":
            stack.enter_context(type_as_or_to())
        if any(p.dtype == torch.float64 for p in model.parameters()):
            stack.enter_context(in_float64())
            for module in model.modules():
                if hasattr(module, "inv_freq"):  # the angles of rotary positions are in float32 by design
                    stack.enter_context(mock.patch.object(module, "forward", as_they_are(module.forward)))
        yield


def wide(forward: Callable[..., Any]) -> Callable[..., Any]:
    """``forward``, but what it rounds from float64 to float32 on the way stays in float64."""

    @wraps(forward)
    def wide_forward(*args: Any, **kwargs: Any) -> Any:
        with in_float64():
            return forward(*args, **kwargs)

    return wide_forward


def as_they_are(forward: Callable[..., Any]) -> Callable[..., Any]:
    """``forward``, inside of ``wide`` too with the conversions that are written in it."""

    @wraps(forward)
    def plain_forward(*args: Any, **kwargs: Any) -> Any:
        with mock.patch.multiple(Tensor, to=_TO, float=_FLOAT):
            return forward(*args, **kwargs)

    return plain_forward


def repaired(model: Any) -> Any:
    """A transformers model, with what is broken in 4.57 mended: Transformer-XL can neither run nor always save.

    Its forward calls ``x.type_as(dtype=...)``, an argument that PyTorch does not know; while it runs, it does. And
    ``save_pretrained`` refuses tensors that several blocks share; it gets copies of them. In float64 it fails once
    more, as FSMT does, where float32 tensors shall hold float64's lowest number: see ``wide``.

    FSMT counts positions from the ids that it is given, but its ``generate`` gives only the last one when there is a
    cache, and so puts every new token in the first place; here it gives all of them.
    """
    model.forward = wide(model.forward)
    for module in model.modules():
        if hasattr(module, "inv_freq"):  # the angles of rotary positions are in float32 by design
            module.forward = as_they_are(module.forward)
    if model.config.model_type == "fsmt" and hasattr(model, "prepare_inputs_for_generation"):
        prepare = model.prepare_inputs_for_generation
        model.prepare_inputs_for_generation = lambda ids, **kwargs: prepare(ids, **kwargs) | {"decoder_input_ids": ids}
    if model.config.model_type != "transfo-xl":
        return model
    dtype = model.base_model.word_emb.emb_layers[0].weight.dtype
    model.to(torch.float32).to(dtype)  # its from_pretrained rounds some parameters to float32; here all are rounded
    forward, save = model.forward, model.save_pretrained

    def repaired_forward(*args: Any, **kwargs: Any) -> Any:
        with type_as_or_to():
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
