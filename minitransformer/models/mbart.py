"""mBART: BART in many languages, each with a code of its own (https://arxiv.org/abs/2001.08210).

    embeddings = norm(word x sqrt(hidden size), if scaled + position), words shared by encoder, decoder and head
    encoder    = pre-norm blocks: self-attention over the whole source, feed-forward with gelu; a norm at the end
    decoder    = pre-norm blocks: self-attention to the past, cross-attention to the source; a norm at the end
    heads      = as BART's

Reference: transformers 4.57 ``models/mbart/modeling_mbart.py``.

Traps:
    * Pre-norm, and a norm on the embeddings, and a norm at the end of each side.
    * A target begins with its own last token, the code of its language: there is no fixed start to shift in. Where
      the padding lies on the left, transformers takes another token than the last.
    * ``generate`` needs the language it shall write: ``forced_bos_token_id`` (mBART-50), or ``decoder_start_token_id``.
    * The position tables keep two unused rows at their head, as BART's; positions count padding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from minitransformer.layers import (
    Embeddings,
    FeedForward,
    LearnedPositions,
    MultiHeadAttention,
    PreNormBlock,
    Stack,
    activation,
)
from minitransformer.models import seq2seq
from minitransformer.models.base import Architecture, encoder_decoder
from minitransformer.models.fairseq import (
    FAIRSEQ_HEADS,
    FAIRSEQ_VERSIONS,
    SHARED_WORDS,
    FairseqConfig,
    fairseq_layers,
)
from minitransformer.models.heads import DenseClassifier, Logits
from minitransformer.ranges import Rate, Width
from minitransformer.weights import WeightMap, embedding, norm


@dataclass(frozen=True, kw_only=True)
class MBartConfig(FairseqConfig):
    """config.json of mBART."""

    model_type: ClassVar[str] = "mbart"

    vocab_size: Width = 50265
    classifier_dropout: Rate = 0.0
    generation: dict[str, Any] = field(default_factory=lambda: {"forced_eos_token_id": 2}, metadata={"key": None})


WEIGHTS = WeightMap(
    prefix="model",
    backbone=[
        embedding("shared", "encoder_embeddings.word"),
        embedding("encoder.embed_positions", "encoder_embeddings.position"),
        norm("encoder.layernorm_embedding", "encoder_embeddings.norm"),
        fairseq_layers("encoder"),
        norm("encoder.layer_norm", "encoder.final_norm"),
        embedding("decoder.embed_positions", "decoder_embeddings.position"),
        norm("decoder.layernorm_embedding", "decoder_embeddings.norm"),
        fairseq_layers("decoder", cross=True),
        norm("decoder.layer_norm", "decoder.final_norm"),
    ],
    heads=FAIRSEQ_HEADS,
    tied=[SHARED_WORDS],
    ignore=FAIRSEQ_VERSIONS,
)


class MBartPretrained(seq2seq.WrappedShift):
    """What mBART's models share."""

    CONFIG = MBartConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = encoder_decoder()
    config: MBartConfig


class MBartModel(seq2seq.EncoderDecoder, MBartPretrained):
    """Encoder and decoder."""

    def __init__(self, config: MBartConfig) -> None:
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

        def make_block(num_heads: int, ffn_size: int, *, cross: bool) -> PreNormBlock:
            make_attention = partial(MultiHeadAttention, D, num_heads, dropout=config.attention_dropout)
            ffn = FeedForward(D, ffn_size, act, dropout=config.activation_dropout)
            cross_attn = make_attention() if cross else None
            make_norm = partial(nn.LayerNorm, D)
            return PreNormBlock(make_attention(), ffn, make_norm, cross_attn=cross_attn, dropout=config.dropout)

        word = nn.Embedding(config.vocab_size, D, padding_idx=config.pad_token_id)
        self.encoder_embeddings = make_embeddings()
        self.encoder = Stack(
            (make_block(config.num_heads, config.encoder_ffn_dim, cross=False) for _ in range(config.num_layers)),
            final_norm=nn.LayerNorm(D),
        )
        self.decoder_embeddings = make_embeddings()
        self.decoder = Stack(
            (
                make_block(config.decoder_attention_heads, config.decoder_ffn_dim, cross=True)
                for _ in range(config.decoder_layers)
            ),
            final_norm=nn.LayerNorm(D),
        )

    def default_target(self, input_ids: Tensor | None) -> Tensor:
        """The source itself, its last token moved to the front."""
        if input_ids is None:
            raise ValueError("pass decoder_input_ids, or input_ids from which to make them")
        return self.shift_right(input_ids)


class MBartForConditionalGeneration(seq2seq.ConditionalGeneration, MBartPretrained):
    """Turn a text into another: translate, summarise, repair."""

    OPTIONAL = ("head.bias",)

    def __init__(self, config: MBartConfig) -> None:
        super().__init__(config)
        self.backbone = MBartModel(config)
        self.head = Logits(config.hidden_size, config.vocab_size)
        self.head.bias.requires_grad_(False)  # a constant of the file, final_logits_bias
        if config.tie_word_embeddings:
            self.head.weight = self.backbone.encoder_embeddings.word.weight


class MBartForSequenceClassification(seq2seq.SequenceClassification, MBartPretrained):
    """One prediction for a text or a pair of texts."""

    def __init__(self, config: MBartConfig) -> None:
        super().__init__(config)
        self.backbone = MBartModel(config)
        self.head = DenseClassifier(config.hidden_size, config.num_labels, dropout=config.classifier_dropout)


class MBartForQuestionAnswering(seq2seq.QuestionAnswering, MBartPretrained):
    """Where in the second text the answer to the first one starts and ends."""

    def __init__(self, config: MBartConfig) -> None:
        super().__init__(config)
        self.backbone = MBartModel(config)
        self.head = Logits(config.hidden_size, 2)


ARCHITECTURE = Architecture(
    MBartConfig,
    {
        "Model": MBartModel,
        "ForSeq2SeqLM": MBartForConditionalGeneration,
        "ForMaskedLM": MBartForConditionalGeneration,
        "ForSequenceClassification": MBartForSequenceClassification,
        "ForQuestionAnswering": MBartForQuestionAnswering,
    },
)
