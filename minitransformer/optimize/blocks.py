"""Blocks in fewer calls, for inputs so short that calls count.

A product adds the residual before it writes its result, and a block reaches its products without asking the layers
that they belong to. Whoever watches a tap gets the usual way, on which everything passes its tap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.layers import (
    PostNormBlock,
    PostNormCrossBlock,
    PreNormBlock,
    PreNormCrossBlock,
    Tap,
    View,
    attend_fused,
)
from minitransformer.optimize.parts import FastAttention, FusedAttention, FusedFeedForward


class FusedPostNormBlock(PostNormBlock):
    """``x = norm(x + sublayer(x))`` for each sublayer."""

    def forward(self: Any, x: Tensor, view: View | None = None) -> Tensor:
        calls: Calls = self.calls
        if watched(calls.taps):
            return super().forward(x, view)
        x = calls.attn_norm(calls.output(calls.attn(x, view or View()), x))
        return calls.ffn_norm(calls.down(calls.widen(x), x))


class FusedPreNormBlock(PreNormBlock):
    """``x = x + sublayer(norm(x))`` for each sublayer."""

    def forward(self: Any, x: Tensor, view: View | None = None) -> Tensor:
        calls: Calls = self.calls
        if watched(calls.taps):
            return super().forward(x, view)
        x = calls.output(calls.attn(calls.attn_norm(x), view or View()), x)
        return calls.down(calls.widen(calls.ffn_norm(x)), x)


class FusedPostNormCrossBlock(PostNormCrossBlock):
    """The same with attention to a source."""

    def forward(self: Any, x: Tensor, view: View) -> Tensor:
        calls: Calls = self.calls
        if watched(calls.taps):
            return super().forward(x, view)
        x = calls.attn_norm(calls.output(calls.attn(x, view), x))
        x = self.cross_attn_norm(plus(self.cross_attn.output)(self.cross_attn.mix(x, view.source), x))
        return calls.ffn_norm(calls.down(calls.widen(x), x))


class FusedPreNormCrossBlock(PreNormCrossBlock):
    """The same with attention to a source."""

    def forward(self: Any, x: Tensor, view: View) -> Tensor:
        calls: Calls = self.calls
        if watched(calls.taps):
            return super().forward(x, view)
        x = calls.output(calls.attn(calls.attn_norm(x), view), x)
        x = plus(self.cross_attn.output)(self.cross_attn.mix(self.cross_attn_norm(x), view.source), x)
        return calls.down(calls.widen(calls.ffn_norm(x)), x)


FUSED: dict[type[nn.Module], type[nn.Module]] = {
    PostNormBlock: FusedPostNormBlock,
    PreNormBlock: FusedPreNormBlock,
    PostNormCrossBlock: FusedPostNormCrossBlock,
    PreNormCrossBlock: FusedPreNormCrossBlock,
}
"""Kind of block -> the same in fewer calls."""


class Calls:
    """What a fused block calls, found once: an ``nn.Module`` takes long to find its parts."""

    def __init__(self, block: Any) -> None:
        self.taps = taps_of(block)
        self.attn = SelfAttention(block.attn)
        self.output, self.down = plus(block.attn.output), plus(block.ffn.down)
        self.widen = block.ffn.widen
        self.attn_norm, self.ffn_norm = norm(block.attn_norm), norm(block.ffn_norm)


class SelfAttention:
    """``FusedAttention.mix`` without taps."""

    def __init__(self, attn: FusedAttention) -> None:
        self.qkv, self.temperature, self.heads = attn.qkv, attn.temperature, (3, attn.num_heads, attn.head_size)

    def __call__(self, x: Tensor, view: View) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, *self.heads).permute(2, 0, 3, 1, 4).unbind()  # (B, H, T, K) each
        if view.cache is not None:
            k, v = view.cache.append(k, v)
        return attend_fused(q, k, v, view, temperature=self.temperature).transpose(1, 2).flatten(2)


def fuse_block(block: Any) -> None:
    """Let a block take the shorter way, if it is of a usual kind and its parts have their fast forms."""
    fast = type(block.attn) is FusedAttention and type(block.ffn) is FusedFeedForward
    if fast and type(block) in FUSED and type(getattr(block, "cross_attn", None)) in (FastAttention, type(None)):
        block.calls = Calls(block)
        block.__class__ = FUSED[type(block)]


def taps_of(block: nn.Module) -> list[Tap]:
    """All taps of a block."""
    return [module for module in block.modules() if isinstance(module, Tap)]


def watched(taps: list[Tap]) -> bool:
    """Whether somebody watches one of these."""
    return any(tap.watched for tap in taps)


def plus(layer: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """``layer(x) + residual`` as a function of both."""
    product: Any = getattr(layer, "product", None)
    return product.plus if product is not None else lambda x, residual: layer(x) + residual


def norm(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """The function of a norm."""
    if type(layer) is not nn.LayerNorm:
        return layer
    return partial(
        torch.layer_norm, normalized_shape=layer.normalized_shape, weight=layer.weight, bias=layer.bias, eps=layer.eps
    )
