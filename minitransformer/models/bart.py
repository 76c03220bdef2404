"""BART: an encoder-decoder pretrained to repair damaged text (https://arxiv.org/abs/1910.13461).

    embeddings = norm(word + position), words shared by encoder, decoder and head
    encoder    = post-norm blocks: self-attention over the whole source, feed-forward with gelu
    decoder    = post-norm blocks: self-attention to the past, cross-attention to the source, feed-forward
    heads      = next token; or a prediction from the decoder's vector at the end of the text

Reference: transformers 4.57 ``models/bart/modeling_bart.py``.

Traps:
    * The position tables keep two unused rows at their head, a relic of a padding id; positions count padding.
    * Without decoder inputs the base model and the classifiers feed the source itself, shifted right, and it is the
      decoder's output that they give or read.
    * A padded source hides its padding from cross-attention; the decoder hides its own only when given a mask.
    * Which of the four names of the shared embedding a file holds differs from file to file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from jaxtyping import Int
from torch import Tensor, nn
from typing_extensions import Self

from minitransformer.layers import (
    DecoderCache,
    Embeddings,
    FeedForward,
    LearnedPositions,
    MultiHeadAttention,
    PostNormBlock,
    PostNormCrossBlock,
    Stack,
    View,
    activation,
    tied,
)
from minitransformer.models.common import seq2seq
from minitransformer.models.common.base import Architecture, MakeBlock, PretrainedModel, encoder_decoder
from minitransformer.models.common.fairseq import (
    FAIRSEQ_HEADS,
    FAIRSEQ_VERSIONS,
    SHARED_WORDS,
    FairseqConfig,
    fairseq_layers,
)
from minitransformer.models.common.heads import DenseClassifier, Logits
from minitransformer.models.common.outputs import Seq2SeqOutput
from minitransformer.models.common.seq2seq import need_source
from minitransformer.ranges import Rate, TokenId, Width
from minitransformer.weights import WeightMap, embedding, norm

Ids = Int[Tensor, "batch token"]


@dataclass(frozen=True, kw_only=True)
class BartConfig(FairseqConfig):
    """config.json of BART."""

    model_type: ClassVar[str] = "bart"

    vocab_size: Width = 50265
    classifier_dropout: Rate = 0.0
    decoder_start_token_id: TokenId | None = 2
    id2label: dict[int, str] = field(default_factory=lambda: {i: f"LABEL_{i}" for i in range(3)})
    generation: dict[str, Any] = field(default_factory=lambda: {"forced_eos_token_id": 2}, metadata={"key": None})

    @classmethod
    def from_hf(cls, raw: Mapping[str, Any]) -> Self:
        raw = dict(raw)
        if raw.pop("force_bos_token_to_be_generated", False):  # an old way to say it
            raw.setdefault("forced_bos_token_id", raw.get("bos_token_id", 0))
        return super().from_hf(raw)


WEIGHTS = WeightMap(
    prefix="model",
    backbone=[
        embedding("shared", "encoder_embeddings.word"),
        embedding("encoder.embed_positions", "encoder_embeddings.position"),
        norm("encoder.layernorm_embedding", "encoder_embeddings.norm"),
        fairseq_layers("encoder"),
        embedding("decoder.embed_positions", "decoder_embeddings.position"),
        norm("decoder.layernorm_embedding", "decoder_embeddings.norm"),
        fairseq_layers("decoder", cross=True),
    ],
    heads=FAIRSEQ_HEADS,
    tied=[SHARED_WORDS],
    ignore=FAIRSEQ_VERSIONS,
)


class BartPretrained(PretrainedModel):
    """What BART's models share."""

    CONFIG = BartConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = encoder_decoder()
    config: BartConfig


def bart_encoder_block(
    config: BartConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PostNormBlock:
    """A block of the encoder, of parts that are called as the usual ones are."""
    D, act = config.hidden_size, activation(config.activation)
    return PostNormBlock(
        attention(D, config.num_heads, dropout=config.attention_dropout),
        ffn(D, config.encoder_ffn_dim, act, dropout=config.activation_dropout),
        norm=partial(nn.LayerNorm, D),
        dropout=config.dropout,
    )


def bart_decoder_block(
    config: BartConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
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


class BartModel(seq2seq.EncoderDecoder, BartPretrained):
    """Encoder and decoder."""

    def __init__(
        self,
        config: BartConfig,
        *,
        encoder_block: MakeBlock = bart_encoder_block,
        decoder_block: MakeBlock = bart_decoder_block,
    ) -> None:
        super().__init__(config)
        D = config.hidden_size

        def make_embeddings(word: nn.Embedding) -> Embeddings:
            return Embeddings(
                word=word,
                position=LearnedPositions(config.num_positions, D, offset=2),
                norm=nn.LayerNorm(D),
                scale=config.embedding_scale,
                dropout=config.dropout,
            )

        word = nn.Embedding(config.vocab_size, D, padding_idx=config.pad_token_id)
        self.encoder_embeddings = make_embeddings(word)
        self.encoder = Stack(encoder_block(config) for _ in range(config.num_layers))
        self.decoder_embeddings = make_embeddings(tied(word))
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
            decoder_input_ids = self.shift_right(need_source(input_ids))
        source = View(attention_mask, memory=encoder_outputs)
        view = View(decoder_attention_mask, causal=True, cache=past_key_values, source=source)
        x = self.decoder_embeddings(decoder_input_ids, self.positions(decoder_input_ids, cache=past_key_values))
        x = self.decoder(x, view)  # (B, T, D)
        return Seq2SeqOutput(x, past_key_values=past_key_values, encoder_last_hidden_state=encoder_outputs)


class BartForConditionalGeneration(seq2seq.ConditionalGeneration, BartPretrained):
    """Turn a text into another: summarise, translate, repair."""

    OPTIONAL = ("head.output.bias",)

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.backbone = BartModel(config)
        self.head = Logits(config.hidden_size, config.vocab_size)
        self.head.output.bias.requires_grad_(False)  # a constant of the file, final_logits_bias
        if config.tie_word_embeddings:
            self.head.output.weight = self.backbone.encoder_embeddings.word.weight


class BartForSequenceClassification(seq2seq.SequenceClassification, BartPretrained):
    """One prediction for a text or a pair of texts."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.backbone = BartModel(config)
        self.head = DenseClassifier(config.hidden_size, config.num_labels, dropout=config.classifier_dropout)


class BartForQuestionAnswering(seq2seq.QuestionAnswering, BartPretrained):
    """Where in the second text the answer to the first one starts and ends."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.backbone = BartModel(config)
        self.head = Logits(config.hidden_size, 2)


ARCHITECTURE = Architecture(
    BartConfig,
    {
        "Model": BartModel,
        "ForSeq2SeqLM": BartForConditionalGeneration,
        "ForMaskedLM": BartForConditionalGeneration,
        "ForSequenceClassification": BartForSequenceClassification,
        "ForQuestionAnswering": BartForQuestionAnswering,
    },
)
