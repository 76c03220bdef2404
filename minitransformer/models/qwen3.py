"""Qwen3: Llama whose queries and keys are normalised before they are turned (https://arxiv.org/abs/2505.09388).

    embeddings = word; no positions
    decoder    = pre-norm blocks: self-attention to the past, feed-forward with a gate (SwiGLU); a norm
    positions  = in every block, queries and keys are normalised, then turned by the angles of their places (rotary)
    heads      = next token; labels of a text, of its tokens; an answer's place

Reference: transformers 4.57 ``models/qwen3/modeling_qwen3.py``. What Llama's descendants share is in ``llama_family``.

Traps:
    * The norms are over one head's numbers, with one weight for all heads.
    * A head is 128 wide unless the config says otherwise, whatever the hidden size is.
    * Windows as in Qwen2.
    * Files with a head for question answering call the backbone ``transformer``, all others ``model``.
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
    NormedRotary,
    PreNormBlock,
    RMSNorm,
    Stack,
    activation,
)
from minitransformer.models.common import llama_family as family
from minitransformer.models.common.base import Architecture, MakeBlock
from minitransformer.ranges import Width


@dataclass(frozen=True, kw_only=True)
class Qwen3Config(family.QwenConfig):
    """config.json of Qwen3."""

    model_type: ClassVar[str] = "qwen3"

    head_size: Width | None = key("head_dim", 128)
    attention_bias: bool = False


class Qwen3Pretrained(family.Pretrained):
    """What Qwen3's models share."""

    CONFIG = Qwen3Config
    config: Qwen3Config

    def make_backbone(self) -> Qwen3Model:
        """The model below a head."""
        return Qwen3Model(self.config)


def qwen3_block(
    config: Qwen3Config, layer: int, *, attention: family.Part = MultiHeadAttention, ffn: family.Part = GatedFeedForward
) -> PreNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D, window, bias = config.hidden_size, config.window(layer), config.attention_bias
    rotary = family.rotary(config, partial(NormedRotary, eps=config.norm_eps))
    return PreNormBlock(
        attention(D, config.num_heads, bias=bias, rotary=rotary, window=window, **family.attention_sizes(config)),
        ffn(D, config.intermediate_size, activation(config.activation), bias=False),
        norm=partial(RMSNorm, D, eps=config.norm_eps),
    )


class Qwen3Model(family.Decoder, Qwen3Pretrained):
    """The decoder."""

    def __init__(self, config: Qwen3Config, *, block: MakeBlock = qwen3_block) -> None:
        super().__init__(config)
        D = config.hidden_size
        self.embeddings = Embeddings(nn.Embedding(config.vocab_size, D, padding_idx=config.pad_token_id))
        self.decoder = Stack((block(config, i) for i in range(config.num_layers)), RMSNorm(D, eps=config.norm_eps))


class Qwen3ForCausalLM(Qwen3Pretrained, family.CausalLM):
    """Predict the next token."""


class Qwen3ForSequenceClassification(Qwen3Pretrained, family.SequenceClassification):
    """One prediction for a text, read from its last token."""


class Qwen3ForTokenClassification(Qwen3Pretrained, family.TokenClassification):
    """A label for every token."""


class Qwen3ForQuestionAnswering(Qwen3Pretrained, family.QuestionAnswering):
    """Where in a text the answer starts and ends."""

    WEIGHTS = family.llama_weights("transformer", also="model")


ARCHITECTURE = Architecture.of(
    Qwen3Model,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
    Qwen3ForTokenClassification,
    Qwen3ForQuestionAnswering,
)
