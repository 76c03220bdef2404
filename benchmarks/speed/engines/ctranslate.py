"""CTranslate2, on what its own converter made of the folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed.engines import Setup, Unable
from speed.works import Work, token_ids

SUBFOLDER = "ctranslate2"
UNUSED = "<unk>"


def version() -> str:
    import ctranslate2

    return ctranslate2.__version__


def load(setup: Setup) -> Callable[[Work], Callable[[], Any]]:
    import ctranslate2

    classes = {"causal": "Generator", "seq2seq": "Translator", "encoder": "Encoder"}
    if setup.kind not in classes:
        raise Unable("CTranslate2 has no pipelines")
    if setup.dtype not in ctranslate2.get_supported_compute_types("cpu"):
        raise Unable(f"CTranslate2 has no {setup.dtype} on this processor")
    model = getattr(ctranslate2, classes[setup.kind])(
        str(Path(setup.folder) / SUBFOLDER),
        device="cpu",
        compute_type=setup.dtype,
        inter_threads=1,
        intra_threads=setup.threads,
    )
    vocabulary: dict[str, int] = {}
    if setup.kind != "encoder":
        vocabulary = json.loads((Path(setup.folder) / "vocab.json").read_text())
    return lambda work: _call(model, work, setup.kind, vocabulary)


def _call(model: Any, work: Work, kind: str, vocabulary: dict[str, int]) -> Callable[[], Any]:
    ids = token_ids(work)
    name = {number: token for token, number in vocabulary.items()}
    tokens = [[name[i] for i in row] for row in ids] if vocabulary else []

    def encode() -> Any:
        import numpy

        return numpy.array(model.forward_batch(ids).last_hidden_state)

    def generate(callback: Any = None) -> Any:
        options = {"max_length": work["new"], "min_length": work["new"], "include_prompt_in_result": False}
        return [r.sequences_ids[0] for r in model.generate_batch(tokens, sampling_topk=1, callback=callback, **options)]

    def translate() -> Any:
        results = model.translate_batch(
            tokens,
            beam_size=work["beams"],
            max_decoding_length=work["new"],
            min_decoding_length=work["new"],  # forbids the end token: let that be one that no other engine would choose
            end_token=UNUSED,
            max_input_length=0,
        )
        return [[vocabulary[token] for token in r.hypotheses[0]] for r in results]

    def context() -> list[float]:
        times: list[float] = []

        def note(step: Any) -> bool:
            times.append(time.perf_counter())
            return False

        generate(note)
        return [b - a for a, b in zip(times, times[1:], strict=False)]

    if kind == "seq2seq":
        return translate
    return {"encode": encode, "generate": generate, "context": context}[work["kind"]]
