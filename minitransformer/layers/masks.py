"""Masks: boolean tensors that broadcast to (batch, heads, query, key), True where a query may attend to a key.

Several conditions are one mask: ``combine(causal_mask(...), padding_mask(...))``. What is *added* to the scores (a
relative position bias) is never a mask.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor


def padding_mask(
    attention_mask: Shaped[Tensor, "#batch *axes key"] | None,
) -> Bool[Tensor, "#batch #heads #query key"] | None:
    """Hide padding: from a tokenizer's 0/1 ``attention_mask``, on whichever side the padding lies.

    A mask without any zero hides nothing and becomes None, which lets attention take its quickest path. A mask that
    says it for each query, of (batch, query, key) or (batch, heads, query, key), is meant in the same way.
    """
    if attention_mask is None or bool(attention_mask.all()):
        return None
    hides = attention_mask != 0
    return hides if hides.dim() == 4 else hides[:, None] if hides.dim() == 3 else hides[:, None, None, :]


def causal_mask(
    num_queries: int, num_keys: int, device: torch.device | str | None = None
) -> Bool[Tensor, "1 1 query key"] | None:
    """Hide the future: a token sees itself and what came before it.

    The last query is the last key, however many keys were cached before (aligned at the bottom right)::

        2 queries, 4 keys       1 1 1 0
                                1 1 1 1

    A single query sees everything, so its mask is None.
    """
    if num_queries == 1:
        return None
    square = torch.ones(num_queries, num_keys, dtype=torch.bool, device=device)
    return square.tril(diagonal=num_keys - num_queries)[None, None]


def combine(*masks: Bool[Tensor, "#batch #heads #query #key"] | None) -> Tensor | None:
    """A query may attend to a key only if every mask lets it; None lets everything through."""
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    result = given[0]
    for mask in given[1:]:
        result = result & mask
    return result
