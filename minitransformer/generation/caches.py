"""Caches of any make, as ours: what scripts for transformers hand to a model or to ``generate``."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from minitransformer.errors import InputError
from minitransformer.layers import DecoderCache


def as_cache(given: Any) -> DecoderCache:
    """A cache of transformers' own, or its legacy tuples, as ours.

    Args:
        given: for each layer keys and values of (batch, heads, token, head_size); for cross-attention two more.

    Raises:
        InputError: it is nothing of the kind.
    """
    if isinstance(given, DecoderCache):
        return given
    cache = DecoderCache()
    for i, tensors in enumerate(_layers(given)):
        tensors = tuple(x for x in tensors if x is not None)
        if len(tensors) not in (2, 4) or not all(isinstance(x, Tensor) and x.dim() == 4 for x in tensors):
            raise InputError(
                f"layer {i} of past_key_values must be keys and values of (batch, heads, token, head_size), of an "
                "encoder-decoder four of them"
            )
        cache[i].self_attn.append(*tensors[:2])
        if len(tensors) == 4:
            cache[i].cross_attn.store(*tensors[2:])
    return cache


def _layers(given: Any) -> list[tuple[Any, ...]]:
    if isinstance(given, tuple | list):
        return [tuple(layer) if isinstance(layer, tuple | list) else (layer,) for layer in given]
    own, cross = getattr(given, "self_attention_cache", given), getattr(given, "cross_attention_cache", None)
    if not hasattr(own, "layers") or not hasattr(own, "update"):
        raise InputError(
            f"past_key_values is a {type(given).__name__}, which is no cache: pass DynamicCache(), or what a call gave"
        )
    found = []
    for i, layer in enumerate(own.layers):
        if layer.keys is not None and layer.keys.numel():
            more = cross.layers[i] if cross is not None and i < len(cross.layers) else None
            found.append((layer.keys, layer.values, *(() if more is None else (more.keys, more.values))))
    return found
