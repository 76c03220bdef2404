"""Calls every task with huggingface_hub, whichever version this interpreter has: hub_client.py URL sync|async.

Prints JSON: the version, and for each task the answer or the name of the error. It imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from typing import Any

import huggingface_hub
from huggingface_hub import AsyncInferenceClient, InferenceClient

ROOT = sys.argv[1] if len(sys.argv) > 1 else ""
PROMPT = "The old man opened the door and"
GREEDY = {"do_sample": False, "max_new_tokens": 12}


def url(model: str, more: str = "") -> str:
    return f"{ROOT}/models/minitransformer/{model}{more}"


CALLS: dict[str, tuple[str, str, tuple[Any, ...], dict[str, Any]]] = {
    "fill-mask": (url("bert-books"), "fill_mask", ("She opened the [MASK] and went out.",), {"top_k": 3}),
    "text-classification": (url("bert-sentiment"), "text_classification", ("I love this film!",), {}),
    "token-classification": (
        url("bert-ner"),
        "token_classification",
        ("Sarah Miller was born in London.",),
        {"aggregation_strategy": "first"},
    ),
    "question-answering": (
        url("bert-qa"),
        "question_answering",
        (),
        {"question": "Who founded it?", "context": "It was founded in 1846 by King Henry."},
    ),
    "zero-shot-classification": (
        url("bert-nli"),
        "zero_shot_classification",
        ("Two men are playing guitars.", ["music", "sleeping"]),
        {},
    ),
    "summarization": (
        url("bart-tldr"),
        "summarization",
        ("Deep neural networks need many labelled examples, which are expensive to collect.",),
        {"generate_parameters": {"max_new_tokens": 10}},
    ),
    "translation": (url("marian-fr-en"), "translation", ("Elle veut partir demain.",), {}),
    "text-generation": (url("gpt2-stories"), "text_generation", (PROMPT,), {**GREEDY, "return_full_text": True}),
    "feature-extraction": (
        url("bert-books", "/pipeline/feature-extraction"),
        "feature_extraction",
        ("The cat sleeps.",),
        {"normalize": True, "truncate": True, "truncation_direction": "Right"},
    ),
    "sentence-similarity": (
        url("bert-books", "/pipeline/sentence-similarity"),
        "sentence_similarity",
        ("The cat sleeps.", ["A cat is asleep.", "War and peace."]),
        {},
    ),
    "details": (
        url("gpt2-stories"),
        "text_generation",
        (PROMPT,),
        {**GREEDY, "details": True, "decoder_input_details": True, "top_n_tokens": 2, "seed": 1},
    ),
    "stream": (url("gpt2-stories"), "text_generation", (PROMPT,), {**GREEDY, "stream": True}),
    "stream with details": (
        url("gpt2-stories"),
        "text_generation",
        (PROMPT,),
        {**GREEDY, "stream": True, "details": True},
    ),
    "stop": (url("gpt2-stories"), "text_generation", (PROMPT,), {**GREEDY, "stop": [" man"], "details": True}),
    "error: no mask": (url("bert-books"), "fill_mask", ("no mask",), {}),
    "error: unknown model": (url("bert-boks"), "fill_mask", ("[MASK]",), {}),
    "error: watermark": (url("gpt2-stories"), "text_generation", (PROMPT,), {"watermark": True}),
    "error: out of range": (url("gpt2-stories"), "text_generation", (PROMPT,), {"temperature": -1.0}),
    "error: too long": (url("gpt2-stories"), "text_generation", ("word " * 400,), {**GREEDY, "stream": True}),
}


def plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        fields = {name: getattr(value, name) for name in value.__dataclass_fields__}
        return {name: plain(each) for name, each in fields.items() if each is not None}
    return value


async def call(asynchronous: bool, address: str, method: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    kind = AsyncInferenceClient if asynchronous else InferenceClient
    client = kind(address, timeout=120)
    try:
        result = getattr(client, method)(*args, **options)
        if inspect.isawaitable(result):
            result = await result
        if hasattr(result, "__aiter__"):
            result = [each async for each in result]
        elif options.get("stream"):
            result = list(result)
        return plain(result)
    except Exception as error:
        return {"raised": type(error).__name__, "text": str(error)}


async def main(asynchronous: bool) -> dict[str, Any]:
    answers = {name: await call(asynchronous, *each) for name, each in CALLS.items()}
    client = InferenceClient(url("gpt2-stories"), provider="hf-inference")
    if hasattr(client, "health_check"):
        answers["health"] = client.health_check()
        answers["info"] = client.get_endpoint_info()
    return answers


if __name__ == "__main__":
    answers = asyncio.run(main(sys.argv[2] == "async"))
    print(json.dumps({"version": huggingface_hub.__version__, "answers": answers}))
