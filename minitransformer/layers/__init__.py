"""The parts that architectures are made of: no part knows an architecture's name or receives a config."""

from minitransformer.layers.activations import ACTIVATIONS, activation
from minitransformer.layers.adaptive import AdaptiveEmbedding, AdaptiveLogSoftmax
from minitransformer.layers.attention import MultiHeadAttention, attend, attend_fused
from minitransformer.layers.blocks import PostNormBlock, PreNormBlock, Stack
from minitransformer.layers.cache import BlockCache, DecoderCache, KVCache
from minitransformer.layers.embeddings import Embeddings
from minitransformer.layers.feedforward import FeedForward, GatedFeedForward
from minitransformer.layers.linear import Linear, fast_linear
from minitransformer.layers.masks import causal_mask, combine, padding_mask
from minitransformer.layers.norms import RMSNorm
from minitransformer.layers.positions import (
    LearnedPositions,
    RelativePositions,
    SinusoidalPositions,
    relative_buckets,
    sinusoids,
    token_positions,
)
from minitransformer.layers.taps import Tap, Trace, tap_names, trace

__all__ = [
    "ACTIVATIONS",
    "AdaptiveEmbedding",
    "AdaptiveLogSoftmax",
    "BlockCache",
    "DecoderCache",
    "Embeddings",
    "FeedForward",
    "GatedFeedForward",
    "KVCache",
    "LearnedPositions",
    "Linear",
    "MultiHeadAttention",
    "PostNormBlock",
    "PreNormBlock",
    "RMSNorm",
    "RelativePositions",
    "SinusoidalPositions",
    "Stack",
    "Tap",
    "Trace",
    "activation",
    "attend",
    "attend_fused",
    "causal_mask",
    "combine",
    "fast_linear",
    "padding_mask",
    "relative_buckets",
    "sinusoids",
    "tap_names",
    "token_positions",
    "trace",
]
