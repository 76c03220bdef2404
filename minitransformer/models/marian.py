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

from jaxtyping import Int
from torch import Tensor, nn
from typing_extensions import Self

from minitransformer.config import ModelConfig, key
from minitransformer.layers import (
    DecoderCache,
    Embeddings,
    FeedForward,
    MultiHeadAttention,
    PostNormBlock,
    PostNormCrossBlock,
    SinusoidalPositions,
    Stack,
    View,
    activation,
    tied,
)
from minitransformer.models.common import seq2seq
from minitransformer.models.common.base import Architecture, MakeBlock, PretrainedModel, encoder_decoder
from minitransformer.models.common.fairseq import FAIRSEQ_HEADS, SHARED_WORDS, FairseqConfig, fairseq_layers
from minitransformer.models.common.heads import Logits
from minitransformer.models.common.outputs import Seq2SeqOutput
from minitransformer.models.common.seq2seq import need_source
from minitransformer.ranges import TokenId, Width
from minitransformer.weights import Ignore, Tied, WeightMap, embedding
from minitransformer.weights.sources import Source

Ids = Int[Tensor, "batch token"]


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
    SCALED_VECTORS = ("decoder_",)
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


def marian_encoder_block(
    config: MarianConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PostNormBlock:
    """A block of the encoder, of parts that are called as the usual ones are."""
    D, act = config.hidden_size, activation(config.activation)
    return PostNormBlock(
        attention(D, config.num_heads, dropout=config.attention_dropout),
        ffn(D, config.encoder_ffn_dim, act, dropout=config.activation_dropout),
        norm=partial(nn.LayerNorm, D),
        dropout=config.dropout,
    )


def marian_decoder_block(
    config: MarianConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PostNormCrossBlock:
    """A block of the decoder, of parts that are called as the usual ones are."""
    D, H, act = config.hidden_size, config.decoder_attention_heads, activation(config.activation)
    return PostNormCrossBlock(
        attention(D, H, dropout=config.attention_dropout),
        attention(D, H, dropout=config.attention_dropout),
        ffn(D, config.decoder_ffn_dim, act, dropout=config.activation_dropout),
        norm=partial(nn.LayerNorm, D),
        dropout=config.dropout,
    )


class MarianModel(seq2seq.EncoderDecoder, MarianPretrained):
    """Encoder and decoder."""

    def __init__(
        self,
        config: MarianConfig,
        *,
        encoder_block: MakeBlock = marian_encoder_block,
        decoder_block: MakeBlock = marian_decoder_block,
    ) -> None:
        super().__init__(config)
        D = config.hidden_size

        def make_embeddings(word: nn.Embedding) -> Embeddings:
            return Embeddings(
                word=word,
                position=SinusoidalPositions(config.num_positions, D, interleaved=False),
                scale=config.embedding_scale,
                dropout=config.dropout,
            )

        make_words = partial(nn.Embedding, embedding_dim=D, padding_idx=config.pad_token_id)
        self.shared = make_words(config.vocab_size) if config.shared_vocabulary else None
        one, rows = self.shared, config.decoder_rows or config.target_vocab_size
        self.encoder_embeddings = make_embeddings(tied(one) if one else make_words(config.vocab_size))
        self.encoder = Stack(encoder_block(config) for _ in range(config.num_layers))
        self.decoder_embeddings = make_embeddings(tied(one) if one else make_words(rows))
        self.decoder = Stack(decoder_block(config) for _ in range(config.decoder_layers))

    def encode(self, input_ids: Ids, attention_mask: Ids | None = None) -> Tensor:
        """The encoder's output for these texts; the attention mask is 0 at padding."""
        x = self.encoder_embeddings(input_ids, self.positions(input_ids))  # (B, S, D)
        return self.encoder(x, View(attention_mask))

    def forward(
        self,
        input_ids: Ids | None = None,
        attention_mask: Ids | None = None,
        decoder_input_ids: Ids | None = None,
        decoder_attention_mask: Ids | None = None,
        encoder_outputs: Tensor | None = None,
        past_key_values: DecoderCache | None = None,
    ) -> Seq2SeqOutput:
        """Encode the source, and decode the target or continue it; arguments as ``EncoderDecoder`` tells."""
        if encoder_outputs is None:
            encoder_outputs = self.encode(need_source(input_ids), attention_mask)
        if decoder_input_ids is None:
            raise ValueError("pass decoder_input_ids: the target's tokens so far")
        source = View(attention_mask, memory=encoder_outputs)
        view = View(decoder_attention_mask, causal=True, cache=past_key_values, source=source)
        x = self.decoder_embeddings(decoder_input_ids, self.positions(decoder_input_ids, cache=past_key_values))
        x = self.decoder(x, view)  # (B, T, D)
        return Seq2SeqOutput(x, past_key_values=past_key_values, encoder_last_hidden_state=encoder_outputs)


class MarianMTModel(seq2seq.ConditionalGeneration, MarianPretrained):
    """Translate."""

    OPTIONAL = ("head.output.bias",)

    def __init__(self, config: MarianConfig) -> None:
        super().__init__(config)
        self.backbone = MarianModel(config)
        self.head = Logits(config.hidden_size, config.target_vocab_size)
        self.head.output.bias.requires_grad_(False)  # a constant of the file, final_logits_bias
        if config.tie_word_embeddings:
            self.head.output.weight = self.backbone.decoder_embeddings.word.weight


ARCHITECTURE = Architecture(MarianConfig, {"Model": MarianModel, "ForSeq2SeqLM": MarianMTModel})
