"""What files of ModernBERT hold, and what its models and heads share; ``modernbert.py`` shows how it is wired."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer.config import ModelConfig, key
from minitransformer.errors import ConfigError
from minitransformer.layers import MultiHeadAttention, View, activation
from minitransformer.models.common.base import PretrainedModel
from minitransformer.models.common.heads import NormedScores
from minitransformer.ranges import Count, Layers, Positions, Rate, Theta, TokenId, Width
from minitransformer.weights import Row, Split, Tied, WeightMap, embedding, fused_qkv, linear, norm


@dataclass(frozen=True, kw_only=True)
class ModernBertConfig(ModelConfig):
    """config.json of ModernBERT."""

    model_type: ClassVar[str] = "modernbert"
    IGNORES = {
        "cls_token_id": "the tokenizer says it",
        "deterministic_flash_attn": "a setting of one kernel",
        "initializer_cutoff_factor": "new weights are drawn from a whole normal distribution",
        "layer_norm_eps": "norm_eps says it",
        "position_embedding_type": "positions are rotary whatever it says",
        "reference_compile": "a setting of another library's compiler",
        "repad_logits_with_grad": "a setting of one kernel",
        "sparse_pred_ignore_index": "labels of -100 do not count",
        "sparse_prediction": "saves scoring words without a label; the loss is the same",
    }

    vocab_size: Width = 50368
    hidden_size: Width = 768
    intermediate_size: Width = 1152
    num_layers: Layers = key("num_hidden_layers", 22)
    num_heads: Count = key("num_attention_heads", 12)
    activation: str = key("hidden_activation", "gelu")
    num_positions: Positions = key("max_position_embeddings", 8192)
    norm_eps: Rate = 1e-5
    norm_bias: bool = False
    global_theta: Theta = key("global_rope_theta", 160000.0)
    local_theta: Theta | None = key("local_rope_theta", 10000.0)
    global_every: Count = key("global_attn_every_n_layers", 3)
    local_attention: Positions = 128
    attention_bias: bool = False
    attention_dropout: Rate = 0.0
    embedding_dropout: Rate = 0.0
    mlp_bias: bool = False
    mlp_dropout: Rate = 0.0
    decoder_bias: bool = True
    classifier_pooling: str = "cls"
    classifier_dropout: Rate = 0.0
    classifier_bias: bool = False
    classifier_activation: str = "gelu"
    pad_token_id: TokenId | None = 50283
    bos_token_id: TokenId | None = 50281
    eos_token_id: TokenId | list[TokenId] | None = 50282
    sep_token_id: TokenId | None = 50282

    @property
    def max_positions(self) -> None:
        """Rotary positions have no end; ``num_positions`` says how many were seen in training."""

    def window(self, layer: int) -> int | None:
        """How many tokens a token of block ``layer`` sees to either side, itself included, or None for all."""
        return self.local_attention // 2 + 1 if layer % self.global_every else None

    def theta(self, layer: int) -> float:
        """In how many tokens the slowest pair of a block's heads turns by about one radian."""
        is_global = layer % self.global_every == 0 or self.local_theta is None
        return self.global_theta if is_global or self.local_theta is None else self.local_theta

    def check(self) -> None:
        """Raise a ConfigError if the fields contradict each other."""
        super().check()
        activation(self.activation)
        activation(self.classifier_activation)
        if self.classifier_pooling not in ("cls", "mean"):
            raise ConfigError(f"classifier_pooling must be 'cls' or 'mean', not {self.classifier_pooling!r:.100}")
        if self.hidden_size // self.num_heads % 2:
            width = self.hidden_size // self.num_heads
            raise ConfigError(f"rotary positions turn pairs of numbers, but a head is {width} wide")


_HEAD = [linear("head.dense", "head.dense"), norm("head.norm", "head.norm")]
_HEAD_ROWS = [row for rows in _HEAD for row in rows]

WEIGHTS = WeightMap(
    prefix="model",
    backbone=[
        embedding("embeddings.tok_embeddings", "embeddings.word"),
        norm("embeddings.norm", "embeddings.norm"),
        norm("layers.{i}.attn_norm", "encoder.blocks.{i}.attn_norm"),
        fused_qkv("layers.{i}.attn.Wqkv", "encoder.blocks.{i}.attn"),
        linear("layers.{i}.attn.Wo", "encoder.blocks.{i}.attn.output"),
        norm("layers.{i}.mlp_norm", "encoder.blocks.{i}.ffn_norm"),
        *(
            Row(
                f"layers.{{i}}.mlp.Wi.{kind}",
                (f"encoder.blocks.{{i}}.ffn.gate.{kind}", f"encoder.blocks.{{i}}.ffn.linear.{kind}"),
                Split(2),
            )
            for kind in ("weight", "bias")
        ),
        linear("layers.{i}.mlp.Wo", "encoder.blocks.{i}.ffn.down"),
        norm("final_norm", "encoder.final_norm"),
    ],
    heads={
        "ForMaskedLM": [*_HEAD_ROWS, *linear("decoder", "head.output")],
        "ForSequenceClassification": [*_HEAD_ROWS, *linear("classifier", "head.output")],
        "ForTokenClassification": [*_HEAD_ROWS, *linear("classifier", "head.output")],
        "ForQuestionAnswering": [*_HEAD_ROWS, *linear("classifier", "head.output")],
    },
    tied=[Tied("model.embeddings.tok_embeddings.weight", "decoder.weight")],
)


class ModernBertPretrained(PretrainedModel):
    """What ModernBERT's models share."""

    CONFIG = ModernBertConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = {
        "hidden_states": ("embeddings.output", "encoder.blocks.*.output"),
        "attentions": ("encoder.blocks.*.attn.pattern",),
    }
    config: ModernBertConfig

    def initial_std(self, name: str) -> float:
        """Layers that write to the residual stream begin smaller, the deeper the model is."""
        c, is_words = self.config, self.HEAD == "ForMaskedLM"
        if name == "head.output.weight" and not is_words:
            return float(c.hidden_size**-0.5)
        if is_words and c.tie_word_embeddings and name == "head.output.weight":
            return c.initializer_range
        writes = name.endswith(("attn.output.weight", "ffn.down.weight")) or name.startswith("head.")
        return c.initializer_range / (2 * c.num_layers) ** 0.5 if writes else c.initializer_range


class DroppingAttention(MultiHeadAttention):
    """Attention whose dropout also falls on its output."""

    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        return F.dropout(super().forward(x, view), self.dropout, self.training)


def words(config: ModernBertConfig) -> nn.Embedding:
    """The table of words."""
    return nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)


def layer_norm(config: ModernBertConfig) -> partial[nn.LayerNorm]:
    """Makes the norms."""
    return partial(nn.LayerNorm, config.hidden_size, eps=config.norm_eps, bias=config.norm_bias)


def make_head(config: ModernBertConfig, task: str | None, word: nn.Embedding) -> NormedScores:
    """A head: transform, normalise, score words (by their own table, if they are tied) or labels."""
    is_words = task == "ForMaskedLM"
    num_classes = config.vocab_size if is_words else 2 if task == "ForQuestionAnswering" else config.num_labels
    head = NormedScores(
        config.hidden_size,
        num_classes,
        activation(config.classifier_activation),
        layer_norm(config)(),
        dropout=0.0 if is_words else config.classifier_dropout,
        bias=config.classifier_bias,
        output_bias=config.decoder_bias if is_words else True,
    )
    if is_words and config.tie_word_embeddings:
        head.output.weight = word.weight
    return head
