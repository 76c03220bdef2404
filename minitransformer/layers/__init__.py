"""The parts that architectures are made of: no part knows an architecture's name or receives a config."""

from minitransformer.layers.activations import ACTIVATIONS, activation
from minitransformer.layers.adaptive import AdaptiveEmbedding, AdaptiveLogSoftmax
from minitransformer.layers.attention import MultiHeadAttention, attend
from minitransformer.layers.blocks import PostNormBlock, PostNormCrossBlock, PreNormBlock, PreNormCrossBlock, Stack
from minitransformer.layers.cache import BlockCache, DecoderCache, KVCache
from minitransformer.layers.embeddings import Embeddings, tied
from minitransformer.layers.feedforward import FeedForward, GatedFeedForward
from minitransformer.layers.kernels import attend_fused, fast_linear, linear
from minitransformer.layers.making import arguments_of, like, remembers_arguments
from minitransformer.layers.norms import RMSNorm
from minitransformer.layers.positions import (
    FairseqPositions,
    LearnedPositions,
    RelativePositions,
    SinusoidalPositions,
    positions_from_padding,
    relative_buckets,
    sinusoids,
    token_positions,
)
from minitransformer.layers.rotary import NormedRotary, Rotary, rotary_frequencies
from minitransformer.layers.taps import Tap, Trace, tap_names, trace
from minitransformer.layers.view import View, causal_mask

__all__ = [
    "ACTIVATIONS",
    "AdaptiveEmbedding",
    "AdaptiveLogSoftmax",
    "BlockCache",
    "DecoderCache",
    "Embeddings",
    "FairseqPositions",
    "FeedForward",
    "GatedFeedForward",
    "KVCache",
    "LearnedPositions",
    "MultiHeadAttention",
    "NormedRotary",
    "PostNormBlock",
    "PostNormCrossBlock",
    "PreNormBlock",
    "PreNormCrossBlock",
    "RMSNorm",
    "RelativePositions",
    "Rotary",
    "SinusoidalPositions",
    "Stack",
    "Tap",
    "Trace",
    "View",
    "activation",
    "arguments_of",
    "attend",
    "attend_fused",
    "causal_mask",
    "fast_linear",
    "like",
    "linear",
    "positions_from_padding",
    "relative_buckets",
    "rotary_frequencies",
    "remembers_arguments",
    "sinusoids",
    "tap_names",
    "tied",
    "token_positions",
    "trace",
]
