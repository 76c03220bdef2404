"""ELECTRA: an encoder pretrained to spot replaced words (https://arxiv.org/abs/2003.10555).

    embeddings    = norm(word + token type + position), widened by a projection where the encoder is wider
    encoder       = post-norm blocks: self-attention over the whole text, feed-forward with gelu
    generator     = a small masked LM, whose guesses replace words (``ElectraForMaskedLM``)
    discriminator = for every token: original, or the generator's? (``ElectraForPreTraining``)
    heads         = on the first token's vector (one more layer, with gelu) or on every token's

Reference: transformers 4.57 ``models/electra/modeling_electra.py``.

Traps:
    * The projection exists only where ``embedding_size != hidden_size``; the first hidden state is what it gives.
    * There is no pooler. Classifiers have a layer of their own, with gelu where RoBERTa's has tanh.
    * The masked LM head bends with gelu, whatever ``hidden_act`` says; the discriminator's bends with ``hidden_act``.
    * Generator and discriminator are two checkpoints. A discriminator cannot fill masks: its file has no such head.
    * The discriminator's logits are for "replaced"; sigmoid is left to the caller.
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
from minitransformer.models.common.heads import DenseClassifier, Logits, MaskedLMHead
from minitransformer.models.common.losses import replaced_token_loss
from minitransformer.models.common.outputs import BaseOutput, LogitsOutput
from minitransformer.ranges import Count, Layers, Positions, Rate, TokenId, Width
from minitransformer.weights import Ignore, Row, Tied, WeightMap, embedding, linear, norm

Ids = Int[Tensor, "batch token"]


@dataclass(frozen=True, kw_only=True)
class ElectraConfig(ModelConfig):
    """config.json of ELECTRA."""

    model_type: ClassVar[str] = "electra"
    REQUIRES = {
        "position_embedding_type": ("absolute",),
        "summary_type": ("first",),
        "summary_use_proj": (True,),
        "summary_activation": ("gelu",),
    }

    vocab_size: Width = 30522
    embedding_size: Width = 128
    hidden_size: Width = 256
    num_layers: Layers = key("num_hidden_layers", 12)
    num_heads: Count = key("num_attention_heads", 4)
    intermediate_size: Width = 1024
    activation: str = key("hidden_act", "gelu")
    dropout: Rate = key("hidden_dropout_prob", 0.1)
    attention_dropout: Rate = key("attention_probs_dropout_prob", 0.1)
    classifier_dropout: Rate | None = None
    summary_dropout: Rate = key("summary_last_dropout", 0.1)
    num_positions: Positions = key("max_position_embeddings", 512)
    type_vocab_size: Width = 2
    norm_eps: Rate = key("layer_norm_eps", 1e-12)
    pad_token_id: TokenId | None = 0

    @property
    def head_dropout(self) -> float:
        """Dropout before a classifier."""
        return self.dropout if self.classifier_dropout is None else self.classifier_dropout


WEIGHTS = WeightMap(
    prefix="electra",
    backbone=[
        embedding("embeddings.word_embeddings", "embeddings.word"),
        embedding("embeddings.position_embeddings", "embeddings.position"),
        embedding("embeddings.token_type_embeddings", "embeddings.token_type"),
        norm("embeddings.LayerNorm", "embeddings.norm"),
        linear("embeddings_project", "embeddings_project"),
        linear("encoder.layer.{i}.attention.self.query", "encoder.blocks.{i}.attn.query"),
        linear("encoder.layer.{i}.attention.self.key", "encoder.blocks.{i}.attn.key"),
        linear("encoder.layer.{i}.attention.self.value", "encoder.blocks.{i}.attn.value"),
        linear("encoder.layer.{i}.attention.output.dense", "encoder.blocks.{i}.attn.output"),
        norm("encoder.layer.{i}.attention.output.LayerNorm", "encoder.blocks.{i}.attn_norm"),
        linear("encoder.layer.{i}.intermediate.dense", "encoder.blocks.{i}.ffn.up"),
        linear("encoder.layer.{i}.output.dense", "encoder.blocks.{i}.ffn.down"),
        norm("encoder.layer.{i}.output.LayerNorm", "encoder.blocks.{i}.ffn_norm"),
    ],
    heads={
        "ForPreTraining": [
            linear("discriminator_predictions.dense", "head.dense"),
            linear("discriminator_predictions.dense_prediction", "head.output"),
        ],
        "ForMaskedLM": [
            linear("generator_predictions.dense", "head.dense"),
            norm("generator_predictions.LayerNorm", "head.norm"),
            Row("generator_lm_head.weight", "head.output.weight"),
            Row("generator_lm_head.bias", "head.output.bias"),
        ],
        "ForSequenceClassification": [
            linear("classifier.dense", "head.dense"),
            linear("classifier.out_proj", "head.output"),
        ],
        "ForMultipleChoice": [
            linear("sequence_summary.summary", "head.dense"),
            linear("classifier", "head.output"),
        ],
        "ForTokenClassification": linear("classifier", "head.output"),
        "ForQuestionAnswering": linear("qa_outputs", "head.output"),
    },
    tied=[Tied("electra.embeddings.word_embeddings.weight", "generator_lm_head.weight")],
    ignore=[Ignore("electra.embeddings.position_ids", why="the numbers 0, 1, 2, ...")],
)


class ElectraPretrained(PretrainedModel):
    """What ELECTRA's models share."""

    CONFIG = ElectraConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = single_stack("encoder")
    config: ElectraConfig


def electra_block(
    config: ElectraConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PostNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D = config.hidden_size
    return PostNormBlock(
        attention(D, config.num_heads, dropout=config.attention_dropout),
        ffn(D, config.intermediate_size, activation(config.activation)),
        norm=partial(nn.LayerNorm, D, eps=config.norm_eps),
        dropout=config.dropout,
    )


class ElectraModel(ElectraPretrained):
    """The encoder."""

    def __init__(self, config: ElectraConfig, *, block: MakeBlock = electra_block) -> None:
        super().__init__(config)
        D, E = config.hidden_size, config.embedding_size

        self.embeddings = Embeddings(
            word=nn.Embedding(config.vocab_size, E, padding_idx=config.pad_token_id),
            token_type=nn.Embedding(config.type_vocab_size, E),
            position=LearnedPositions(config.num_positions, E),
            norm=nn.LayerNorm(E, eps=config.norm_eps),
            dropout=config.dropout,
        )
        self.embeddings_project = nn.Linear(E, D) if E != D else None
        self.encoder = Stack(block(config) for _ in range(config.num_layers))

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
        x = self.embeddings(input_ids, position_ids, token_type_ids)  # (B, T, E)
        if self.embeddings_project is not None:
            x = self.embeddings_project(x)  # (B, T, D)
        x = self.encoder(x, View(attention_mask))
        return BaseOutput(last_hidden_state=x)


class ElectraForMaskedLM(heads.MaskedLM, ElectraPretrained):
    """The generator: guess the words under ``[MASK]``."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.backbone = ElectraModel(config)
        word, last_norm = self.backbone.embeddings.word, nn.LayerNorm(config.embedding_size, eps=config.norm_eps)
        act, tied = activation("gelu"), config.tie_word_embeddings
        self.head = MaskedLMHead(config.hidden_size, word, act, last_norm, tied=tied)


class ElectraForPreTraining(ElectraPretrained):
    """The discriminator: tell the tokens that were replaced."""

    HEAD = "ForPreTraining"

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.backbone = ElectraModel(config)
        self.head = DenseClassifier(config.hidden_size, 1, activation(config.activation))

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
        labels: Ids | None = None,
    ) -> LogitsOutput:
        """Score every token: above 0 if replaced. Labels are 1 for replaced, 0 for original; padding is not counted."""
        x = self.backbone(input_ids, attention_mask, token_type_ids, position_ids).last_hidden_state
        logits = self.head(x).squeeze(-1)  # (B, T)
        return LogitsOutput(replaced_token_loss(logits, labels, attention_mask), logits)


class ElectraForSequenceClassification(heads.SequenceClassification, ElectraPretrained):
    """One prediction for a text or a pair of texts, from the first token's vector."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        D, act = config.hidden_size, activation("gelu")
        self.backbone = ElectraModel(config)
        self.head = DenseClassifier(D, config.num_labels, act, dropout=config.head_dropout)


class ElectraForMultipleChoice(heads.MultipleChoice, ElectraPretrained):
    """Which of several texts fits best, from the first tokens' vectors."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.backbone = ElectraModel(config)
        drop, act = config.summary_dropout, activation("gelu")
        self.head = DenseClassifier(config.hidden_size, 1, act, dropout=drop, input_dropout=0.0)


class ElectraForTokenClassification(heads.TokenClassification, ElectraPretrained):
    """A label for every token."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.backbone = ElectraModel(config)
        self.head = Logits(config.hidden_size, config.num_labels, dropout=config.head_dropout)


class ElectraForQuestionAnswering(heads.QuestionAnswering, ElectraPretrained):
    """Where in the second text the answer to the first one starts and ends."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.backbone = ElectraModel(config)
        self.head = Logits(config.hidden_size, 2)


ARCHITECTURE = Architecture(
    ElectraConfig,
    {
        "Model": ElectraModel,
        "ForPreTraining": ElectraForPreTraining,
        "ForMaskedLM": ElectraForMaskedLM,
        "ForSequenceClassification": ElectraForSequenceClassification,
        "ForMultipleChoice": ElectraForMultipleChoice,
        "ForTokenClassification": ElectraForTokenClassification,
        "ForQuestionAnswering": ElectraForQuestionAnswering,
    },
)
