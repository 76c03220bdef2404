"""RoBERTa: BERT trained longer, on more text, without sentence pairs (https://arxiv.org/abs/1907.11692).

    embeddings = norm(word + token type + position), positions counted from the padding id on
    encoder    = post-norm blocks: self-attention over the whole text, feed-forward with gelu
    heads      = on the first token's vector (one more layer, with tanh) or on every token's

Reference: transformers 4.57 ``models/roberta/modeling_roberta.py``.

Traps:
    * A text's first token has position ``pad_token_id + 1``, and padding position ``pad_token_id``: both follow from
      the ids, not from the attention mask. So a table of 514 rows is good for 512 tokens, and padding may stand on
      either side.
    * The only token type of published checkpoints is type 0, whose vector is added; its tokenizer gives none.
    * The masked LM head bends with gelu, whatever ``hidden_act`` says.
    * Classifiers have a layer of their own instead of the pooler, which only the base model has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Int
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
    View,
    activation,
    positions_from_padding,
)
from minitransformer.models.common import heads
from minitransformer.models.common.base import Architecture, MakeBlock, PretrainedModel, single_stack
from minitransformer.models.common.heads import DenseClassifier, Logits, MaskedLMHead, Pooler
from minitransformer.models.common.outputs import BaseOutput
from minitransformer.ranges import Count, Layers, Positions, Rate, TokenId, Width
from minitransformer.weights import Ignore, Row, Tied, WeightMap, embedding, linear, norm

Ids = Int[Tensor, "batch token"]


@dataclass(frozen=True, kw_only=True)
class RobertaConfig(ModelConfig):
    """config.json of RoBERTa."""

    model_type: ClassVar[str] = "roberta"
    REQUIRES = {"position_embedding_type": ("absolute",)}

    vocab_size: Width = 50265
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
    pad_token_id: TokenId | None = 1
    bos_token_id: TokenId | None = 0
    eos_token_id: TokenId | list[TokenId] | None = 2

    @property
    def head_dropout(self) -> float:
        """Dropout before a classifier."""
        return self.dropout if self.classifier_dropout is None else self.classifier_dropout

    @property
    def max_positions(self) -> int:
        """The most tokens that a text may have: positions up to the padding id are not for them."""
        assert self.pad_token_id is not None  # see ``check``
        return self.num_positions - self.pad_token_id - 1

    def check(self) -> None:
        """Raise a ConfigError if there is no padding id, from which positions are counted."""
        super().check()
        if self.pad_token_id is None or not 0 <= self.pad_token_id < self.num_positions - 1:
            raise ConfigError(f"pad_token_id of roberta must be a position, to count from, not {self.pad_token_id}")


WEIGHTS = WeightMap(
    prefix="roberta",
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
            linear("lm_head.dense", "head.dense"),
            norm("lm_head.layer_norm", "head.norm"),
            Row("lm_head.decoder.weight", "head.output.weight"),
            Row("lm_head.bias", "head.output.bias"),
        ],
        "ForSequenceClassification": [
            linear("classifier.dense", "head.dense"),
            linear("classifier.out_proj", "head.output"),
        ],
        "ForMultipleChoice": linear("classifier", "head.output"),
        "ForTokenClassification": linear("classifier", "head.output"),
        "ForQuestionAnswering": linear("qa_outputs", "head.output"),
    },
    tied=[
        Tied("roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight"),
        Tied("lm_head.bias", "lm_head.decoder.bias"),
    ],
    ignore=[Ignore("roberta.embeddings.position_ids", why="the numbers 0, 1, 2, ...")],
)


class RobertaPretrained(PretrainedModel):
    """What RoBERTa's models share."""

    CONFIG = RobertaConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = single_stack("encoder")
    OPTIONAL_PARTS = ("pooler",)
    config: RobertaConfig


def roberta_block(
    config: RobertaConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PostNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D = config.hidden_size
    return PostNormBlock(
        attention(D, config.num_heads, dropout=config.attention_dropout),
        ffn(D, config.intermediate_size, activation(config.activation)),
        norm=partial(nn.LayerNorm, D, eps=config.norm_eps),
        dropout=config.dropout,
    )


class RobertaModel(RobertaPretrained):
    """The encoder; with a pooler, one vector for the whole text."""

    def __init__(
        self, config: RobertaConfig, *, add_pooling_layer: bool = True, block: MakeBlock = roberta_block
    ) -> None:
        super().__init__(config)
        D = config.hidden_size

        self.embeddings = Embeddings(
            word=nn.Embedding(config.vocab_size, D, padding_idx=config.pad_token_id),
            token_type=nn.Embedding(config.type_vocab_size, D),
            position=LearnedPositions(config.num_positions, D, padding_idx=config.pad_token_id),
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
        """Encode texts; the attention mask is 0 at padding, and so must ``input_ids`` be the padding id there."""
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        if position_ids is None:
            position_ids = self.positions(input_ids)
        x = self.embeddings(input_ids, position_ids, token_type_ids)  # (B, T, D)
        x = self.encoder(x, View(attention_mask))
        return BaseOutput(last_hidden_state=x, pooler_output=None if self.pooler is None else self.pooler(x))

    def positions(self, ids: Ids, attention_mask: Ids | None = None, cache: Any = None) -> Ids:
        """Rows of the position table: the padding id at padding, then one more for each token."""
        pad = self.config.pad_token_id
        assert pad is not None  # see the config's ``check``
        return positions_from_padding(ids, pad)


class RobertaForMaskedLM(heads.MaskedLM, RobertaPretrained):
    """Guess the words under ``<mask>``."""

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        D = config.hidden_size
        self.backbone = RobertaModel(config, add_pooling_layer=False)
        word, last_norm = self.backbone.embeddings.word, nn.LayerNorm(D, eps=config.norm_eps)
        self.head = MaskedLMHead(D, word, activation("gelu"), last_norm, tied=config.tie_word_embeddings)


class RobertaForSequenceClassification(heads.SequenceClassification, RobertaPretrained):
    """One prediction for a text or a pair of texts, from the first token's vector."""

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.backbone = RobertaModel(config, add_pooling_layer=False)
        self.head = DenseClassifier(config.hidden_size, config.num_labels, dropout=config.head_dropout)


class RobertaForMultipleChoice(heads.MultipleChoice, RobertaPretrained):
    """Which of several texts fits best, from the pooled vectors."""

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.backbone = RobertaModel(config)
        self.head = Logits(config.hidden_size, 1, dropout=config.dropout)


class RobertaForTokenClassification(heads.TokenClassification, RobertaPretrained):
    """A label for every token."""

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.backbone = RobertaModel(config, add_pooling_layer=False)
        self.head = Logits(config.hidden_size, config.num_labels, dropout=config.head_dropout)


class RobertaForQuestionAnswering(heads.QuestionAnswering, RobertaPretrained):
    """Where in the second text the answer to the first one starts and ends."""

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.backbone = RobertaModel(config, add_pooling_layer=False)
        self.head = Logits(config.hidden_size, 2)


ARCHITECTURE = Architecture(
    RobertaConfig,
    {
        "Model": RobertaModel,
        "ForMaskedLM": RobertaForMaskedLM,
        "ForSequenceClassification": RobertaForSequenceClassification,
        "ForMultipleChoice": RobertaForMultipleChoice,
        "ForTokenClassification": RobertaForTokenClassification,
        "ForQuestionAnswering": RobertaForQuestionAnswering,
    },
)
