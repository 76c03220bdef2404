"""Mistral: Llama whose tokens see a window of the past only (https://arxiv.org/abs/2310.06825).

    embeddings = word; no positions
    decoder    = pre-norm blocks without biases: self-attention to the last tokens, feed-forward with a gate; a norm
    positions  = in every block, queries and keys are turned by the angles of their places (rotary)
    heads      = next token; labels of a text, of its tokens; an answer's place

Reference: transformers 4.57 ``models/mistral/modeling_mistral.py``. ``llama_family`` has what such models share.

Traps:
    * A window of 4 is a token and the three before it. Later models (0.2 and on) have none: ``"sliding_window": null``.
    * What lies behind the window reaches a token all the same, through the blocks: each adds a window's length.
    * Heads of keys and values are eight unless the config says otherwise, not as many as there are heads.
    * The cache keeps what the window hides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from minitransformer.config import key
from minitransformer.layers import (
    Embeddings,
    GatedFeedForward,
    MultiHeadAttention,
    PreNormBlock,
    RMSNorm,
    Stack,
    activation,
)
from minitransformer.models.common import llama_family as family
from minitransformer.models.common.base import Architecture, MakeBlock
from minitransformer.ranges import Count, Positions, Width


@dataclass(frozen=True, kw_only=True)
class MistralConfig(family.LlamaFamilyConfig):
    """config.json of Mistral."""

    model_type: ClassVar[str] = "mistral"
    IGNORES = {**family.LlamaFamilyConfig.IGNORES, "layer_types": "all are alike; transformers ignores it"}

    intermediate_size: Width = 14336
    num_kv_heads: Count | None = key("num_key_value_heads", 8)
    num_positions: Positions = key("max_position_embeddings", 4096 * 32)
    sliding_window: Positions | None = 4096


class MistralPretrained(family.Pretrained):
    """What Mistral's models share."""

    CONFIG = MistralConfig
    config: MistralConfig

    def make_backbone(self) -> MistralModel:
        """The model below a head."""
        return MistralModel(self.config)


def mistral_block(
    config: MistralConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = GatedFeedForward
) -> PreNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D, sizes, rotary = config.hidden_size, family.attention_sizes(config), family.rotary(config)
    return PreNormBlock(
        attention(D, config.num_heads, bias=False, rotary=rotary, window=config.sliding_window, **sizes),
        ffn(D, config.intermediate_size, activation(config.activation), bias=False),
        norm=partial(RMSNorm, D, eps=config.norm_eps),
    )


class MistralModel(family.Decoder, MistralPretrained):
    """The decoder."""

    def __init__(self, config: MistralConfig, *, block: MakeBlock = mistral_block) -> None:
        super().__init__(config)
        D = config.hidden_size
        self.embeddings = Embeddings(nn.Embedding(config.vocab_size, D, padding_idx=config.pad_token_id))
        self.decoder = Stack((block(config) for _ in range(config.num_layers)), RMSNorm(D, eps=config.norm_eps))


class MistralForCausalLM(MistralPretrained, family.CausalLM):
    """Predict the next token."""


class MistralForSequenceClassification(MistralPretrained, family.SequenceClassification):
    """One prediction for a text, read from its last token."""


class MistralForTokenClassification(MistralPretrained, family.TokenClassification):
    """A label for every token."""


class MistralForQuestionAnswering(MistralPretrained, family.QuestionAnswering):
    """Where in a text the answer starts and ends."""


ARCHITECTURE = Architecture.of(
    MistralModel,
    MistralForCausalLM,
    MistralForSequenceClassification,
    MistralForTokenClassification,
    MistralForQuestionAnswering,
)
