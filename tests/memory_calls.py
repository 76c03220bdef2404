"""Calls a pipeline 600 times, and counts what is left behind: ``python tests/memory_calls.py`` prints a table.

It runs as a process of its own (test_memory.py starts it), so that nothing else moves the numbers.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pipelines.families import LANGUAGES, Families

from minitransformer.errors import MinitransformerError
from minitransformer.generation import TextIteratorStreamer, stream, stream_text
from minitransformer.layers.taps import trace

CALLS, FEWER_CALLS, WARM_UP, PARTS = 600, 150, 60, 5
WORDS = "the queen of hearts she made some tarts all on a summer day".split()
WRITING = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None}


def text_number(number: int) -> str:
    """Texts of all lengths from 3 to 14 words."""
    return " ".join(WORDS[(number + i) % len(WORDS)] for i in range(3 + number % 12))


def classify(families: Families) -> Callable[[int], Any]:
    pipe = families.pipeline("text-classification", "bert")
    return lambda i: pipe([text_number(i), text_number(i + 7)], top_k=None)


def find_entities(families: Families) -> Callable[[int], Any]:
    pipe = families.pipeline("token-classification", "bert")
    return lambda i: pipe(text_number(i) * 6, aggregation_strategy="first", stride=3)


def fill(families: Families) -> Callable[[int], Any]:
    pipe = families.pipeline("fill-mask", "roberta")
    return lambda i: pipe(f"{text_number(i)} <mask>")


def answer(families: Families) -> Callable[[int], Any]:
    pipe = families.pipeline("question-answering", "bert")
    return lambda i: pipe(question="who made tarts", context=text_number(i) * 3, max_seq_len=30, doc_stride=4)


def choose_labels(families: Families) -> Callable[[int], Any]:
    pipe = families.pipeline("zero-shot-classification", "bert")
    return lambda i: pipe(text_number(i), ["queens", "a day", f"tarts {i % 7}"])


def extract_features(families: Families) -> Callable[[int], Any]:
    pipe = families.pipeline("feature-extraction", "bert")
    return lambda i: pipe([text_number(i), text_number(i + 7)])


def write(families: Families) -> Callable[[int], Any]:
    pipe = families.pipeline("text-generation", "gpt2")
    return lambda i: pipe(text_number(i % 5), **WRITING)


def summarize(families: Families) -> Callable[[int], Any]:
    pipe = families.pipeline("summarization", "bart")
    return lambda i: pipe(text_number(i % 9), **WRITING)  # with four beams


def translate(families: Families) -> Callable[[int], Any]:
    pipe = families.pipeline("translation", "mbart", **LANGUAGES)
    return lambda i: pipe([text_number(i % 9), text_number(3)], **WRITING, num_beams=1)


def rewrite(families: Families) -> Callable[[int], Any]:
    pipe = families.pipeline("text2text-generation", "t5")
    return lambda i: pipe(text_number(i % 9), **WRITING, num_beams=1, return_token_scores=True)


def search_beams(families: Families) -> Callable[[int], Any]:
    model = families.pipeline("summarization", "bart").model
    return lambda i: model.generate(torch.tensor([[0, 8 + i % 9, 2]]), num_beams=2, **WRITING)


def leave_a_stream(families: Families) -> Callable[[int], Any]:
    """Of tokens, of text, or of results, given up after the first."""
    pipe, classify = families.pipeline("text-generation", "gpt2"), families.pipeline("text-classification", "bert")
    begin: tuple[Callable[[int], Any], ...] = (
        lambda i: stream(pipe.model, torch.tensor([[5, 6, 7 + i % 9]]), **WRITING),
        lambda i: stream_text(pipe.model, pipe.tokenizer, text_number(i % 5), **WRITING),
        lambda i: classify(iter([text_number(i), text_number(i + 1)]), batch_size=1),
    )
    return lambda i: next(begin[i % len(begin)](i))


def leave_a_thread(families: Families) -> Callable[[int], Any]:
    """Nobody takes the pieces that a thread has queued."""
    pipe = families.pipeline("text-generation", "gpt2")

    def call(i: int) -> None:
        streamer = TextIteratorStreamer(pipe.tokenizer, timeout=60)
        options = {"streamer": streamer, **WRITING}
        thread = threading.Thread(target=pipe.model.generate, args=(torch.tensor([[5, 6, 7 + i % 9]]),), kwargs=options)
        thread.start()
        next(streamer)
        thread.join()

    return call


def fail(families: Families) -> Callable[[int], Any]:
    """Errors hold the frames that they passed, and these hold what was computed."""
    pipe, writing = families.pipeline("text-classification", "bert"), families.pipeline("text-generation", "gpt2")

    def refuse(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        raise MinitransformerError("no")

    def call(i: int) -> None:
        for wrong in (text_number(i) * 40, "", [text_number(i), "a\ud800"]):
            with suppress(MinitransformerError):
                pipe(wrong)
        with suppress(MinitransformerError):
            writing(text_number(i % 5), logits_processor=[refuse], **WRITING)

    return call


def look_inside(families: Families) -> Callable[[int], Any]:
    model = families.pipeline("text-classification", "bert").model

    def call(i: int) -> None:
        ids = torch.arange(5, 12 + i % 20)[None]
        with torch.no_grad(), trace(model, "*"):
            model(ids)
        with torch.no_grad():
            model(ids, output_hidden_states=True, output_attentions=True)

    return call


TASKS = (  # one for each pipeline
    classify, find_entities, answer, choose_labels, fill, extract_features, write, summarize, translate, rewrite,
)  # fmt: skip
OFTEN = (*TASKS, leave_a_stream)
WORK = (*OFTEN, search_beams, leave_a_thread, fail, look_inside)


def count_tensors() -> int:
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def megabytes() -> float:
    """What the process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def tensors_without_collector(call: Callable[[int], Any]) -> int:
    """How many more tensors are alive after some calls, if nobody breaks cycles of references."""
    for i in range(3):
        call(i)
    gc.collect()
    gc.disable()
    try:
        before = count_tensors()
        for i in range(20):
            call(i)
        return count_tensors() - before
    finally:
        gc.enable()


def measure(call: Callable[[int], Any], calls: int) -> dict[str, float]:
    """What many calls leave behind."""
    tensors = tensors_without_collector(call)
    for i in range(WARM_UP):
        call(i)
    memory, blocks = megabytes(), []
    for part in range(PARTS):
        gc.collect()
        blocks.append(-sys.getallocatedblocks())
        for i in range(calls // PARTS):
            call(i)
        gc.collect()
        blocks[part] += sys.getallocatedblocks()
    # What is kept of every call shows in every part; what is made once and cached, in one.
    return {
        "calls": calls,
        "tensors": tensors,
        "blocks per call": round(min(blocks) / (calls // PARTS), 2),
        "megabytes": round(megabytes() - memory, 2),
    }


def keep(families: Families) -> Callable[[int], Any]:
    """What a leak looks like: each call's scores are kept."""
    model, kept = families.pipeline("fill-mask", "roberta").model, list[torch.Tensor]()

    def call(i: int) -> None:
        with torch.no_grad():
            kept.append(model(torch.arange(5, 15 + i % 5)[None]).logits)

    return call


def main() -> None:
    """Measure everything, and print it as a table, or as JSON for ``--json``."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        families = Families(Path(folder))
        for work in (*WORK, keep):
            found[work.__name__] = measure(work(families), CALLS if work in (*OFTEN, keep) else FEWER_CALLS)
    if "--json" in sys.argv:
        print(json.dumps(found))
        return
    for name, counts in found.items():
        print(f"{name:16}", *(f"{value:+8} {what}" for what, value in counts.items()))


if __name__ == "__main__":
    main()
