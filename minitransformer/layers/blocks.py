"""Blocks: attention and feed-forward wired with residuals and norms, and the stack that repeats them.

The two wirings are two classes, because their order is the point: post-norm (the 2017 paper, BERT, BART) normalises
the sum of input and sublayer; pre-norm (GPT-2, T5) normalises what goes into a sublayer and leaves the residual stream
alone, so that its stack needs one more norm at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from minitransformer.layers.attention import MultiHeadAttention
from minitransformer.layers.cache import BlockCache, DecoderCache
from minitransformer.layers.taps import Tap

MakeNorm = Callable[[], nn.Module]


class Block(nn.Module):
    """The parts of a block; ``PostNormBlock`` and ``PreNormBlock`` wire them.

    Args:
        attn: self-attention.
        ffn: the feed-forward network.
        norm: makes a norm; called once for each sublayer.
        cross_attn: attention to the encoder's output, in a decoder that has one.
        dropout: probability on each sublayer's output, in training.
    """

    def __init__(
        self,
        attn: MultiHeadAttention,
        ffn: nn.Module,
        norm: MakeNorm,
        *,
        cross_attn: MultiHeadAttention | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input = Tap("batch token hidden_size")
        self.attn, self.after_attn = attn, Tap("batch token hidden_size")
        self.attn_norm, self.attn_normed = norm(), Tap("batch token hidden_size")
        self.cross_attn = cross_attn
        if cross_attn is not None:
            self.after_cross_attn = Tap("batch token hidden_size")
            self.cross_attn_norm, self.cross_attn_normed = norm(), Tap("batch token hidden_size")
        self.ffn, self.after_ffn = ffn, Tap("batch token hidden_size")
        self.ffn_norm, self.ffn_normed = norm(), Tap("batch token hidden_size")
        self.dropout = nn.Dropout(dropout)
        self.output = Tap("batch token hidden_size")


class PostNormBlock(Block):
    """``x = norm(x + sublayer(x))`` for each sublayer."""

    def forward(
        self,
        x: Float[Tensor, "batch query hidden_size"],
        mask: Bool[Tensor, "#batch #heads #query key"] | None = None,
        bias: Float[Tensor, "#batch #heads query key"] | None = None,
        *,
        memory: Float[Tensor, "batch source hidden_size"] | None = None,
        memory_mask: Bool[Tensor, "#batch #heads #query source"] | None = None,
        cache: BlockCache | None = None,
    ) -> Float[Tensor, "batch query hidden_size"]:
        """One block; ``memory`` is the encoder's output, ``cache`` what earlier calls saw."""
        x = self.input(x)
        attn = self.attn(x, mask=mask, bias=bias, cache=None if cache is None else cache.self_attn)
        x = self.attn_normed(self.attn_norm(self.after_attn(x + self.dropout(attn))))
        if self.cross_attn is not None:
            cross_cache = None if cache is None else cache.cross_attn
            cross = self.cross_attn(x, memory, mask=memory_mask, cache=cross_cache)
            x = self.cross_attn_normed(self.cross_attn_norm(self.after_cross_attn(x + self.dropout(cross))))
        x = self.ffn_normed(self.ffn_norm(self.after_ffn(x + self.dropout(self.ffn(x)))))
        return self.output(x)


class PreNormBlock(Block):
    """``x = x + sublayer(norm(x))`` for each sublayer."""

    def forward(
        self,
        x: Float[Tensor, "batch query hidden_size"],
        mask: Bool[Tensor, "#batch #heads #query key"] | None = None,
        bias: Float[Tensor, "#batch #heads query key"] | None = None,
        *,
        memory: Float[Tensor, "batch source hidden_size"] | None = None,
        memory_mask: Bool[Tensor, "#batch #heads #query source"] | None = None,
        cache: BlockCache | None = None,
    ) -> Float[Tensor, "batch query hidden_size"]:
        """One block; ``memory`` is the encoder's output, ``cache`` what earlier calls saw."""
        x = self.input(x)
        normed = self.attn_normed(self.attn_norm(x))
        attn = self.attn(normed, mask=mask, bias=bias, cache=None if cache is None else cache.self_attn)
        x = self.after_attn(add(x, self.dropout(attn)))
        if self.cross_attn is not None:
            normed = self.cross_attn_normed(self.cross_attn_norm(x))
            cross_cache = None if cache is None else cache.cross_attn
            cross = self.cross_attn(normed, memory, mask=memory_mask, cache=cross_cache)
            x = self.after_cross_attn(add(x, self.dropout(cross)))
        x = self.after_ffn(add(x, self.dropout(self.ffn(self.ffn_normed(self.ffn_norm(x))))))
        return self.output(x)


def add(
    x: Float[Tensor, "batch token hidden_size"], sublayer: Float[Tensor, "batch token hidden_size"]
) -> Float[Tensor, "batch token hidden_size"]:
    """``x + sublayer``, with what overflows in float16 put back: no norm bounds the residual stream of pre-norm."""
    return _finite(x + _finite(sublayer))


def _finite(x: Tensor) -> Tensor:
    if x.dtype != torch.float16:
        return x
    largest = torch.finfo(torch.float16).max - 1000  # with room for the next sublayer, as in transformers' T5
    return x.clamp(-largest, largest)


class Stack(nn.Module):
    """Blocks one after another: an encoder, or with a causal mask a decoder.

    Args:
        blocks: the blocks, first to last.
        final_norm: a norm after the last block, which pre-norm stacks need.
        relative_positions: makes the bias that all blocks add to their scores, from the numbers of queries and keys.
        dropout: probability on the output, in training.
    """

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        final_norm: nn.Module | None = None,
        *,
        relative_positions: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = final_norm
        self.relative_positions = relative_positions
        self.final_normed = Tap("batch token hidden_size")
        self.dropout = nn.Dropout(dropout)
        self.output = Tap("batch token hidden_size")

    def forward(
        self,
        x: Float[Tensor, "batch query hidden_size"],
        mask: Bool[Tensor, "#batch #heads #query key"] | None = None,
        bias: Float[Tensor, "#batch #heads query key"] | None = None,
        *,
        memory: Float[Tensor, "batch source hidden_size"] | None = None,
        memory_mask: Bool[Tensor, "#batch #heads #query source"] | None = None,
        cache: DecoderCache | None = None,
    ) -> Float[Tensor, "batch query hidden_size"]:
        """Send ``x`` through all blocks; every block gets the same masks, bias and memory, and its own cache."""
        if self.relative_positions is not None:
            seen = 0 if cache is None else cache.length
            bias = self.relative_positions(x.shape[1], seen + x.shape[1])
        for i, block in enumerate(self.blocks):
            block_cache = None if cache is None else cache[i]
            x = block(x, mask, bias, memory=memory, memory_mask=memory_mask, cache=block_cache)
        if self.final_norm is not None:
            x = self.final_norm(x)
        return self.output(self.dropout(self.final_normed(x)))
