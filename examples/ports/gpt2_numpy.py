"""GPT-2 in NumPy, and a dump of everything that it computes: ``python gpt2_numpy.py TRACE dump.npz``.

TRACE is a folder that ``minitransformer trace --with-model`` wrote: its model is read, and the ids.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

trace, dump = Path(sys.argv[1]), {}
config = json.loads((trace / "model" / "config.json").read_text())
weights = {name: w.astype(np.float32) for name, w in load_file(trace / "model" / "model.safetensors").items()}
weights = {name.removeprefix("transformer."): w for name, w in weights.items()}
ids = np.array(json.loads((trace / "manifest.json").read_text())["inputs"]["input_ids"])
heads, eps = config["n_head"], config["layer_norm_epsilon"]


def keep(name: str, x: np.ndarray) -> np.ndarray:
    dump[name] = x
    return x


def norm(x: np.ndarray, name: str) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: np.ndarray, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]  # GPT-2 stores (in, out)


def attention(x: np.ndarray, i: int) -> np.ndarray:
    batch, tokens, hidden = x.shape
    parts = np.split(linear(x, f"h.{i}.attn.c_attn"), 3, axis=-1)
    q, k, v = (part.reshape(batch, tokens, heads, -1).transpose(0, 2, 1, 3) for part in parts)
    scores = q @ k.transpose(0, 1, 3, 2) / np.float32(np.sqrt(hidden // heads))
    scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf)
    weight = np.exp(scores - scores.max(-1, keepdims=True))
    pattern = weight / weight.sum(-1, keepdims=True)
    mixed = pattern @ v
    for name, value in {"q": q, "k": k, "v": v, "scores": scores, "pattern": pattern, "mixed": mixed}.items():
        keep(f"decoder.blocks.{i}.attn.{name}", value)
    return linear(mixed.transpose(0, 2, 1, 3).reshape(batch, tokens, hidden), f"h.{i}.attn.c_proj")


def gelu_new(x: np.ndarray) -> np.ndarray:
    return np.float32(0.5) * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)))


x = keep("embeddings.sum", weights["wte.weight"][ids] + weights["wpe.weight"][np.arange(ids.shape[1])])
for i in range(config["n_layer"]):
    block = f"decoder.blocks.{i}"
    normed = keep(f"{block}.attn_normed", norm(x, f"h.{i}.ln_1"))
    x = keep(f"{block}.after_attn", x + keep(f"{block}.attn.out", attention(normed, i)))
    pre = keep(f"{block}.ffn.pre", linear(keep(f"{block}.ffn_normed", norm(x, f"h.{i}.ln_2")), f"h.{i}.mlp.c_fc"))
    out = keep(f"{block}.ffn.out", linear(keep(f"{block}.ffn.hidden", gelu_new(pre)), f"h.{i}.mlp.c_proj"))
    x = keep(f"{block}.after_ffn", x + out)
keep("head.logits", keep("decoder.final_normed", norm(x, "ln_f")) @ weights["wte.weight"].T)
np.savez(sys.argv[2], **dump)
