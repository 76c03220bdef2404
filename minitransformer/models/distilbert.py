"""DistilBERT: half of BERT's layers, taught to answer like BERT (https://arxiv.org/abs/1910.01108).

    embeddings = norm(word + position)
    encoder    = post-norm blocks: self-attention over the whole text, feed-forward with gelu
    heads      = on the first token's vector (one more layer, with relu) or on every token's

Reference: transformers 4.57 ``models/distilbert/modeling_distilbert.py``.

Traps:
    * There are no token types and no pooler; ``forward`` takes neither token types nor positions.
    * The norms' epsilon is 1e-12 whatever the config says: it has no key for it.
    * The head of a classifier bends with relu, where BERT's pooler has tanh; its two layers lie side by side in files.
    * ``sinusoidal_pos_embds`` says how the position table began, with columns interleaved. It is in the file all the
      same, and is not trained; transformers forgets the latter for a loaded model.
    * Positions count from the left edge, padding included: pad DistilBERT on the right.
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
    sinusoids,
)
from minitransformer.models.common import heads
from minitransformer.models.common.base import Architecture, MakeBlock, PretrainedModel, single_stack
from minitransformer.models.common.heads import DenseClassifier, Logits, MaskedLMHead
from minitransformer.models.common.outputs import BaseOutput, LogitsOutput, QuestionAnsweringOutput
from minitransformer.ranges import Count, Layers, Positions, Rate, TokenId, Width
from minitransformer.weights import Ignore, Row, Tied, WeightMap, embedding, linear, norm

Ids = Int[Tensor, "batch token"]
NORM_EPS = 1e-12


@dataclass(frozen=True, kw_only=True)
class DistilBertConfig(ModelConfig):
    """config.json of DistilBERT."""

    model_type: ClassVar[str] = "distilbert"
    IGNORES = {"tie_weights_": "transformers ignores it"}

    vocab_size: Width = 30522
    hidden_size: Width = key("dim", 768, aliases=("hidden_size",))
    num_layers: Layers = key("n_layers", 6, aliases=("num_hidden_layers",))
    num_heads: Count = key("n_heads", 12, aliases=("num_attention_heads",))
    intermediate_size: Width = key("hidden_dim", 3072)
    activation: str = "gelu"
    dropout: Rate = 0.1
    attention_dropout: Rate = 0.1
    qa_dropout: Rate = 0.1
    classifier_dropout: Rate = key("seq_classif_dropout", 0.2)
    num_positions: Positions = key("max_position_embeddings", 512)
    sinusoidal_positions: bool = key("sinusoidal_pos_embds", False)
    pad_token_id: TokenId | None = 0


WEIGHTS = WeightMap(
    prefix="distilbert",
    backbone=[
        embedding("embeddings.word_embeddings", "embeddings.word"),
        embedding("embeddings.position_embeddings", "embeddings.position"),
        norm("embeddings.LayerNorm", "embeddings.norm"),
        linear("transformer.layer.{i}.attention.q_lin", "encoder.blocks.{i}.attn.query"),
        linear("transformer.layer.{i}.attention.k_lin", "encoder.blocks.{i}.attn.key"),
        linear("transformer.layer.{i}.attention.v_lin", "encoder.blocks.{i}.attn.value"),
        linear("transformer.layer.{i}.attention.out_lin", "encoder.blocks.{i}.attn.output"),
        norm("transformer.layer.{i}.sa_layer_norm", "encoder.blocks.{i}.attn_norm"),
        linear("transformer.layer.{i}.ffn.lin1", "encoder.blocks.{i}.ffn.up"),
        linear("transformer.layer.{i}.ffn.lin2", "encoder.blocks.{i}.ffn.down"),
        norm("transformer.layer.{i}.output_layer_norm", "encoder.blocks.{i}.ffn_norm"),
    ],
    heads={
        "ForMaskedLM": [
            linear("vocab_transform", "head.dense"),
            norm("vocab_layer_norm", "head.norm"),
            Row("vocab_projector.weight", "head.output.weight"),
            Row("vocab_projector.bias", "head.output.bias"),
        ],
        "ForSequenceClassification": [
            linear("pre_classifier", "head.dense"),
            linear("classifier", "head.output"),
        ],
        "ForMultipleChoice": [
            linear("pre_classifier", "head.dense"),
            linear("classifier", "head.output"),
        ],
        "ForTokenClassification": linear("classifier", "head.output"),
        "ForQuestionAnswering": linear("qa_outputs", "head.output"),
    },
    tied=[Tied("distilbert.embeddings.word_embeddings.weight", "vocab_projector.weight")],
    ignore=[Ignore("distilbert.embeddings.position_ids", why="the numbers 0, 1, 2, ...")],
)


class DistilBertPretrained(PretrainedModel):
    """What DistilBERT's models share."""

    CONFIG = DistilBertConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = single_stack("encoder")
    config: DistilBertConfig

    @torch.no_grad()
    def initialise(self, only: set[str] | None = None) -> None:
        """Draw weights anew, as for all models; positions may begin as sinusoids."""
        super().initialise(only)
        if self.config.sinusoidal_positions and only is None:
            for module in self.modules():
                if isinstance(module, LearnedPositions):
                    module.weight.copy_(sinusoids(*module.weight.shape, interleaved=True))


def distilbert_block(
    config: DistilBertConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PostNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D = config.hidden_size
    return PostNormBlock(
        attention(D, config.num_heads, dropout=config.attention_dropout),
        ffn(D, config.intermediate_size, activation(config.activation)),
        norm=partial(nn.LayerNorm, D, eps=NORM_EPS),
        dropout=config.dropout,
    )


class DistilBertModel(DistilBertPretrained):
    """The encoder."""

    def __init__(self, config: DistilBertConfig, *, block: MakeBlock = distilbert_block) -> None:
        super().__init__(config)
        D = config.hidden_size

        position = LearnedPositions(config.num_positions, D)
        position.weight.requires_grad_(not config.sinusoidal_positions)
        self.embeddings = Embeddings(
            word=nn.Embedding(config.vocab_size, D, padding_idx=config.pad_token_id),
            position=position,
            norm=nn.LayerNorm(D, eps=NORM_EPS),
            dropout=config.dropout,
        )
        self.encoder = Stack(block(config) for _ in range(config.num_layers))

    def forward(self, input_ids: Ids, attention_mask: Ids | None = None) -> BaseOutput:
        """Encode texts; the attention mask is 0 at padding."""
        position_ids = self.positions(input_ids)
        x = self.embeddings(input_ids, position_ids)  # (B, T, D)
        x = self.encoder(x, View(attention_mask))
        return BaseOutput(last_hidden_state=x)


class DistilBertForMaskedLM(heads.MaskedLM, DistilBertPretrained):
    """Guess the words under ``[MASK]``."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        D, act = config.hidden_size, activation(config.activation)
        self.backbone = DistilBertModel(config)
        word, last_norm = self.backbone.embeddings.word, nn.LayerNorm(D, eps=NORM_EPS)
        self.head = MaskedLMHead(D, word, act, last_norm, tied=config.tie_word_embeddings)

    def forward(  # type: ignore[override]
        self, input_ids: Ids, attention_mask: Ids | None = None, labels: Ids | None = None
    ) -> LogitsOutput:
        """Score every word at every place; labels are the true ids, -100 where there is nothing to guess."""
        return self.answer(self.backbone(input_ids, attention_mask), labels)


class DistilBertForSequenceClassification(heads.SequenceClassification, DistilBertPretrained):
    """One prediction for a text or a pair of texts, from the first token's vector."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        D = config.hidden_size
        self.backbone = DistilBertModel(config)
        drop = config.classifier_dropout
        self.head = DenseClassifier(D, config.num_labels, activation("relu"), dropout=drop, input_dropout=0.0)

    def forward(  # type: ignore[override]
        self, input_ids: Ids, attention_mask: Ids | None = None, labels: Tensor | None = None
    ) -> LogitsOutput:
        """Score the labels for each text; see ``classification_loss`` for the form of ``labels``."""
        return self.answer(self.backbone(input_ids, attention_mask), labels)


class DistilBertForMultipleChoice(heads.MultipleChoice, DistilBertPretrained):
    """Which of several texts fits best, from the first tokens' vectors."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.backbone = DistilBertModel(config)
        D, drop = config.hidden_size, config.classifier_dropout
        self.head = DenseClassifier(D, 1, activation("relu"), dropout=drop, input_dropout=0.0)

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> LogitsOutput:
        """Score the choices, (batch, choice); a label is the number of the right one."""
        mask = None if attention_mask is None else attention_mask.flatten(0, 1)
        return self.answer(self.backbone(input_ids.flatten(0, 1), mask), labels, input_ids.shape[1])


class DistilBertForTokenClassification(heads.TokenClassification, DistilBertPretrained):
    """A label for every token."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.backbone = DistilBertModel(config)
        self.head = Logits(config.hidden_size, config.num_labels, dropout=config.dropout)

    def forward(  # type: ignore[override]
        self, input_ids: Ids, attention_mask: Ids | None = None, labels: Ids | None = None
    ) -> LogitsOutput:
        """Score the labels for each token; a label of -100 is not counted."""
        return self.answer(self.backbone(input_ids, attention_mask), labels)


class DistilBertForQuestionAnswering(heads.QuestionAnswering, DistilBertPretrained):
    """Where in the second text the answer to the first one starts and ends."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.backbone = DistilBertModel(config)
        self.head = Logits(config.hidden_size, 2, dropout=config.qa_dropout)

    def forward(  # type: ignore[override]
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        start_positions: Int[Tensor, " batch"] | None = None,
        end_positions: Int[Tensor, " batch"] | None = None,
    ) -> QuestionAnsweringOutput:
        """Score each token as the answer's first and as its last."""
        return self.answer(self.backbone(input_ids, attention_mask), start_positions, end_positions)


ARCHITECTURE = Architecture(
    DistilBertConfig,
    {
        "Model": DistilBertModel,
        "ForMaskedLM": DistilBertForMaskedLM,
        "ForSequenceClassification": DistilBertForSequenceClassification,
        "ForMultipleChoice": DistilBertForMultipleChoice,
        "ForTokenClassification": DistilBertForTokenClassification,
        "ForQuestionAnswering": DistilBertForQuestionAnswering,
    },
)
