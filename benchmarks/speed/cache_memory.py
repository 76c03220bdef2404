"""What the cache of keys and values takes: ``python -m speed.cache_memory FOLDER ROWS TOKENS STEP`` prints JSON.

Resident memory is read while prompts are fed to the model piece by piece, in a process of its own. The allocator is
told (by ``growth.py``) to give freed memory back at once.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any


def main() -> None:
    folder, rows, tokens, step = sys.argv[1], *map(int, sys.argv[2:5])
    import torch

    from minitransformer import AutoModelForCausalLM, DecoderCache

    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.randint(5, model.config.vocab_size - 5, (rows, tokens), generator=torch.Generator().manual_seed(0))

    def feed(cache: Any, start: int) -> None:
        mask = torch.ones(rows, start + step, dtype=torch.long)
        model(ids[:, start : start + step], attention_mask=mask, past_key_values=cache, logits_to_keep=1)

    with torch.inference_mode():
        feed(DecoderCache(), 0)  # whatever the first pass leaves behind
        gc.collect()
        before, cache, points = resident(), DecoderCache(), []
        for start in range(0, tokens, step):
            feed(cache, start)
            gc.collect()
            points.append({"tokens": start + step, "resident": resident() - before})
    config = model.config
    print(json.dumps({"rows": rows, "layers": config.num_layers, "width": config.hidden_size, "points": points}))


def resident() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
