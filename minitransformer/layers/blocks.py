"""Blocks: attention and feed-forward wired with residuals and norms, and the stack that repeats them.

Two wirings, each with and without attention to a source, are four classes, because their order is the point: post-norm
(the 2017 paper, BERT, BART) normalises the sum of input and sublayer; pre-norm (GPT-2, T5) normalises what goes into a
sublayer and leaves the residual stream alone, so that its stack needs one more norm at the end.

Any module will do for attention that is called with ``(x, view)``, and any for the feed-forward network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minitransformer.layers.part import Part
from minitransformer.layers.taps import Tap
from minitransformer.layers.view import View

MakeNorm = Callable[[], nn.Module]
Tokens = Float[Tensor, "batch token hidden_size"]


def _tap() -> Tap:
    return Tap("batch token hidden_size")


class PostNormBlock(Part):
    """``x = norm(x + sublayer(x))`` for each sublayer.

    Args:
        attn: self-attention.
        ffn: the feed-forward network.
        norm: makes a norm; called once for each sublayer.
        dropout: probability on each sublayer's output, in training.
    """

    def __init__(self, attn: nn.Module, ffn: nn.Module, norm: MakeNorm, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.input = _tap()
        self.attn, self.after_attn, self.attn_norm, self.attn_normed = attn, _tap(), norm(), _tap()
        self.ffn, self.after_ffn, self.ffn_norm, self.ffn_normed = ffn, _tap(), norm(), _tap()
        self.output = _tap()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tokens, view: View | None = None) -> Tokens:
        """One block."""
        x = self.input(x)
        x = self.after_attn(x + self.dropout(self.attn(x, view)))
        x = self.attn_normed(self.attn_norm(x))
        x = self.after_ffn(x + self.dropout(self.ffn(x)))
        x = self.ffn_normed(self.ffn_norm(x))
        return self.output(x)


class PreNormBlock(Part):
    """``x = x + sublayer(norm(x))`` for each sublayer. Arguments as ``PostNormBlock``'s."""

    def __init__(self, attn: nn.Module, ffn: nn.Module, norm: MakeNorm, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.input = _tap()
        self.attn_norm, self.attn_normed, self.attn, self.after_attn = norm(), _tap(), attn, _tap()
        self.ffn_norm, self.ffn_normed, self.ffn, self.after_ffn = norm(), _tap(), ffn, _tap()
        self.output = _tap()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tokens, view: View | None = None) -> Tokens:
        """One block."""
        x = self.input(x)
        normed = self.attn_normed(self.attn_norm(x))
        x = self.after_attn(add(x, self.dropout(self.attn(normed, view))))
        normed = self.ffn_normed(self.ffn_norm(x))
        x = self.after_ffn(add(x, self.dropout(self.ffn(normed))))
        return self.output(x)


class PostNormCrossBlock(Part):
    """``PostNormBlock`` of a decoder that also attends to a source.

    Args:
        attn: self-attention.
        cross_attn: attention to the encoder's output.
        ffn: the feed-forward network.
        norm: makes a norm; called once for each sublayer.
        dropout: probability on each sublayer's output, in training.
    """

    def __init__(
        self, attn: nn.Module, cross_attn: nn.Module, ffn: nn.Module, norm: MakeNorm, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.input = _tap()
        self.attn, self.after_attn, self.attn_norm, self.attn_normed = attn, _tap(), norm(), _tap()
        self.cross_attn, self.after_cross_attn = cross_attn, _tap()
        self.cross_attn_norm, self.cross_attn_normed = norm(), _tap()
        self.ffn, self.after_ffn, self.ffn_norm, self.ffn_normed = ffn, _tap(), norm(), _tap()
        self.output = _tap()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tokens, view: View) -> Tokens:
        """One block; ``view.source`` is its view of the encoder's output."""
        x = self.input(x)
        x = self.after_attn(x + self.dropout(self.attn(x, view)))
        x = self.attn_normed(self.attn_norm(x))
        x = self.after_cross_attn(x + self.dropout(self.cross_attn(x, view.source)))
        x = self.cross_attn_normed(self.cross_attn_norm(x))
        x = self.after_ffn(x + self.dropout(self.ffn(x)))
        x = self.ffn_normed(self.ffn_norm(x))
        return self.output(x)


class PreNormCrossBlock(Part):
    """``PreNormBlock`` of a decoder that also attends to a source. Arguments as ``PostNormCrossBlock``'s."""

    def __init__(
        self, attn: nn.Module, cross_attn: nn.Module, ffn: nn.Module, norm: MakeNorm, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.input = _tap()
        self.attn_norm, self.attn_normed, self.attn, self.after_attn = norm(), _tap(), attn, _tap()
        self.cross_attn_norm, self.cross_attn_normed = norm(), _tap()
        self.cross_attn, self.after_cross_attn = cross_attn, _tap()
        self.ffn_norm, self.ffn_normed, self.ffn, self.after_ffn = norm(), _tap(), ffn, _tap()
        self.output = _tap()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tokens, view: View) -> Tokens:
        """One block; ``view.source`` is its view of the encoder's output."""
        x = self.input(x)
        normed = self.attn_normed(self.attn_norm(x))
        x = self.after_attn(add(x, self.dropout(self.attn(normed, view))))
        normed = self.cross_attn_normed(self.cross_attn_norm(x))
        x = self.after_cross_attn(add(x, self.dropout(self.cross_attn(normed, view.source))))
        normed = self.ffn_normed(self.ffn_norm(x))
        x = self.after_ffn(add(x, self.dropout(self.ffn(normed))))
        return self.output(x)


BLOCKS = (PostNormBlock, PreNormBlock, PostNormCrossBlock, PreNormCrossBlock)


def add(x: Tokens, sublayer: Tokens) -> Tokens:
    """``x + sublayer``, with what overflows in float16 put back: no norm bounds the residual stream of pre-norm."""
    return _finite(x + _finite(sublayer))


def _finite(x: Tensor) -> Tensor:
    if x.dtype != torch.float16:
        return x
    largest = torch.finfo(torch.float16).max - 1000  # with room for the next sublayer, as in transformers' T5
    return x.clamp(-largest, largest)


class Stack(Part):
    """Blocks one after another: an encoder, or with a causal view a decoder.

    Args:
        blocks: the blocks, first to last.
        final_norm: a norm after the last block, which pre-norm stacks need.
        dropout: probability on the output, in training.
    """

    def __init__(
        self, blocks: Iterable[nn.Module], final_norm: nn.Module | None = None, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = final_norm
        self.final_normed = _tap()
        self.dropout = nn.Dropout(dropout)
        self.output = _tap()

    def forward(self, x: Tokens, view: View | None = None) -> Tokens:
        """Send ``x`` through all blocks; every block gets the same view, with its own part of the cache."""
        view = view or View()
        for i, block in enumerate(self.blocks):
            x = block(x, view.of_block(i))
        if self.final_norm is not None:
            x = self.final_norm(x)
        return self.output(self.dropout(self.final_normed(x)))
