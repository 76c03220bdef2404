"""Marian: small translation models, one for each pair of languages (https://arxiv.org/abs/1804.00344).

    embeddings = word x sqrt(hidden size), if scaled + sinusoid(position), without a norm
    encoder    = post-norm blocks: self-attention over the whole source, feed-forward
    decoder    = post-norm blocks: self-attention to the past, cross-attention to the source, feed-forward
    head       = next token, with a bias for each

Reference: transformers 4.57 ``models/marian/modeling_marian.py``.

Traps:
    * Sinusoids have all sines before all cosines; old files hold them, new ones do not, and they are always computed.
    * One vocabulary for both languages, or (``share_encoder_decoder_embeddings`` false) one for each, of other sizes.
    * A target begins with the padding token, which the model must never choose: files forbid it (``bad_words_ids``).
    * Unlike BART it does not make a target out of the source: the base model needs ``decoder_input_ids``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from torch import nn
from typing_extensions import Self

from minitransformer.config import ModelConfig, key
from minitransformer.layers import (
    Embeddings,
    FeedForward,
    MultiHeadAttention,
    PostNormBlock,
    SinusoidalPositions,
    Stack,
    activation,
)
from minitransformer.models import seq2seq
from minitransformer.models.base import Architecture, PretrainedModel, encoder_decoder
from minitransformer.models.fairseq import FAIRSEQ_HEADS, SHARED_WORDS, FairseqConfig, fairseq_layers
from minitransformer.models.heads import Logits
from minitransformer.ranges import TokenId, Width
from minitransformer.weights import Ignore, Tied, WeightMap, embedding
from minitransformer.weights.sources import Source


@dataclass(frozen=True, kw_only=True)
class MarianConfig(FairseqConfig):
    """config.json of Marian."""

    model_type: ClassVar[str] = "marian"

    vocab_size: Width = 58101
    decoder_vocab_size: Width | None = None
    decoder_rows: Width | None = field(default=None, metadata={"key": None})
    """Rows of the decoder's table, where a file has others than its vocabulary's (see ``config_for``)."""
    shared_vocabulary: bool = key("share_encoder_decoder_embeddings", True)
    pad_token_id: TokenId | None = 58100
    bos_token_id: TokenId | None = None
    eos_token_id: TokenId | list[TokenId] | None = 0
    decoder_start_token_id: TokenId | None = 58100
    generation: dict[str, Any] = field(default_factory=lambda: {"forced_eos_token_id": 0}, metadata={"key": None})

    @property
    def target_vocab_size(self) -> int:
        """Size of the target's vocabulary."""
        return self.vocab_size if self.shared_vocabulary else self.decoder_vocab_size or self.vocab_size

    def resized(self, vocab_size: int) -> Self:
        """A copy for a vocabulary of another size; where there are two, the source's."""
        target = None if self.shared_vocabulary else self.target_vocab_size
        return self.replace(vocab_size=vocab_size, decoder_vocab_size=target)

    def resized_target(self, vocab_size: int) -> Self:
        """A copy whose target's vocabulary has another size."""
        if self.shared_vocabulary:
            return super().resized_target(vocab_size)
        return self.replace(decoder_vocab_size=vocab_size, decoder_rows=None)


WEIGHTS = WeightMap(
    prefix="model",
    backbone=[
        embedding("shared", "shared"),
        embedding("encoder.embed_tokens", "encoder_embeddings.word"),
        embedding("decoder.embed_tokens", "decoder_embeddings.word"),
        fairseq_layers("encoder"),
        fairseq_layers("decoder", cross=True),
    ],
    heads=FAIRSEQ_HEADS,
    tied=[Tied("model.decoder.embed_tokens.weight", "lm_head.weight"), SHARED_WORDS],
    ignore=[
        Ignore("model.encoder.embed_positions.weight", why="sinusoids, which are computed"),
        Ignore("model.decoder.embed_positions.weight", why="sinusoids, which are computed"),
    ],
)


class MarianPretrained(PretrainedModel):
    """What Marian's models share."""

    CONFIG = MarianConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = encoder_decoder()
    config: MarianConfig

    @classmethod
    def config_for(cls, config: ModelConfig, source: Source) -> ModelConfig:
        """Untied models of transformers have a decoder's table as long as the source's vocabulary, until resized."""
        if not isinstance(config, MarianConfig) or config.shared_vocabulary or config.tie_word_embeddings:
            return config
        tables = {name.removeprefix("model."): name for name in source.names()}
        table = tables.get("decoder.embed_tokens.weight")
        rows = config.target_vocab_size if table is None else source.shape(table)[0]
        return config.replace(decoder_rows=rows) if rows == config.vocab_size != config.target_vocab_size else config


class MarianModel(seq2seq.EncoderDecoder, MarianPretrained):
    """Encoder and decoder."""

    def __init__(self, config: MarianConfig) -> None:
        super().__init__(config)
        D, act = config.hidden_size, activation(config.activation)

        def make_embeddings(word: nn.Embedding) -> Embeddings:
            return Embeddings(
                word=word,
                position=SinusoidalPositions(config.num_positions, D, interleaved=False),
                scale=config.embedding_scale,
                dropout=config.dropout,
            )

        def make_block(num_heads: int, ffn_size: int, *, cross: bool) -> PostNormBlock:
            make_attention = partial(MultiHeadAttention, D, num_heads, dropout=config.attention_dropout)
            ffn = FeedForward(D, ffn_size, act, dropout=config.activation_dropout)
            cross_attn = make_attention() if cross else None
            make_norm = partial(nn.LayerNorm, D)
            return PostNormBlock(make_attention(), ffn, make_norm, cross_attn=cross_attn, dropout=config.dropout)

        make_words = partial(nn.Embedding, embedding_dim=D, padding_idx=config.pad_token_id)
        self.shared = make_words(config.vocab_size) if config.shared_vocabulary else None
        self.encoder_embeddings = make_embeddings(self.shared or make_words(config.vocab_size))
        self.encoder = Stack(
            make_block(config.num_heads, config.encoder_ffn_dim, cross=False) for _ in range(config.num_layers)
        )
        self.decoder_embeddings = make_embeddings(
            self.shared or make_words(config.decoder_rows or config.target_vocab_size)
        )
        self.decoder = Stack(
            make_block(config.decoder_attention_heads, config.decoder_ffn_dim, cross=True)
            for _ in range(config.decoder_layers)
        )


class MarianMTModel(seq2seq.ConditionalGeneration, MarianPretrained):
    """Translate."""

    OPTIONAL = ("head.bias",)

    def __init__(self, config: MarianConfig) -> None:
        super().__init__(config)
        self.backbone = MarianModel(config)
        self.head = Logits(config.hidden_size, config.target_vocab_size)
        self.head.bias.requires_grad_(False)  # a constant of the file, final_logits_bias
        if config.tie_word_embeddings:
            self.head.weight = self.backbone.decoder_embeddings.word.weight


ARCHITECTURE = Architecture(MarianConfig, {"Model": MarianModel, "ForSeq2SeqLM": MarianMTModel})
