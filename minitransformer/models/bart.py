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

from torch import Tensor, nn
from typing_extensions import Self

from minitransformer.layers import (
    Embeddings,
    FeedForward,
    LearnedPositions,
    MultiHeadAttention,
    PostNormBlock,
    Stack,
    activation,
)
from minitransformer.models import seq2seq
from minitransformer.models.base import Architecture, PretrainedModel, encoder_decoder
from minitransformer.models.fairseq import (
    FAIRSEQ_HEADS,
    FAIRSEQ_VERSIONS,
    SHARED_WORDS,
    FairseqConfig,
    fairseq_layers,
)
from minitransformer.models.heads import DenseClassifier, Logits
from minitransformer.ranges import Rate, TokenId, Width
from minitransformer.weights import WeightMap, embedding, norm


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


class BartModel(seq2seq.EncoderDecoder, BartPretrained):
    """Encoder and decoder."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        D, act = config.hidden_size, activation(config.activation)

        def make_embeddings() -> Embeddings:
            return Embeddings(
                word=word,
                position=LearnedPositions(config.num_positions, D, offset=2),
                norm=nn.LayerNorm(D),
                scale=config.embedding_scale,
                dropout=config.dropout,
            )

        def make_block(num_heads: int, ffn_size: int, *, cross: bool) -> PostNormBlock:
            make_attention = partial(MultiHeadAttention, D, num_heads, dropout=config.attention_dropout)
            ffn = FeedForward(D, ffn_size, act, dropout=config.activation_dropout)
            cross_attn = make_attention() if cross else None
            make_norm = partial(nn.LayerNorm, D)
            return PostNormBlock(make_attention(), ffn, make_norm, cross_attn=cross_attn, dropout=config.dropout)

        word = nn.Embedding(config.vocab_size, D, padding_idx=config.pad_token_id)
        self.encoder_embeddings = make_embeddings()
        self.encoder = Stack(
            make_block(config.num_heads, config.encoder_ffn_dim, cross=False) for _ in range(config.num_layers)
        )
        self.decoder_embeddings = make_embeddings()
        self.decoder = Stack(
            make_block(config.decoder_attention_heads, config.decoder_ffn_dim, cross=True)
            for _ in range(config.decoder_layers)
        )

    def default_target(self, input_ids: Tensor | None) -> Tensor:
        """The source itself, shifted right."""
        if input_ids is None:
            raise ValueError("pass decoder_input_ids, or input_ids from which to make them")
        return self.shift_right(input_ids)


class BartForConditionalGeneration(seq2seq.ConditionalGeneration, BartPretrained):
    """Turn a text into another: summarise, translate, repair."""

    OPTIONAL = ("head.bias",)

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.backbone = BartModel(config)
        self.head = Logits(config.hidden_size, config.vocab_size)
        self.head.bias.requires_grad_(False)  # a constant of the file, final_logits_bias
        if config.tie_word_embeddings:
            self.head.weight = self.backbone.encoder_embeddings.word.weight


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
