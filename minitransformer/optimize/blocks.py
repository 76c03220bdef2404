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

from minitransformer.layers import Linear, PostNormBlock, PreNormBlock, Tap
from minitransformer.layers.attention import attend_fused
from minitransformer.layers.blocks import Block
from minitransformer.layers.cache import BlockCache, KVCache
from minitransformer.optimize.parts import FastAttention, FusedAttention, FusedFeedForward


class FusedPostNormBlock(PostNormBlock):
    """``x = norm(x + sublayer(x))`` for each sublayer."""

    def forward(
        self: Any,
        x: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        *,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cache: BlockCache | None = None,
    ) -> Tensor:
        calls: Calls = self.calls
        if watched(calls.taps):
            return super().forward(x, mask, bias, memory=memory, memory_mask=memory_mask, cache=cache)
        mixed = calls.attn(x, mask, bias, None if cache is None else cache.self_attn)
        x = calls.attn_norm(calls.output(mixed, x))
        if self.cross_attn is not None:
            mixed = self.cross_attn.mix(x, memory, memory_mask, None, None if cache is None else cache.cross_attn)
            x = self.cross_attn_norm(plus(self.cross_attn.output)(mixed, x))
        return calls.ffn_norm(calls.down(calls.widen(x), x))


class FusedPreNormBlock(PreNormBlock):
    """``x = x + sublayer(norm(x))`` for each sublayer."""

    def forward(
        self: Any,
        x: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        *,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cache: BlockCache | None = None,
    ) -> Tensor:
        calls: Calls = self.calls
        if watched(calls.taps):
            return super().forward(x, mask, bias, memory=memory, memory_mask=memory_mask, cache=cache)
        mixed = calls.attn(calls.attn_norm(x), mask, bias, None if cache is None else cache.self_attn)
        x = calls.output(mixed, x)
        if self.cross_attn is not None:
            cross_cache = None if cache is None else cache.cross_attn
            mixed = self.cross_attn.mix(self.cross_attn_norm(x), memory, memory_mask, None, cross_cache)
            x = plus(self.cross_attn.output)(mixed, x)
        return calls.down(calls.widen(calls.ffn_norm(x)), x)


FUSED: dict[type[Block], type[Block]] = {PostNormBlock: FusedPostNormBlock, PreNormBlock: FusedPreNormBlock}
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

    def __call__(self, x: Tensor, mask: Tensor | None, bias: Tensor | None, cache: KVCache | None) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, *self.heads).permute(2, 0, 3, 1, 4).unbind()  # (B, H, T, K) each
        if cache is not None:
            k, v = cache.append(k, v)
        return attend_fused(q, k, v, mask, bias, temperature=self.temperature).transpose(1, 2).flatten(2)


def fuse_block(block: Block) -> None:
    """Let a block take the shorter way, if it is of a usual kind and its parts have their fast forms."""
    fast = type(block.attn) is FusedAttention and type(block.ffn) is FusedFeedForward
    if fast and type(block) in FUSED and type(block.cross_attn) in (FastAttention, type(None)):
        block.calls = Calls(block)  # type: ignore[assignment]
        block.__class__ = FUSED[type(block)]


def taps_of(block: Block) -> list[Tap]:
    """All taps of a block."""
    return [module for module in block.modules() if isinstance(module, Tap)]


def watched(taps: list[Tap]) -> bool:
    """Whether somebody watches one of these."""
    return any(tap.watched for tap in taps)


def plus(layer: Linear) -> Callable[[Tensor, Tensor], Tensor]:
    """``layer(x) + residual`` as a function of both."""
    product: Any = layer.product
    return product.plus if product is not None else lambda x, residual: layer(x) + residual


def norm(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """The function of a norm."""
    if type(layer) is not nn.LayerNorm:
        return layer
    return partial(
        torch.layer_norm, normalized_shape=layer.normalized_shape, weight=layer.weight, bias=layer.bias, eps=layer.eps
    )
