"""Vectors in the place of ids: ``inputs_embeds`` and ``decoder_inputs_embeds``, for every model.

No ``forward`` knows of them. Ids that stand for nothing are put where the ids would be, so that positions, masks and
shapes follow as for any text, and the tap behind the table of words gives the vectors in place of what was looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minitransformer.errors import InputError

NAMES = {"inputs_embeds": "input_ids", "decoder_inputs_embeds": "decoder_input_ids"}
"""Argument -> the one whose place it takes."""


def take_vectors(
    model: Any, args: tuple[Any, ...], inputs: dict[str, Any], *, encodes: bool = False
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Take vectors out of ``inputs`` and leave ids in their place; the edits that put them in again.

    Args:
        model: to be called.
        args: its arguments without a name.
        inputs: those with one; changed.
        encodes: whether only the encoder is to run, so that the decoder needs nothing.

    Raises:
        InputError: ids are given as well, or the vectors do not fit the model; or there are neither.
    """
    edits: dict[str, Callable[[Tensor], Tensor]] = {}
    for name, ids in NAMES.items():
        vectors = inputs.pop(name, None)
        if vectors is None:
            continue
        if ids not in model._arguments:
            raise InputError(f"{type(model).__name__} takes no {name}, as it takes no {ids}")
        if inputs.get(ids) is not None or len(args) > model._arguments.index(ids):
            raise InputError(f"both {ids} and {name} were given: pass one of them")
        side = _side(model, name)
        embeddings = getattr(model.base_model, f"{side}embeddings")
        _check(model, name, vectors, embeddings)
        if name == "inputs_embeds" and not encodes:
            _need_target(model, inputs)
        edits[f"{side}embeddings.words"] = _given(vectors, 1.0 if side in model.SCALED_VECTORS else embeddings.scale)
        pad = model.config.pad_token_id
        inputs[ids] = torch.full(vectors.shape[:-1], 1 if pad == 0 else 0, device=vectors.device)
    if model._needs_ids and not args and inputs.get("input_ids") is None:
        raise InputError(f"{type(model).__name__} reads input_ids, or inputs_embeds in their place: pass one of them")
    return edits


def _side(model: Any, name: str) -> str:
    if name.startswith("decoder"):
        return "decoder_"
    return "encoder_" if hasattr(model.base_model, "encoder_embeddings") else ""


def _given(vectors: Tensor, scale: float) -> Callable[[Tensor], Tensor]:
    """An edit that gives the vectors, which the embeddings will multiply; choices of a text stand one by one."""
    rows = vectors.flatten(0, -3)
    return lambda words: rows if scale == 1.0 else rows / scale


def _check(model: Any, name: str, vectors: Any, embeddings: Any) -> None:
    axes = 4 if model.TAKES_CHOICES else 3
    if not isinstance(vectors, Tensor) or not vectors.is_floating_point() or vectors.dim() != axes:
        shape = "(batch, choice, token, size)" if axes == 4 else "(batch, token, size)"
        told = f"shape {tuple(vectors.shape)} of {vectors.dtype}" if isinstance(vectors, Tensor) else type(vectors)
        raise InputError(f"{name} must be vectors, of the shape {shape}, not {told}")
    size = getattr(getattr(embeddings, "word", None), "embedding_dim", model.config.hidden_size)
    if vectors.shape[-1] != size:
        raise InputError(f"{name} holds vectors of {vectors.shape[-1]} numbers, but the model's words have {size}")
    if vectors.dtype != model.dtype or vectors.device != model.device:
        raise InputError(
            f"{name} is of {vectors.dtype} on {vectors.device}, but the model of {model.dtype} on {model.device}: pass "
            f"{name}.to(model.device, model.dtype)"
        )


def _need_target(model: Any, inputs: dict[str, Any]) -> None:
    """A decoder's ids are made from those of the source where there are none: not from its vectors."""
    if "decoder_input_ids" not in model._arguments:
        return
    if model.HEAD == "ForSequenceClassification":
        raise InputError(f"{type(model).__name__} finds the end of a text by its id: pass input_ids, not inputs_embeds")
    makes_them = model.HEAD == "ForSeq2SeqLM" and inputs.get("labels") is not None
    if not makes_them and all(inputs.get(name) is None for name in ("decoder_input_ids", "decoder_inputs_embeds")):
        raise InputError("with inputs_embeds pass decoder_input_ids too: they cannot be made from vectors")
