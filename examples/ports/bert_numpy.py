"""BERT in NumPy, and a dump by its own names: ``python bert_numpy.py TRACE dump.npz``, a trace with its model."""

import json
import sys
from math import erf
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

trace, dump = Path(sys.argv[1]), {}
config = json.loads((trace / "model" / "config.json").read_text())
weights = {name: w.astype(np.float32) for name, w in load_file(trace / "model" / "model.safetensors").items()}
weights = {name.removeprefix("bert."): w for name, w in weights.items()}
inputs = json.loads((trace / "manifest.json").read_text())["inputs"]
ids, heads = np.array(inputs["input_ids"]), config["num_attention_heads"]


def norm(x: np.ndarray, name: str) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
    return keep(name, x * weights[f"{name}.weight"] + weights[f"{name}.bias"])


def linear(x: np.ndarray, name: str) -> np.ndarray:
    return keep(name, x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])


def keep(name: str, x: np.ndarray) -> np.ndarray:
    dump[name] = x
    return x


def attention(x: np.ndarray, name: str) -> np.ndarray:
    batch, tokens, hidden = x.shape
    parts = (linear(x, f"{name}.self.{part}") for part in ("query", "key", "value"))
    q, k, v = (part.reshape(batch, tokens, heads, -1).transpose(0, 2, 1, 3) for part in parts)
    scores = q @ k.transpose(0, 1, 3, 2) / np.float32(np.sqrt(hidden // heads))
    weight = np.exp(scores - scores.max(-1, keepdims=True))
    pattern = keep(f"{name}.probs", weight / weight.sum(-1, keepdims=True))
    context = (pattern @ v).transpose(0, 2, 1, 3).reshape(batch, tokens, hidden)
    return linear(keep(f"{name}.context", context), f"{name}.output.dense")


gelu = np.vectorize(lambda x: np.float32(x * (1 + erf(x / 2**0.5)) / 2), otypes=[np.float32])
types = np.array(inputs.get("token_type_ids", np.zeros_like(ids)))
words, kinds = weights["embeddings.word_embeddings.weight"][ids], weights["embeddings.token_type_embeddings.weight"]
places = weights["embeddings.position_embeddings.weight"][np.arange(ids.shape[1])]
x = norm(words + kinds[types] + places, "embeddings.LayerNorm")
for i in range(config["num_hidden_layers"]):
    layer = f"encoder.layer.{i}"
    x = norm(x + attention(x, f"{layer}.attention"), f"{layer}.attention.output.LayerNorm")
    inner = keep(f"{layer}.act", gelu(linear(x, f"{layer}.intermediate.dense")))
    x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
np.savez(sys.argv[2], **dump)
