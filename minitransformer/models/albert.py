"""ALBERT: BERT with few parameters, used again and again (https://arxiv.org/abs/1909.11942).

    embeddings = project(norm(word + token type + position)): narrow tables, widened afterwards
    encoder    = post-norm blocks: self-attention over the whole text, feed-forward with gelu_new; one block (or a
                 few, in groups) is applied ``num_layers`` times
    heads      = on the first token's vector (pooler) or on every token's; sentence order in pretraining

Reference: transformers 4.57 ``models/albert/modeling_albert.py``.

Traps:
    * Every group has ``inner_group_num`` blocks, and *each* layer runs through all of its group's. There is one hidden
      state for a layer, but one attention map for a block. Transformers fails for a group with more blocks than layers.
    * The first hidden state is what the projection gives; tables and the masked LM head are ``embedding_size`` wide.
    * Published versions differ in activation (v1 gelu, v2 gelu_new): the config says which.
    * Sentence order: label 0 says that the two texts are in order.
    * In training transformers drops nothing behind the feed-forward network. The published configs drop nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.config import ModelConfig, key
from minitransformer.errors import ConfigError
from minitransformer.layers import (
    Embeddings,
    FeedForward,
    LearnedPositions,
    MultiHeadAttention,
    PostNormBlock,
    Stack,
    Tap,
    View,
    activation,
)
from minitransformer.models.common import heads
from minitransformer.models.common.base import Architecture, MakeBlock, PretrainedModel
from minitransformer.models.common.heads import Logits, MaskedLMHead, Pooler
from minitransformer.models.common.losses import classification_loss, token_loss
from minitransformer.models.common.outputs import BaseOutput, PreTrainingOutput
from minitransformer.ranges import Count, Depth, Layers, Positions, Rate, TokenId, Width
from minitransformer.weights import Ignore, Row, Tied, WeightMap, embedding, linear, norm

Ids = Int[Tensor, "batch token"]


@dataclass(frozen=True, kw_only=True)
class AlbertConfig(ModelConfig):
    """config.json of ALBERT."""

    model_type: ClassVar[str] = "albert"
    REQUIRES = {"position_embedding_type": ("absolute",)}
    IGNORES = {
        "down_scale_factor": "transformers ignores it",
        "gap_size": "transformers ignores it",
        "layers_to_keep": "transformers ignores it",
        "net_structure_type": "transformers ignores it",
        "num_memory_blocks": "transformers ignores it",
    }

    vocab_size: Width = 30000
    embedding_size: Width = 128
    hidden_size: Width = 4096
    num_layers: Depth = key("num_hidden_layers", 12)
    num_groups: Layers = key("num_hidden_groups", 1)
    num_blocks: Layers = key("inner_group_num", 1)
    num_heads: Count = key("num_attention_heads", 64)
    intermediate_size: Width = 16384
    activation: str = key("hidden_act", "gelu_new")
    dropout: Rate = key("hidden_dropout_prob", 0.0)
    attention_dropout: Rate = key("attention_probs_dropout_prob", 0.0)
    classifier_dropout: Rate | None = key("classifier_dropout_prob", 0.1)
    num_positions: Positions = key("max_position_embeddings", 512)
    type_vocab_size: Width = 2
    norm_eps: Rate = key("layer_norm_eps", 1e-12)
    pad_token_id: TokenId | None = 0
    bos_token_id: TokenId | None = 2
    eos_token_id: TokenId | list[TokenId] | None = 3

    @property
    def head_dropout(self) -> float:
        """Dropout before a classifier."""
        return self.dropout if self.classifier_dropout is None else self.classifier_dropout

    def check(self) -> None:
        """Raise a ConfigError if a group would have no block, or no layer."""
        super().check()
        if not 1 <= self.num_groups <= self.num_layers:
            raise ConfigError(f"num_hidden_groups must be 1 to num_hidden_layers {self.num_layers}: {self.num_groups}")
        if self.num_groups * self.num_blocks > 1000:
            raise ConfigError(f"{self.num_groups} groups of {self.num_blocks} blocks are more than 1000 blocks")


GROUP, BLOCK = "encoder.albert_layer_groups.{i}.albert_layers.{j}", "encoder.groups.{i}.blocks.{j}"

WEIGHTS = WeightMap(
    prefix="albert",
    backbone=[
        embedding("embeddings.word_embeddings", "embeddings.word"),
        embedding("embeddings.position_embeddings", "embeddings.position"),
        embedding("embeddings.token_type_embeddings", "embeddings.token_type"),
        norm("embeddings.LayerNorm", "embeddings.norm"),
        linear("encoder.embedding_hidden_mapping_in", "embeddings_project"),
        linear(f"{GROUP}.attention.query", f"{BLOCK}.attn.query"),
        linear(f"{GROUP}.attention.key", f"{BLOCK}.attn.key"),
        linear(f"{GROUP}.attention.value", f"{BLOCK}.attn.value"),
        linear(f"{GROUP}.attention.dense", f"{BLOCK}.attn.output"),
        norm(f"{GROUP}.attention.LayerNorm", f"{BLOCK}.attn_norm"),
        linear(f"{GROUP}.ffn", f"{BLOCK}.ffn.up"),
        linear(f"{GROUP}.ffn_output", f"{BLOCK}.ffn.down"),
        norm(f"{GROUP}.full_layer_layer_norm", f"{BLOCK}.ffn_norm"),
        linear("pooler", "pooler.dense"),
    ],
    heads={
        "ForPreTraining": [
            linear("predictions.dense", "head.words.dense"),
            norm("predictions.LayerNorm", "head.words.norm"),
            Row("predictions.decoder.weight", "head.words.output.weight"),
            Row("predictions.bias", "head.words.output.bias"),
            linear("sop_classifier.classifier", "head.order.output"),
        ],
        "ForMaskedLM": [
            linear("predictions.dense", "head.dense"),
            norm("predictions.LayerNorm", "head.norm"),
            Row("predictions.decoder.weight", "head.output.weight"),
            Row("predictions.bias", "head.output.bias"),
        ],
        "ForSequenceClassification": linear("classifier", "head.output"),
        "ForMultipleChoice": linear("classifier", "head.output"),
        "ForTokenClassification": linear("classifier", "head.output"),
        "ForQuestionAnswering": linear("qa_outputs", "head.output"),
    },
    tied=[
        Tied("albert.embeddings.word_embeddings.weight", "predictions.decoder.weight"),
        Tied("predictions.bias", "predictions.decoder.bias"),
    ],
    ignore=[Ignore("albert.embeddings.position_ids", why="the numbers 0, 1, 2, ...")],
)


class AlbertPretrained(PretrainedModel):
    """What ALBERT's models share."""

    CONFIG = AlbertConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = {
        "hidden_states": ("encoder.groups.*.blocks.0.input", "encoder.output"),
        "attentions": ("encoder.groups.*.blocks.*.attn.pattern",),
    }
    OPTIONAL_PARTS = ("pooler",)
    config: AlbertConfig


class SharedStack(nn.Module):
    """Few blocks for many layers: neighbouring layers share a group of blocks.

    Args:
        groups: the blocks of each group.
        num_layers: how many layers there are, each of them a pass through one group.
    """

    def __init__(self, groups: Iterable[Stack], num_layers: int) -> None:
        super().__init__()
        self.groups = nn.ModuleList(groups)
        self.num_layers = num_layers
        self.output = Tap("batch token hidden_size")

    def forward(
        self, x: Float[Tensor, "batch token hidden_size"], view: View | None = None
    ) -> Float[Tensor, "batch token hidden_size"]:
        """Send ``x`` through all layers."""
        layers_per_group = self.num_layers / len(self.groups)  # not always a whole number
        for layer in range(self.num_layers):
            x = self.groups[int(layer / layers_per_group)](x, view)
        return self.output(x)


def albert_block(
    config: AlbertConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PostNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D = config.hidden_size
    return PostNormBlock(
        attention(D, config.num_heads, dropout=config.attention_dropout),
        ffn(D, config.intermediate_size, activation(config.activation)),
        norm=partial(nn.LayerNorm, D, eps=config.norm_eps),
        dropout=config.dropout,
    )


class AlbertModel(AlbertPretrained):
    """The encoder; with a pooler, one vector for the whole text."""

    def __init__(
        self, config: AlbertConfig, *, add_pooling_layer: bool = True, block: MakeBlock = albert_block
    ) -> None:
        super().__init__(config)
        D, E = config.hidden_size, config.embedding_size

        self.embeddings = Embeddings(
            word=nn.Embedding(config.vocab_size, E, padding_idx=config.pad_token_id),
            token_type=nn.Embedding(config.type_vocab_size, E),
            position=LearnedPositions(config.num_positions, E),
            norm=nn.LayerNorm(E, eps=config.norm_eps),
            dropout=config.dropout,
        )
        self.embeddings_project = nn.Linear(E, D)
        groups = (Stack(block(config) for _ in range(config.num_blocks)) for _ in range(config.num_groups))
        self.encoder = SharedStack(groups, config.num_layers)
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
        x = self.embeddings(input_ids, position_ids, token_type_ids)  # (B, T, E)
        x = self.embeddings_project(x)  # (B, T, D)
        x = self.encoder(x, View(attention_mask))
        return BaseOutput(last_hidden_state=x, pooler_output=None if self.pooler is None else self.pooler(x))


def masked_lm_head(config: AlbertConfig, word: nn.Embedding) -> MaskedLMHead:
    """From the encoder's width down to the tables', and compare with every word."""
    last_norm = nn.LayerNorm(config.embedding_size, eps=config.norm_eps)
    act = activation(config.activation)
    return MaskedLMHead(config.hidden_size, word, act, last_norm, tied=config.tie_word_embeddings)


class AlbertForPreTraining(AlbertPretrained):
    """Both tasks of pretraining: guess the words under ``[MASK]``, and tell whether two texts are in order."""

    HEAD = "ForPreTraining"

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(config)
        self.backbone = AlbertModel(config)
        words = masked_lm_head(config, self.backbone.embeddings.word)
        order = Logits(config.hidden_size, config.num_labels, dropout=config.head_dropout)
        self.head = nn.ModuleDict({"words": words, "order": order})

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
        labels: Ids | None = None,
        sentence_order_label: Int[Tensor, " batch"] | None = None,
    ) -> PreTrainingOutput:
        """Score words and order; the loss wants both kinds of labels. Order: 0 as written, 1 swapped."""
        output = self.backbone(input_ids, attention_mask, token_type_ids, position_ids)
        prediction_logits = self.head["words"](output.last_hidden_state)
        sop_logits = self.head["order"](output.pooler_output)
        words = token_loss(prediction_logits, labels)
        order = classification_loss(sop_logits, sentence_order_label, "single_label_classification")
        loss = None if words is None or order is None else words + order
        return PreTrainingOutput(loss, prediction_logits, sop_logits)


class AlbertForMaskedLM(heads.MaskedLM, AlbertPretrained):
    """Guess the words under ``[MASK]``."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(config)
        self.backbone = AlbertModel(config, add_pooling_layer=False)
        self.head = masked_lm_head(config, self.backbone.embeddings.word)


class AlbertForSequenceClassification(heads.SequenceClassification, AlbertPretrained):
    """One prediction for a text or a pair of texts, from the pooled vector."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(config)
        self.backbone = AlbertModel(config)
        self.head = Logits(config.hidden_size, config.num_labels, dropout=config.head_dropout)


class AlbertForMultipleChoice(heads.MultipleChoice, AlbertPretrained):
    """Which of several texts fits best, from the pooled vectors."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(config)
        self.backbone = AlbertModel(config)
        self.head = Logits(config.hidden_size, 1, dropout=config.head_dropout)


class AlbertForTokenClassification(heads.TokenClassification, AlbertPretrained):
    """A label for every token."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(config)
        self.backbone = AlbertModel(config, add_pooling_layer=False)
        self.head = Logits(config.hidden_size, config.num_labels, dropout=config.head_dropout)


class AlbertForQuestionAnswering(heads.QuestionAnswering, AlbertPretrained):
    """Where in the second text the answer to the first one starts and ends."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(config)
        self.backbone = AlbertModel(config, add_pooling_layer=False)
        self.head = Logits(config.hidden_size, 2)


ARCHITECTURE = Architecture(
    AlbertConfig,
    {
        "Model": AlbertModel,
        "ForPreTraining": AlbertForPreTraining,
        "ForMaskedLM": AlbertForMaskedLM,
        "ForSequenceClassification": AlbertForSequenceClassification,
        "ForMultipleChoice": AlbertForMultipleChoice,
        "ForTokenClassification": AlbertForTokenClassification,
        "ForQuestionAnswering": AlbertForQuestionAnswering,
    },
)
