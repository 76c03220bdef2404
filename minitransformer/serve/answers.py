"""What the pipelines say, in the shapes that the official clients read (huggingface_hub, @huggingface/inference)."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cosine_similarity, normalize

from minitransformer.pipelines.base import Pipeline
from minitransformer.pipelines.batching import Chunk
from minitransformer.pipelines.generating import GeneratingPipeline
from minitransformer.serve.calls import Call
from minitransformer.serve.errors import invalid
from minitransformer.serve.generating import Event, finish_reason
from minitransformer.serve.models import Vectors
from minitransformer.serve.options import SIMILARITY

Answer = Callable[[list[Any]], Any]

FLAT = ("summarization", "translation", "text2text-generation")
_OLD_CLIENT = re.compile(r"hf_hub/(0\.|1\.[01]\.)")


def reads_old_form(user_agent: str, wanted: str | None) -> bool:
    """Whether zero-shot's answer is to be {"sequence", "labels", "scores"}, which huggingface_hub before 1.2 reads."""
    return wanted == "legacy" or bool(_OLD_CLIENT.search(user_agent))


def answer_for(call: Call, vectors: Vectors, old_form: bool = False) -> Answer:
    """What makes the JSON of the pipeline's results for the inputs of a call."""

    def several(results: list[Any]) -> Any:
        shaped = [shape(call, result, vectors, old_form) for result in results]
        if not call.single:
            if call.task in FLAT and all(len(each) == 1 for each in shaped):
                return [each[0] for each in shaped]
            return shaped
        return [shaped[0]] if call.task == "text-classification" else shaped[0]

    return (lambda results: similarities(call, results, vectors)) if call.task == SIMILARITY else several


def shape(call: Call, result: Any, vectors: Vectors, old_form: bool) -> Any:
    """The answer for one input."""
    match call.task:
        case "zero-shot-classification" if not old_form:
            return [
                {"label": label, "score": score}
                for label, score in zip(result["labels"], result["scores"], strict=True)
            ]
        case "text-classification":
            return result if isinstance(result, list) else [result]
        case "question-answering":
            return [result] if call.extra.get("several") and isinstance(result, dict) else result
        case "feature-extraction":
            return vector(call, result, vectors)
    return result


def vector(call: Call, tokens: torch.Tensor, vectors: Vectors) -> Any:
    """(1, T, D): the vectors of tokens; or (D,) from a model of sentence-transformers."""
    found = vectors.pool(tokens.float()) if vectors.is_sentence_transformer else tokens.float()
    size = call.extra.get("dimensions")
    if size is not None:
        if size > found.shape[-1]:
            raise invalid(f"dimensions must be at most {found.shape[-1]}, the size of the model's vectors, not {size}")
        found = found[..., :size]
    return (normalize(found, dim=-1) if call.extra.get("normalize") else found).tolist()


def similarities(call: Call, results: list[torch.Tensor], vectors: Vectors) -> list[float]:
    """The cosine between the first text and each other."""
    first, *others = (vectors.pool(tokens.float()) for tokens in results)
    return [float(cosine_similarity(first, other, dim=0).clamp(-1, 1)) for other in others]


# Generated text -----------------------------------------------------------------------------------------------------


def finish_with_reason(call: Call) -> Callable[[Pipeline, list[Chunk], dict[str, Any]], list[Event]]:
    """What makes the texts of one prompt, each with its new tokens, for who has to say why it ended."""

    def finish(pipe: Pipeline, outputs: list[Chunk], options: dict[str, Any]) -> list[Event]:
        assert isinstance(pipe, GeneratingPipeline)
        texts = pipe.finish(outputs, options)
        eos = pipe.settings(call.options).eos_token_id
        ends = {eos} if isinstance(eos, int) else set(eos or ())
        start = outputs[0]["input_ids"].shape[1]
        described = []
        for record, row in zip(texts, outputs[0]["sequences"][0].tolist(), strict=True):
            ids = row[start:]
            last = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
            described.append({**record, "ids": ids[:last], "ends": ends, "prompt_tokens": start})
        return described

    return finish


def completion(model: str, results: list[list[Event]], stops: Any) -> dict[str, Any]:
    """The answer of /v1/completions."""
    choices: list[dict[str, Any]] = []
    for text in (text for texts in results for text in texts):
        reason = finish_reason(text["ids"], text["ends"], text["generated_text"], stops)
        choices.append(choice(len(choices), text["generated_text"], reason))
    written = sum(len(text["ids"]) for texts in results for text in texts)
    read = sum(texts[0]["prompt_tokens"] for texts in results)
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return {**completion_head(model), "choices": choices, "usage": usage}


def completion_head(model: str) -> dict[str, Any]:
    """What every answer of /v1/completions begins with."""
    return {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
    }


def choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
    """One text of /v1/completions."""
    finish = None if reason is None else "length" if reason == "length" else "stop"
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def completion_event(head: dict[str, Any], event: Event) -> Event:
    """An event of a stream in the words of /v1/completions; those of text-generation stay in it for its own clients."""
    text = event["token"]["text"] if event["token"] else ""
    reason = event["details"]["finish_reason"] if event["details"] else None
    return {**head, "choices": [choice(0, text, reason)], **event}


def with_details(events: list[Event], pipe: Pipeline) -> dict[str, Any]:
    """One answer of all events of a text."""
    last = events[-1]
    tokens = [event["token"] for event in events if event["token"]]
    for token in tokens:
        token["text"] = pipe.tokenizer.decode([token["id"]])
    details = {
        "finish_reason": last["details"]["finish_reason"],
        "generated_tokens": last["details"]["generated_tokens"],
        "seed": last["details"]["seed"],
        "prefill": last["details"].get("prefill", []),
        "tokens": tokens,
    }
    if any("top_tokens" in event for event in events):
        details["top_tokens"] = [event["top_tokens"] for event in events if "top_tokens" in event]
    return {"generated_text": last["generated_text"], "details": details}
