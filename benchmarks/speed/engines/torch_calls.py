"""A model of ours and one of transformers are called alike; so is what they are told to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from speed.works import Work, token_ids

CLASSES = {"causal": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM", "encoder": "AutoModel"}
TASKS = {"features": "feature-extraction", "zero-shot": "zero-shot-classification"}


class Stamps:
    """A streamer for ``generate`` that notes when each token came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Any) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass

    def seconds(self) -> list[float]:
        """What each token took but the first, which came with the reading of the prompt."""
        tokens = self.times[1:]  # the first call hands over the prompt
        return [b - a for a, b in zip(tokens, tokens[1:], strict=False)]


def model_call(model: Any, work: Work) -> Callable[[], Any]:
    """A function that does the work once with a model of either library."""
    import torch

    ids = torch.tensor(token_ids(work))
    mask = torch.ones_like(ids)

    def encode() -> Any:
        with torch.inference_mode():
            return model(ids, attention_mask=mask).last_hidden_state

    def generate(**options: Any) -> Any:
        options |= {"max_new_tokens": work["new"], "num_beams": work.get("beams", 1), "do_sample": False}
        return model.generate(ids, attention_mask=mask, **options)[:, -work["new"] :]

    def context() -> list[float]:
        stamps = Stamps()
        generate(streamer=stamps)
        return stamps.seconds()

    def uncached() -> Any:
        """One token without a cache: the whole context is read for it."""
        with torch.inference_mode():
            return model(ids, attention_mask=mask, logits_to_keep=1).logits[:, -1].argmax(-1)

    return {"encode": encode, "generate": generate, "context": context, "uncached": uncached}[work["kind"]]
