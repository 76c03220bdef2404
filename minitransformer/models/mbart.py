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
from typing import Any, ClassVar

from jaxtyping import Int
from torch import Tensor, nn

from minitransformer.layers import (
    DecoderCache,
    Embeddings,
    LearnedPositions,
    Stack,
    View,
    tied,
)
from minitransformer.models.common import seq2seq
from minitransformer.models.common.base import Architecture, MakeBlock, encoder_decoder
from minitransformer.models.common.fairseq import (
    FAIRSEQ_HEADS,
    FAIRSEQ_VERSIONS,
    SHARED_WORDS,
    FairseqConfig,
    fairseq_layers,
    pre_norm_decoder_block,
    pre_norm_encoder_block,
)
from minitransformer.models.common.heads import DenseClassifier, Logits
from minitransformer.models.common.outputs import Seq2SeqOutput
from minitransformer.models.common.seq2seq import need_source
from minitransformer.ranges import Rate, Width
from minitransformer.weights import WeightMap, embedding, norm

Ids = Int[Tensor, "batch token"]


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

    def __init__(
        self,
        config: MBartConfig,
        *,
        encoder_block: MakeBlock = pre_norm_encoder_block,
        decoder_block: MakeBlock = pre_norm_decoder_block,
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
        self.encoder = Stack((encoder_block(config) for _ in range(config.num_layers)), nn.LayerNorm(D))
        self.decoder_embeddings = make_embeddings(tied(word))
        self.decoder = Stack((decoder_block(config) for _ in range(config.decoder_layers)), nn.LayerNorm(D))

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


class MBartForConditionalGeneration(seq2seq.ConditionalGeneration, MBartPretrained):
    """Turn a text into another: translate, summarise, repair."""

    OPTIONAL = ("head.output.bias",)

    def __init__(self, config: MBartConfig) -> None:
        super().__init__(config)
        self.backbone = MBartModel(config)
        self.head = Logits(config.hidden_size, config.vocab_size)
        self.head.output.bias.requires_grad_(False)  # a constant of the file, final_logits_bias
        if config.tie_word_embeddings:
            self.head.output.weight = self.backbone.encoder_embeddings.word.weight


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
