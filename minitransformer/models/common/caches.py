"""The cache of a call: made by default, or of any make that scripts for transformers hand over.

A model's ``forward`` reads and extends a ``DecoderCache`` that its caller owns. Called by itself in evaluation mode a
model makes one, so that loops written by hand go on from ``output.past_key_values``; ``use_cache=False`` makes none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from minitransformer.errors import InputError, warn_caller
from minitransformer.generation.caches import as_cache
from minitransformer.layers import DecoderCache

CACHE = "past_key_values"


def take_cache(model: Any, args: tuple[Any, ...], inputs: dict[str, Any], use_cache: Any) -> Callable[[Any], None]:
    """Put a ``DecoderCache`` into ``inputs``, if there shall be one.

    Args:
        model: to be called.
        args: its arguments without a name.
        inputs: those with one; changed.
        use_cache: what the caller says; None for what the config says, in evaluation mode and without labels.

    Returns:
        What to do with the model's output: a cache of transformers' own gets the new tokens.

    Raises:
        InputError: a cache that cannot be read, or that is for other layers; a wrong ``cache_position``.
    """
    if CACHE not in model._arguments:
        if use_cache:
            warn_caller(f"{type(model).__name__} has no cache: use_cache=True means nothing here")
        return _nothing
    position = inputs.pop("cache_position", None)
    if len(args) > model._arguments.index(CACHE):
        return _nothing
    given = inputs.get(CACHE)
    if given is None:
        if use_cache if use_cache is not None else _by_default(model, inputs):
            inputs[CACHE] = DecoderCache(roomy=False)
    elif not isinstance(given, DecoderCache):
        inputs[CACHE] = as_cache(given)
    cache = inputs.get(CACHE)
    if position is not None:
        _check_position(position, 0 if cache is None else cache.length)
    is_read = given is None or cache is given or isinstance(given, tuple | list)
    return _nothing if is_read or cache is None else _written_back(given, cache)


def _by_default(model: Any, inputs: dict[str, Any]) -> bool:
    recomputes = any(getattr(part, "is_gradient_checkpointing", False) for part in (model, model.base_model))
    is_trained = model.training or inputs.get("labels") is not None or recomputes
    return bool(model.config.use_cache) and not is_trained


def _check_position(position: Any, seen: int) -> None:
    """Places of the new tokens follow from the cache; what a script says of them must be the same."""
    wanted = torch.arange(seen, seen + len(position), device=position.device)
    if not torch.equal(position, wanted):
        raise InputError(f"cache_position is {position.tolist()}, but {seen} tokens are cached: leave it out")


def _written_back(given: Any, cache: DecoderCache) -> Callable[[Any], None]:
    """Let a cache of transformers' own grow as it would have there, and give it out again."""
    seen, had_source = cache.length, len(cache) > 0
    own, cross = getattr(given, "self_attention_cache", given), getattr(given, "cross_attention_cache", None)

    def write(output: Any) -> None:
        for i, block in enumerate(cache):
            own.update(block.self_attn.keys[:, :, seen:], block.self_attn.values[:, :, seen:], i)
            if cross is not None and not had_source:
                cross.update(block.cross_attn.keys, block.cross_attn.values, i)
                given.is_updated[i] = True
        output.past_key_values = given

    return write


def _nothing(output: Any) -> None:
    """The output is as it shall be."""
