"""Generate with compiled steps, and print what came of it; a process of its own, as the tests check types at run time.

``python compiled.py FOLDER SEQ2SEQ FORM``: a folder of a tiny model, whether it is an encoder-decoder (0 or 1), and the
form of the weights.
"""

from __future__ import annotations

import json
import sys

import torch
from torch._dynamo.utils import counters

from minitransformer import AutoModelForCausalLM, AutoModelForSeq2SeqLM, trace
from minitransformer.layers import DecoderCache
from minitransformer.optimize import build, optimized

IDS = torch.tensor([[5, 9, 17, 30, 4]])
build.SMALLEST = build.LARGE = 1  # models are tiny: let no matrix be too small


def main(folder: str, is_seq2seq: bool, form: str) -> None:
    model = (AutoModelForSeq2SeqLM if is_seq2seq else AutoModelForCausalLM).from_pretrained(folder)
    new = 20 if is_seq2seq else 110  # further than the first buffers of the cache
    options = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False}
    fast = optimized(model, form, compile=True)
    result = {"equal": torch.equal(fast.generate(IDS, **options), model.generate(IDS, **options))}
    result |= {"graphs": counters["stats"]["unique_graphs"], "breaks": sum(counters["graph_break"].values())}
    if not is_seq2seq:
        result["distances"] = distances(model, optimized(model, form, compile=True))
    print(json.dumps(result))


@torch.no_grad()
def distances(model: torch.nn.Module, fast: torch.nn.Module) -> dict[str, float]:
    """Between both models' scores after a step, their hidden states after one with an edit, and a pattern of theirs."""
    name = "backbone.decoder.blocks.1.attn.pattern"
    edit = {"backbone.decoder.blocks.0.ffn.out": lambda x: -10 * x}
    found = []
    for each in (model, fast):
        cache = DecoderCache()
        each(IDS[:, :3], past_key_values=cache)
        step = each(IDS[:, 3:4], past_key_values=cache).logits
        with trace(each, name, edit=edit) as t:
            edited = each.backbone(IDS[:, 4:], past_key_values=cache).last_hidden_state
        found.append({"step": step, "edited": edited, "pattern": t[name]})
    readable, quick = found
    return {key: float((quick[key].to(x.dtype) - x).norm() / x.norm()) for key, x in readable.items()}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "1", sys.argv[3])
