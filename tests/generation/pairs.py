"""Twins whose generated texts vary: with weights drawn any other way a small model repeats one token for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import minitransformer
from minitransformer.testing import reference_twin

GPT2 = dict(vocab_size=37, n_embd=24, n_layer=2, n_head=3, n_positions=64, bos_token_id=36, eos_token_id=36)
BART = dict(
    vocab_size=41, d_model=24, encoder_layers=2, decoder_layers=3, encoder_attention_heads=3, decoder_attention_heads=2,
    encoder_ffn_dim=40, decoder_ffn_dim=30, max_position_embeddings=48,
)  # fmt: skip


def gpt2_pair(folder: Path, **config: Any) -> tuple[Any, Any]:
    """Ours and theirs."""
    theirs = _liven(reference_twin("GPT2LMHeadModel", tie_word_embeddings=False, **{**GPT2, **config}), inner=2.5)
    theirs.save_pretrained(folder)
    return minitransformer.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64), theirs


def bart_pair(folder: Path, **config: Any) -> tuple[Any, Any]:
    """Ours and theirs."""
    theirs = reference_twin("BartForConditionalGeneration", tie_word_embeddings=False, **{**BART, **config})
    _liven(theirs, inner=1.0).save_pretrained(folder)
    return minitransformer.AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float64), theirs


@torch.no_grad()
def _liven(model: Any, inner: float) -> Any:
    """Draw weights so that the next token depends on what came before more than on biases."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if name == "final_logits_bias":
            noise *= 0.3
        elif name == "lm_head.weight":
            noise *= 2.0 * parameter.shape[-1] ** -0.5
        elif "decoder.embed_positions" in name:
            noise *= 2.0
        elif parameter.dim() > 1 and not any(table in name for table in ("wte", "wpe", "embed", "shared")):
            noise *= inner * parameter.shape[-1] ** -0.5
        elif parameter.dim() == 1:
            noise = 1 + 0.3 * noise if name.endswith("weight") else 0.1 * noise
        parameter.copy_(noise)
    return model
