"""Read a model of llama2.c (https://github.com/karpathy/llama2.c): python examples/llama2c.py stories260K.bin.

Its files hold seven whole numbers, then all matrices one after another. A head's rotary pairs lie side by side there,
which `Interleave` undoes; what is under transformers' names then is loaded as any checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from minitransformer.models.llama import LlamaConfig, LlamaForCausalLM
from minitransformer.weights import Interleave

KEYS = "hidden_size intermediate_size num_layers num_heads num_kv_heads vocab_size num_positions".split()


def read(path: str | Path, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """The model that the file holds."""
    sizes = dict(zip(KEYS, np.fromfile(path, "<i4", len(KEYS)).tolist(), strict=True))
    tied, sizes["vocab_size"] = sizes["vocab_size"] > 0, abs(sizes["vocab_size"])
    config = LlamaConfig(**sizes, tie_word_embeddings=tied, norm_eps=1e-5)
    D, F, L, H, G, V, T = sizes.values()
    K = D // H
    numbers, at, tensors = torch.from_numpy(np.fromfile(path, "<f4", offset=4 * len(KEYS))), 0, {}

    def take(name: str, *shape: int, op: Interleave | None = None) -> None:
        nonlocal at
        layers = numbers[at : at + np.prod(shape)].view(shape)
        at += np.prod(shape)
        for i, x in enumerate(layers if "{i}" in name else layers[None]):
            tensors[name.format(i=i)] = x if op is None else op.apply(x)[0]

    layer = "model.layers.{i}."
    take("model.embed_tokens.weight", V, D)
    take(layer + "input_layernorm.weight", L, D)
    take(layer + "self_attn.q_proj.weight", L, D, D, op=Interleave(K))
    take(layer + "self_attn.k_proj.weight", L, G * K, D, op=Interleave(K))
    take(layer + "self_attn.v_proj.weight", L, G * K, D)
    take(layer + "self_attn.o_proj.weight", L, D, D)
    take(layer + "post_attention_layernorm.weight", L, D)
    for name, shape in (("gate", (F, D)), ("down", (D, F)), ("up", (F, D))):
        take(layer + f"mlp.{name}_proj.weight", L, *shape)
    take("model.norm.weight", D)
    at += T * K  # cosines and sines of all positions, which are computed here
    if not tied:
        take("lm_head.weight", V, D)
    return LlamaForCausalLM.from_pretrained(None, config=config, state_dict=tensors, dtype=dtype)


if __name__ == "__main__":
    print(read(sys.argv[1]))
