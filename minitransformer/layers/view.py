"""What attention may see: one value, made once by a model, passed on unread by blocks and read by attention alone.

What a query may attend to has several reasons: padding is hidden, so is the future from a decoder, or what lies outside
of a window. They stay as they are given until a kernel needs a tensor, which is then made once for all blocks: some
kernels know causality by name, and never look at a mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


@dataclass(slots=True)
class View:
    """What the queries of one pass may see. ``View()``, the default everywhere, hides nothing.

    Args:
        attention_mask: 0 at padding, on whichever side it lies, for cached and new keys together; or 0 and 1 for each
            pair of query and key, of (batch, query, key) or (batch, heads, query, key).
        causal: hide the future: a token sees itself and what came before it.
        window: hide what is so many tokens or more before a token.
        mask: hide where it is False, for any other reason.
        bias: added to the scores (T5's relative positions, ALiBi).
        positions: of the queries, for attention that turns them into rotations.
        memory: attend to these tokens instead of the queries' own: cross-attention.
        cache: keys and values of earlier calls, of all blocks; within a block, its own.
        source: for blocks with cross-attention, their view of the encoder's output.
    """

    attention_mask: Shaped[Tensor, "#batch *axes key"] | None = None
    causal: bool = False
    window: int | None = None
    mask: Bool[Tensor, "#batch #heads #query #key"] | None = None
    bias: Float[Tensor, "#batch #heads query key"] | None = None
    positions: Int[Tensor, "#batch query"] | None = None
    memory: Float[Tensor, "batch key hidden_size"] | None = None
    cache: Any = None
    source: View | None = None
    _made: dict[str, Any] = field(default_factory=dict, repr=False)  # tensors, for all blocks of this pass

    def __post_init__(self) -> None:
        if self.bias is not None:  # here, and not in the first block, which may be recomputed for gradients
            self.hidden(self.bias.shape[-2], self.bias.shape[-1], self.bias.dtype, self.bias.device)

    def of_block(self, index: int) -> View:
        """What a stack's block ``index`` may see: the same, with its own part of the cache."""
        if self.cache is None:
            return self
        cache, source = self.cache[index], self.source
        if source is not None:
            source = View(source.attention_mask, memory=source.memory, cache=cache.cross_attn, _made=source._made)
        rest = (self.attention_mask, self.causal, self.window, self.mask, self.bias, self.positions, self.memory)
        return View(*rest, cache.self_attn, source, self._made)

    def within(self, window: int) -> View:
        """The same, less what is so many tokens or more away: for blocks that see less than others."""
        seen = (self.attention_mask, self.causal, window, self.mask, self.bias, self.positions, self.memory)
        made = self._made.setdefault(f"within {window}", {})
        return View(*seen, self.cache, self.source, made)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, which is made once for all blocks of this pass."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def changed(self, **changes: Any) -> View:
        """A copy that differs in some fields: for attention that hides or adds something of its own."""
        return replace(self, **changes, _made={})

    def applied(self, scores: Float[Tensor, "batch heads query key"]) -> Float[Tensor, "batch heads query key"]:
        """Scores as they go into a softmax: with the bias, and the lowest number where nothing may be attended to."""
        allowed = self.allowed(scores.shape[2], scores.shape[3], scores.device)
        scores = scores if self.bias is None else scores + self.bias
        return scores if allowed is None else scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)

    @property
    def is_causal_alone(self) -> bool:
        """Whether nothing is hidden but the future, and perhaps what is outside of a window."""
        others = (self.attention_mask, self.mask, self.bias)
        return self.causal and all(reason is None for reason in others)

    def allowed(
        self, num_queries: int, num_keys: int, device: torch.device | str | None = None
    ) -> Bool[Tensor, "#batch #heads #query #key"] | None:
        """True where a query may attend to a key; None if to all. The last query is the last key."""
        self._forget_other_sizes(num_queries, num_keys)
        if "allowed" not in self._made:
            reasons = [self.mask]
            if self.attention_mask is not None:
                seen = self.attention_mask != 0
                reasons.append(seen if seen.dim() == 4 else seen[:, None] if seen.dim() == 3 else seen[:, None, None])
            if self.causal or self.window is not None:
                reasons.append(causal_mask(num_queries, num_keys, device, causal=self.causal, window=self.window))
            given = [reason for reason in reasons if reason is not None]
            for reason in given[1:]:
                given[0] = given[0] & reason
            self._made["allowed"] = given[0] if given else None
        made: Tensor | None = self._made["allowed"]
        return made

    def hidden(
        self, num_queries: int, num_keys: int, dtype: torch.dtype, device: torch.device | str | None = None
    ) -> Float[Tensor, "#batch #heads #query #key"] | None:
        """What kernels add to the scores: the bias, and the lowest number where nothing may be attended to.

        Not minus infinity, nor a boolean mask: kernels disagree on rows without anything to attend to.
        """
        allowed = self.allowed(num_queries, num_keys, device)
        if "hidden" not in self._made:
            made = self.bias
            if allowed is not None:
                made = torch.zeros_like(allowed, dtype=dtype) if made is None else made
                made = made.masked_fill(~allowed, torch.finfo(made.dtype).min)
            self._made["hidden"] = made
        hidden: Tensor | None = self._made["hidden"]
        return hidden if hidden is None else hidden.to(dtype)

    def _forget_other_sizes(self, *sizes: int) -> None:
        if torch._C._get_tracing_state() is None and self._made.setdefault("sizes", sizes) != sizes:
            self._made.clear()
            self._made["sizes"] = sizes


def causal_mask(
    num_queries: int,
    num_keys: int,
    device: torch.device | str | None = None,
    *,
    causal: bool = True,
    window: int | None = None,
) -> Bool[Tensor, "1 1 query key"] | None:
    """Hide the future: a token sees itself and what came before it, or with ``window`` only so many of these.

    The last query is the last key, however many keys were cached before (aligned at the bottom right)::

        2 queries, 4 keys       1 1 1 0         window 2    0 1 1 0
                                1 1 1 1                     0 0 1 1

    A single query sees everything, so its mask is None, unless there is a window.

    Args:
        num_queries: number of rows.
        num_keys: number of columns.
        device: where the mask is wanted.
        causal: whether the future is hidden; without it, a window reaches as far to the right as to the left.
        window: how many tokens a token sees to the left, itself included; None for all.
    """
    if num_queries == 1 and window is None:
        return None
    keys = torch.arange(num_keys, device=device)
    behind = torch.arange(num_keys - num_queries, num_keys, device=device)[:, None] - keys  # the key, of the query
    mask = behind >= 0 if causal else behind.new_ones(()).bool()
    if window is not None:
        mask = mask & (behind < window) & (behind > -window)
    return mask[None, None]
