"""Faults planted into models of transformers: what is changed in which, and what must be said of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Planted:
    """A fault in one place of a model of transformers."""

    model: str
    """A twin."""
    plant: Callable[[Any], Any]
    operation: str
    """How the name of the first wrong operation ends."""
    cause: str
    """What the cause must contain."""
    module: str = ""
    """How the name of the first wrong module begins or ends, at the level of modules."""


def _add(parameter: Tensor, amount: float = 0.25) -> None:
    with torch.no_grad():
        parameter[0] += amount


def _replace(parent: nn.Module, name: str, module: nn.Module) -> None:
    setattr(parent, name, module)


def _eps(norm: Any, eps: float) -> None:
    for name in ("eps", "variance_epsilon"):
        if hasattr(norm, name):
            setattr(norm, name, eps)


class Doubled(nn.Module):
    """An embedding, twice as large."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.weight = inner, inner.weight

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return 2 * self.inner(*args, **kwargs)


def _later_positions(embedding: Any) -> None:
    embedding.offset += 1


def _without_bias(linear: Any) -> None:
    bias = linear.bias
    linear.register_forward_hook(lambda module, args, output: output - bias)


def _missing_residual(output: Any) -> None:
    def forward(self: Any, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(hidden_states))

    output.forward = MethodType(forward, output)


def _unscaled(attention: Any) -> None:
    attention.scaling = 1.0


PLANTED = [
    Planted(
        "BertForMaskedLM",
        lambda m: _add(m.bert.encoder.layer[1].attention.self.query.weight),
        "blocks.1.attn.q",
        "bert.encoder.layer.1.attention.self.query.weight has other numbers",
        "blocks.1.attn.query",
    ),
    Planted(
        "BertForMaskedLM",
        lambda m: _eps(m.bert.encoder.layer[0].output.LayerNorm, 1e-3),
        "blocks.0.ffn_normed",
        "eps is 0.001",
        "blocks.0.ffn_norm",
    ),
    Planted(
        "BertForMaskedLM",
        lambda m: _replace(m.bert.encoder.layer[1].intermediate, "intermediate_act_fn", nn.ReLU()),
        "blocks.1.ffn.out",
        "the activation is relu",
    ),
    Planted(
        "BertForMaskedLM",
        lambda m: _missing_residual(m.bert.encoder.layer[2].attention.output),
        "blocks.2.attn_normed",
        "the residual is missing",
    ),
    Planted(
        "GPT2LMHeadModel",
        lambda m: setattr(m.transformer.h[1].attn, "scale_attn_weights", False),
        "blocks.1.attn.pattern",
        "not divided by sqrt(head_size)",
    ),
    Planted(
        "GPT2LMHeadModel",
        lambda m: _add(m.transformer.h[0].mlp.c_proj.bias),
        "blocks.0.ffn.out",
        "transformer.h.0.mlp.c_proj.bias has other numbers",
        "blocks.0.ffn.down",
    ),
    Planted(
        "GPT2LMHeadModel",
        lambda m: _replace(m.transformer, "ln_f", nn.Identity()),
        "decoder.final_normed",
        "the norm is missing",
    ),
    Planted(
        "BartForConditionalGeneration",
        lambda m: _later_positions(m.model.decoder.embed_positions),
        "decoder_embeddings.positions",
        "positions are 1 too large",
    ),
    Planted(
        "BartForConditionalGeneration",
        lambda m: _without_bias(m.model.decoder.layers[1].encoder_attn.v_proj),
        "blocks.1.cross_attn.v",
        "the bias is missing",
        "blocks.1.cross_attn.value",
    ),
    Planted(
        "T5ForConditionalGeneration",
        lambda m: _eps(m.encoder.block[1].layer[0].layer_norm, 1e-2),
        "encoder.blocks.1.attn_normed",
        "eps is 0.01",
        "encoder.blocks.1.attn_norm",
    ),
    Planted(
        "T5ForConditionalGeneration",
        lambda m: _add(m.decoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight, 2.0),
        "decoder_positions.out",
        "relative_attention_bias.weight has other numbers",
    ),
    Planted(
        "MarianMTModel",
        lambda m: setattr(m.model.encoder, "embed_scale", m.config.d_model**0.5),
        "encoder.blocks.0.attn.q",
        "scaled by sqrt(hidden_size)",
    ),
    Planted(
        "MarianMTModel",
        lambda m: _unscaled(m.model.decoder.layers[1].self_attn),
        "decoder.blocks.1.attn.pattern",
        "not divided by sqrt(head_size)",
    ),
    Planted(
        "OpenAIGPTLMHeadModel",
        lambda m: _replace(m.transformer.h[1].mlp, "act", nn.SiLU()),
        "blocks.1.ffn.out",
        "the activation is",
    ),
    Planted(
        "DistilBertForMaskedLM",
        lambda m: _add(m.vocab_projector.bias, math.pi),
        "head.logits",
        "vocab_projector.bias has other numbers",
    ),
]
