"""The description of the API (OpenAPI 3.1), made from the models that are served and the table of options."""

from __future__ import annotations

import re
from typing import Any

from minitransformer import __version__
from minitransformer.serve.calls import COMPLETION_IGNORED, COMPLETION_UNSAID, OPTIONS
from minitransformer.serve.models import Served, Shelf
from minitransformer.serve.options import MOST_LABELS, SIMILARITY, nullable, schemas
from minitransformer.serve.settings import Settings

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_SCORE: Schema = {"type": "number"}
_NAME: Schema = {"type": "string"}


def _object(required: dict[str, Schema], **more: Schema) -> Schema:
    return {"type": "object", "properties": {**required, **more}, "required": list(required)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_LABEL = _object({"label": _NAME, "score": _SCORE})
_OLD_LABELS = _object({"sequence": _NAME, "labels": _list(_NAME), "scores": _list(_SCORE)})
_FILLING = _object({"score": _SCORE, "token": {}, "token_str": {}, "sequence": _NAME})
_ENTITY = _object(
    {"score": _SCORE, "word": _NAME, "start": {"type": ["integer", "null"]}, "end": {"type": ["integer", "null"]}},
    entity_group=_NAME,
    entity=_NAME,
    index={"type": "integer"},
)
_ANSWER = _object({"answer": _NAME, "score": _SCORE, "start": {"type": "integer"}, "end": {"type": "integer"}})
_TOKEN = _object({"id": {"type": "integer"}, "text": _NAME, "logprob": {"type": ["number", "null"]}})
_GENERATED = _object({"generated_text": _NAME})
_DETAILED = _object(
    {
        "generated_text": _NAME,
        "details": _object(
            {
                "finish_reason": {"enum": ["length", "eos_token", "stop_sequence"]},
                "generated_tokens": {"type": "integer"},
                "seed": {"type": ["integer", "null"]},
                "prefill": _list(_TOKEN),
                "tokens": _list(_TOKEN),
            },
            top_tokens=_list(_list(_TOKEN)),
        ),
    }
)
_EVENTS: Schema = {"text/event-stream": {"example": 'data:{"index": 1, "token": {"id": 5, "text": "a"}}'}}
_ERROR = _object({"error": _NAME}, error_type=_NAME, estimated_time={"type": "number"})

ANSWERS: dict[str, Schema] = {  # to one input
    "fill-mask": {"anyOf": [_list(_FILLING), _list(_list(_FILLING))]},
    "text-classification": _list(_list(_LABEL)),
    "token-classification": _list(_ENTITY),
    "question-answering": {"anyOf": [_ANSWER, _list(_ANSWER)]},
    "zero-shot-classification": {"anyOf": [_list(_LABEL), _OLD_LABELS]},
    "summarization": _list(_object({"summary_text": _NAME})),
    "translation": _list(_object({"translation_text": _NAME})),
    "text2text-generation": _list(_GENERATED),
    "text-generation": {"anyOf": [_list(_GENERATED), _DETAILED]},
    "feature-extraction": {"type": "array"},
    SIMILARITY: _list(_SCORE),
}
ERRORS = {
    400: "The request makes no sense: not JSON, a part that is missing or of a wrong type, a text without a mask.",
    401: "The token is missing or wrong.",
    404: "No such model or route.",
    405: "The route takes another method.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "An option is unknown or out of range, or a text too long.",
    424: "The model failed.",
    429: "Too many wait: ask again after Retry-After seconds.",
    503: "The model is being loaded (estimated_time), or the server is shutting down.",
    504: "The request waited too long.",
}


def document(shelf: Shelf, settings: Settings) -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, Any] = {}
    for served in shelf.models.values():
        own = f"/models/{served.id}"
        paths[own] = _post(served, served.task, settings)
        for task in served.tasks:
            paths[f"{own}/pipeline/{task}"] = _post(served, task, settings)
        if "text-generation" in served.tasks:
            paths |= _writing_routes(own, served, settings)
        for name, text in (("health", "Whether it can be asked"), ("info", "What is known of it")):
            paths[f"{own}/{name}"] = _get(text)
        paths[f"/status/{served.id}"] = _get("Whether it is loaded")
        paths[f"/api/models/{served.id}"] = _get("As the Hub describes a model")
    first, writer = shelf.first(), shelf.first_for("text-generation")
    paths["/"] = {**_get("The page, for browsers"), **_post(first, first.task, settings)}
    paths["/predict"] = _post(first, first.task, settings)
    if "text-generation" in writer.tasks:
        paths |= _writing_routes("", writer, settings)
    for path, text in (
        ("/health", "Whether requests are taken"),
        ("/info", "What is known of the first model"),
        ("/models", "All models"),
        ("/v1/models", "All models, as OpenAI lists them"),
        ("/api/models", "All models"),
        ("/api/tasks", "The first model of each task"),
        ("/metrics", "Counts and times for Prometheus"),
        ("/openapi.json", "This description"),
    ):
        paths[path] = _get(text, "text/plain" if path == "/metrics" else "application/json")
    about = {
        "title": "minitransformer",
        "version": __version__,
        "description": "The Inference API, on one's own machine.",
    }
    secured: dict[str, Any] = {}
    if settings.token is not None:
        scheme = {"type": "http", "scheme": "bearer"}
        secured = {"components": {"securitySchemes": {"token": scheme}}, "security": [{"token": []}]}
    return {"openapi": "3.1.0", "info": about, "paths": paths, **secured}


def _writing_routes(before: str, served: Served, settings: Settings) -> dict[str, Any]:
    """Those on which text generation speaks the words of others."""
    return {
        f"{before}/v1/completions": {"post": _completion(settings)},
        f"{before}/generate": _post(served, "text-generation", settings, [_GENERATED, _DETAILED]),
        f"{before}/generate_stream": _post(served, "text-generation", settings, stream=True),
    }


def _input(task: str, mask: str | None) -> Schema:
    if task == "question-answering":
        return {**_object({"question": _TEXT, "context": _TEXT}), "additionalProperties": False}
    if task == "text-classification":
        pair = {**_object({"text": _TEXT}, text_pair=nullable(_TEXT)), "additionalProperties": False}
        return {"anyOf": [_TEXT, pair]}
    if task == "fill-mask" and mask is not None:
        return {"type": "string", "pattern": re.escape(mask), "examples": [f"The {mask} barked."]}
    return {"type": "string"} if task == "text-generation" else _TEXT


def body(task: str, settings: Settings, mask: str | None = None) -> Schema:
    """What a task is sent; a text for fill-mask has the mask in it."""
    most = settings.max_inputs
    if task == SIMILARITY:
        sentences = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": most}
        inputs: Schema = _object({"source_sentence": _TEXT, "sentences": sentences})
    else:
        one = _input(task, mask)
        inputs = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": most}]}
    table = schemas(task)
    parameters: Schema = {"type": "object", "properties": table, "additionalProperties": False}
    required = {"inputs": inputs}
    if task == "zero-shot-classification":
        labels = _list(_NAME) | {"minItems": 1, "maxItems": MOST_LABELS}
        either = {
            "anyOf": [{"type": "string", "pattern": r"[^\s,]"}, labels],
            "description": "texts, or one with commas",
        }
        parameters |= {"properties": {**table, "candidate_labels": either}, "required": ["candidate_labels"]}
        required["parameters"] = parameters
    options = {
        "type": "object",
        "properties": {name: nullable({"type": "boolean"}) for name in OPTIONS},
        "additionalProperties": False,
    }
    root: dict[str, Schema] = {
        "parameters": nullable(parameters),
        "options": nullable(options),
        "model": nullable(_NAME),
    }
    if task == "text-generation":
        root["stream"] = nullable({"type": "boolean", "default": False})
    if task == "feature-extraction":
        root |= {name: table[name] for name in table if name != "tokenize_kwargs" and name != "truncation"}
    return {**_object(required, **{k: v for k, v in root.items() if k not in required}), "additionalProperties": False}


def _post(
    served: Served, task: str, settings: Settings, answers: list[Schema] | None = None, stream: bool = False
) -> dict[str, Any]:
    one = ANSWERS[task]
    answer = {"anyOf": answers} if answers else {"anyOf": [one, {"type": "array"}]}
    content: dict[str, Any] = {"application/json": {"schema": answer}}
    if task == "text-generation":
        content = _EVENTS if stream else {**content, **_EVENTS}
    schema = body(task, settings, served.mask_token)
    return {
        "post": {
            "summary": f"{served.id}: {task}{', token by token' if stream else ''}",
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": {"200": {"description": "The answer", "content": content}, **_errors()},
        }
    }


def _completion(settings: Settings) -> dict[str, Any]:
    table = schemas("text-generation")
    properties = {
        **table,
        "prompt": {"anyOf": [_NAME, {**_list(_NAME), "minItems": 1, "maxItems": settings.max_inputs}]},
        "model": nullable(_NAME),
        "max_tokens": table["max_new_tokens"],
        "n": nullable({"type": "integer", "minimum": 1, "maximum": 32}),
        "echo": nullable({"type": "boolean"}),
        "stream": nullable({"type": "boolean"}),
        "temperature": {"type": ["number", "null"], "minimum": 0, "description": "0 takes the likeliest token"},
        **{name: {} for name in COMPLETION_IGNORED},
        **{name: {"enum": [*nothing, None]} for name, nothing in COMPLETION_UNSAID.items()},
    }
    schema = {"type": "object", "properties": properties, "required": ["prompt"], "additionalProperties": False}
    choice = _object({"index": {"type": "integer"}, "text": _NAME, "finish_reason": {"type": ["string", "null"]}})
    answer = _object({"id": _NAME, "object": _NAME, "choices": _list(choice), "usage": {"type": "object"}})
    content = {"application/json": {"schema": answer}, **_EVENTS}
    return {
        "summary": "Continue a prompt, in the words of OpenAI",
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": "The text", "content": content}, **_errors()},
    }


def _get(text: str, kind: str = "application/json") -> dict[str, Any]:
    answers = {
        "200": {"description": "The answer", "content": {kind: {"schema": {}}}},
        **_errors((400, 401, 404, 405, 503)),
    }
    return {"get": {"summary": text, "responses": answers}}


def _errors(codes: tuple[int, ...] = tuple(ERRORS)) -> dict[str, Any]:
    content = {"application/json": {"schema": _ERROR}}
    return {str(code): {"description": ERRORS[code], "content": content} for code in codes}
