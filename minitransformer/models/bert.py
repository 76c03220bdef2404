"""BERT: a bidirectional encoder, pretrained by guessing hidden words (https://arxiv.org/abs/1810.04805).

    embeddings = norm(word + token type + position)
    encoder    = post-norm blocks: self-attention over the whole text, feed-forward with gelu
    heads      = on the first token's vector (pooler) or on every token's

Reference: transformers 4.57 ``models/bert/modeling_bert.py``.

Traps:
    * The token type vector is added even when nobody passes token types: type 0 is a vector too.
    * Only the base model, sequence classification and next sentence prediction have the pooler; other files lack it.
    * Next sentence prediction: label 0 says "is the next sentence".
    * Old files call the norms' parameters gamma and beta.
    * Positions count from the left edge, padding included: pad BERT on the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from minitransformer.config import ModelConfig, key
from minitransformer.layers import (
    Embeddings,
    FeedForward,
    LearnedPositions,
    MultiHeadAttention,
    PostNormBlock,
    Stack,
    View,
    activation,
)
from minitransformer.models.common import heads
from minitransformer.models.common.base import Architecture, MakeBlock, PretrainedModel, single_stack
from minitransformer.models.common.heads import Logits, MaskedLMHead, Pooler
from minitransformer.models.common.losses import classification_loss, token_loss
from minitransformer.models.common.outputs import BaseOutput, NextSentencePreTrainingOutput
from minitransformer.ranges import Count, Layers, Positions, Rate, TokenId, Width
from minitransformer.weights import Ignore, Row, Tied, WeightMap, embedding, linear, norm

Ids = Int[Tensor, "batch token"]


@dataclass(frozen=True, kw_only=True)
class BertConfig(ModelConfig):
    """config.json of BERT."""

    model_type: ClassVar[str] = "bert"
    REQUIRES = {"position_embedding_type": ("absolute",)}

    vocab_size: Width = 30522
    hidden_size: Width = 768
    num_layers: Layers = key("num_hidden_layers", 12)
    num_heads: Count = key("num_attention_heads", 12)
    intermediate_size: Width = 3072
    activation: str = key("hidden_act", "gelu")
    dropout: Rate = key("hidden_dropout_prob", 0.1)
    attention_dropout: Rate = key("attention_probs_dropout_prob", 0.1)
    classifier_dropout: Rate | None = None
    num_positions: Positions = key("max_position_embeddings", 512)
    type_vocab_size: Width = 2
    norm_eps: Rate = key("layer_norm_eps", 1e-12)
    pad_token_id: TokenId | None = 0

    @property
    def head_dropout(self) -> float:
        """Dropout before a classifier."""
        return self.dropout if self.classifier_dropout is None else self.classifier_dropout


WEIGHTS = WeightMap(
    prefix="bert",
    backbone=[
        embedding("embeddings.word_embeddings", "embeddings.word"),
        embedding("embeddings.position_embeddings", "embeddings.position"),
        embedding("embeddings.token_type_embeddings", "embeddings.token_type"),
        norm("embeddings.LayerNorm", "embeddings.norm"),
        linear("encoder.layer.{i}.attention.self.query", "encoder.blocks.{i}.attn.query"),
        linear("encoder.layer.{i}.attention.self.key", "encoder.blocks.{i}.attn.key"),
        linear("encoder.layer.{i}.attention.self.value", "encoder.blocks.{i}.attn.value"),
        linear("encoder.layer.{i}.attention.output.dense", "encoder.blocks.{i}.attn.output"),
        norm("encoder.layer.{i}.attention.output.LayerNorm", "encoder.blocks.{i}.attn_norm"),
        linear("encoder.layer.{i}.intermediate.dense", "encoder.blocks.{i}.ffn.up"),
        linear("encoder.layer.{i}.output.dense", "encoder.blocks.{i}.ffn.down"),
        norm("encoder.layer.{i}.output.LayerNorm", "encoder.blocks.{i}.ffn_norm"),
        linear("pooler.dense", "pooler.dense"),
    ],
    heads={
        "ForMaskedLM": [
            linear("cls.predictions.transform.dense", "head.dense"),
            norm("cls.predictions.transform.LayerNorm", "head.norm"),
            Row("cls.predictions.decoder.weight", "head.output.weight"),
            Row("cls.predictions.bias", "head.output.bias"),
        ],
        "ForNextSentencePrediction": linear("cls.seq_relationship", "head.output"),
        "ForPreTraining": [
            linear("cls.predictions.transform.dense", "head.words.dense"),
            norm("cls.predictions.transform.LayerNorm", "head.words.norm"),
            Row("cls.predictions.decoder.weight", "head.words.output.weight"),
            Row("cls.predictions.bias", "head.words.output.bias"),
            linear("cls.seq_relationship", "head.next.output"),
        ],
        "ForSequenceClassification": linear("classifier", "head.output"),
        "ForMultipleChoice": linear("classifier", "head.output"),
        "ForTokenClassification": linear("classifier", "head.output"),
        "ForQuestionAnswering": linear("qa_outputs", "head.output"),
    },
    tied=[
        Tied("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
        Tied("cls.predictions.bias", "cls.predictions.decoder.bias"),
    ],
    ignore=[Ignore("bert.embeddings.position_ids", why="the numbers 0, 1, 2, ...")],
)


class BertPretrained(PretrainedModel):
    """What BERT's models share."""

    CONFIG = BertConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = single_stack("encoder")
    OPTIONAL_PARTS = ("pooler",)
    config: BertConfig


def bert_block(
    config: BertConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PostNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D = config.hidden_size
    return PostNormBlock(
        attention(D, config.num_heads, dropout=config.attention_dropout),
        ffn(D, config.intermediate_size, activation(config.activation)),
        norm=partial(nn.LayerNorm, D, eps=config.norm_eps),
        dropout=config.dropout,
    )


class BertModel(BertPretrained):
    """The encoder; with a pooler, one vector for the whole text."""

    def __init__(self, config: BertConfig, *, add_pooling_layer: bool = True, block: MakeBlock = bert_block) -> None:
        super().__init__(config)
        D = config.hidden_size

        self.embeddings = Embeddings(
            word=nn.Embedding(config.vocab_size, D, padding_idx=config.pad_token_id),
            token_type=nn.Embedding(config.type_vocab_size, D),
            position=LearnedPositions(config.num_positions, D),
            norm=nn.LayerNorm(D, eps=config.norm_eps),
            dropout=config.dropout,
        )
        self.encoder = Stack(block(config) for _ in range(config.num_layers))
        self.pooler = Pooler(D) if add_pooling_layer else None

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
    ) -> BaseOutput:
        """Encode texts; the attention mask is 0 at padding, token types are 0 and 1 for the two texts of a pair."""
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        if position_ids is None:
            position_ids = self.positions(input_ids)
        x = self.embeddings(input_ids, position_ids, token_type_ids)  # (B, T, D)
        x = self.encoder(x, View(attention_mask))
        return BaseOutput(last_hidden_state=x, pooler_output=None if self.pooler is None else self.pooler(x))


def masked_lm_head(config: BertConfig, word: nn.Embedding) -> MaskedLMHead:
    """Scores of all words, by the embeddings themselves if they are tied."""
    D, act = config.hidden_size, activation(config.activation)
    return MaskedLMHead(D, word, act, nn.LayerNorm(D, eps=config.norm_eps), tied=config.tie_word_embeddings)


class BertForPreTraining(BertPretrained):
    """Both tasks of pretraining: guess the words under ``[MASK]``, and tell whether one text follows the other."""

    HEAD = "ForPreTraining"

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.backbone = BertModel(config)
        words = masked_lm_head(config, self.backbone.embeddings.word)
        self.head = nn.ModuleDict({"words": words, "next": Logits(config.hidden_size, 2)})

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
        labels: Ids | None = None,
        next_sentence_label: Int[Tensor, " batch"] | None = None,
    ) -> NextSentencePreTrainingOutput:
        """Score words and order; the loss wants both kinds of labels. Order: 0 the next text, 1 any other."""
        output = self.backbone(input_ids, attention_mask, token_type_ids, position_ids)
        prediction_logits = self.head["words"](output.last_hidden_state)
        seq_relationship_logits = self.head["next"](output.pooler_output)
        words = token_loss(prediction_logits, labels)
        order = classification_loss(seq_relationship_logits, next_sentence_label, "single_label_classification")
        loss = None if words is None or order is None else words + order
        return NextSentencePreTrainingOutput(loss, prediction_logits, seq_relationship_logits)


class BertForMaskedLM(heads.MaskedLM, BertPretrained):
    """Guess the words under ``[MASK]``."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.backbone = BertModel(config, add_pooling_layer=False)
        self.head = masked_lm_head(config, self.backbone.embeddings.word)


class BertForNextSentencePrediction(heads.NextSentencePrediction, BertPretrained):
    """Tell whether the second text follows the first."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.backbone = BertModel(config)
        self.head = Logits(config.hidden_size, 2)


class BertForSequenceClassification(heads.SequenceClassification, BertPretrained):
    """One prediction for a text or a pair of texts, from the pooled vector."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.backbone = BertModel(config)
        self.head = Logits(config.hidden_size, config.num_labels, dropout=config.head_dropout)


class BertForMultipleChoice(heads.MultipleChoice, BertPretrained):
    """Which of several texts fits best, from the pooled vectors."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.backbone = BertModel(config)
        self.head = Logits(config.hidden_size, 1, dropout=config.head_dropout)


class BertForTokenClassification(heads.TokenClassification, BertPretrained):
    """A label for every token."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.backbone = BertModel(config, add_pooling_layer=False)
        self.head = Logits(config.hidden_size, config.num_labels, dropout=config.head_dropout)


class BertForQuestionAnswering(heads.QuestionAnswering, BertPretrained):
    """Where in the second text the answer to the first one starts and ends."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.backbone = BertModel(config, add_pooling_layer=False)
        self.head = Logits(config.hidden_size, 2)


ARCHITECTURE = Architecture(
    BertConfig,
    {
        "Model": BertModel,
        "ForPreTraining": BertForPreTraining,
        "ForMaskedLM": BertForMaskedLM,
        "ForNextSentencePrediction": BertForNextSentencePrediction,
        "ForSequenceClassification": BertForSequenceClassification,
        "ForMultipleChoice": BertForMultipleChoice,
        "ForTokenClassification": BertForTokenClassification,
        "ForQuestionAnswering": BertForQuestionAnswering,
    },
)
