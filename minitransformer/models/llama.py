"""Llama: a causal decoder, and the shape of most since ("LLaMA", https://arxiv.org/abs/2302.13971; also Llama 2 and 3).

    embeddings = word; no positions
    decoder    = pre-norm blocks without biases: self-attention to the past, feed-forward with a gate (SwiGLU); a norm
    positions  = in every block, queries and keys are turned by the angles of their places (rotary)
    heads      = next token; labels of a text, of its tokens; an answer's place

Reference: transformers 4.57 ``models/llama/modeling_llama.py``. What its descendants share is in ``llama_family``.

Traps:
    * A head's pairs are its first half and its second; Meta's own files hold them side by side (``Interleave``).
    * There may be fewer heads of keys and values, each of which several heads share, and so a smaller cache.
    * Angles are computed in float32 even in a float64 model.
    * Llama 3.1 stretches the slow frequencies; other ways of ``rope_scaling`` are refused.
    * Positions follow the attention mask; in transformers they do in ``generate``, but count padding in a bare forward.
    * Files with a head for question answering call the backbone ``transformer``, all others ``model``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

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
class LlamaConfig(family.LlamaFamilyConfig):
    """config.json of Llama."""

    model_type: ClassVar[str] = "llama"

    attention_bias: bool = False
    mlp_bias: bool = False


class LlamaPretrained(family.Pretrained):
    """What Llama's models share."""

    CONFIG = LlamaConfig
    config: LlamaConfig

    def make_backbone(self) -> LlamaModel:
        """The model below a head."""
        return LlamaModel(self.config)


def llama_block(
    config: LlamaConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = GatedFeedForward
) -> PreNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D, bias = config.hidden_size, config.attention_bias
    return PreNormBlock(
        attention(D, config.num_heads, bias=bias, rotary=family.rotary(config), **family.attention_sizes(config)),
        ffn(D, config.intermediate_size, activation(config.activation), bias=config.mlp_bias),
        norm=partial(RMSNorm, D, eps=config.norm_eps),
    )


class LlamaModel(family.Decoder, LlamaPretrained):
    """The decoder."""

    def __init__(self, config: LlamaConfig, *, block: MakeBlock = llama_block) -> None:
        super().__init__(config)
        D = config.hidden_size
        self.embeddings = Embeddings(nn.Embedding(config.vocab_size, D, padding_idx=config.pad_token_id))
        self.decoder = Stack((block(config) for _ in range(config.num_layers)), RMSNorm(D, eps=config.norm_eps))


class LlamaForCausalLM(LlamaPretrained, family.CausalLM):
    """Predict the next token."""


class LlamaForSequenceClassification(LlamaPretrained, family.SequenceClassification):
    """One prediction for a text, read from its last token."""


class LlamaForTokenClassification(LlamaPretrained, family.TokenClassification):
    """A label for every token."""


class LlamaForQuestionAnswering(LlamaPretrained, family.QuestionAnswering):
    """Where in a text the answer starts and ends."""

    WEIGHTS = family.llama_weights("transformer", also="model")


ARCHITECTURE = Architecture.of(
    LlamaModel,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaForQuestionAnswering,
)
