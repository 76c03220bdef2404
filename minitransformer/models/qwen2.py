"""Qwen2, and Qwen2.5: Llama with biases on queries, keys and values (https://arxiv.org/abs/2407.10671).

    embeddings = word; no positions
    decoder    = pre-norm blocks: self-attention to the past, feed-forward with a gate (SwiGLU); a norm
    positions  = in every block, queries and keys are turned by the angles of their places (rotary)
    heads      = next token; labels of a text, of its tokens; an answer's place

Reference: transformers 4.57 ``models/qwen2/modeling_qwen2.py``. What Llama's descendants share is in ``llama_family``.

Traps:
    * The attention's output has no bias, and neither has the feed-forward network.
    * ``sliding_window`` counts only with ``use_sliding_window``, and for blocks from ``max_window_layers`` on, or those
      that ``layer_types`` names.
    * Heads of keys and values are 32 unless the config says otherwise, not as many as there are heads.
    * Files with a head for question answering call the backbone ``transformer``, all others ``model``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import nn

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


@dataclass(frozen=True, kw_only=True)
class Qwen2Config(family.QwenConfig):
    """config.json of Qwen2."""

    model_type: ClassVar[str] = "qwen2"


class Qwen2Pretrained(family.Pretrained):
    """What Qwen2's models share."""

    CONFIG = Qwen2Config
    config: Qwen2Config

    def make_backbone(self) -> Qwen2Model:
        """The model below a head."""
        return Qwen2Model(self.config)


def qwen2_block(
    config: Qwen2Config, layer: int, *, attention: family.Part = MultiHeadAttention, ffn: family.Part = GatedFeedForward
) -> PreNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D, sizes, rotary = config.hidden_size, family.attention_sizes(config), family.rotary(config)
    attn: Any = attention(D, config.num_heads, rotary=rotary, window=config.window(layer), **sizes)
    attn.output.bias = None
    return PreNormBlock(
        attn,
        ffn(D, config.intermediate_size, activation(config.activation), bias=False),
        norm=partial(RMSNorm, D, eps=config.norm_eps),
    )


class Qwen2Model(family.Decoder, Qwen2Pretrained):
    """The decoder."""

    def __init__(self, config: Qwen2Config, *, block: MakeBlock = qwen2_block) -> None:
        super().__init__(config)
        D = config.hidden_size
        self.embeddings = Embeddings(nn.Embedding(config.vocab_size, D, padding_idx=config.pad_token_id))
        self.decoder = Stack((block(config, i) for i in range(config.num_layers)), RMSNorm(D, eps=config.norm_eps))


class Qwen2ForCausalLM(Qwen2Pretrained, family.CausalLM):
    """Predict the next token."""


class Qwen2ForSequenceClassification(Qwen2Pretrained, family.SequenceClassification):
    """One prediction for a text, read from its last token."""


class Qwen2ForTokenClassification(Qwen2Pretrained, family.TokenClassification):
    """A label for every token."""


class Qwen2ForQuestionAnswering(Qwen2Pretrained, family.QuestionAnswering):
    """Where in a text the answer starts and ends."""

    WEIGHTS = family.llama_weights("transformer", also="model")


ARCHITECTURE = Architecture.of(
    Qwen2Model,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
    Qwen2ForTokenClassification,
    Qwen2ForQuestionAnswering,
)
