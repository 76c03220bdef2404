"""From the JSON of a request to what a pipeline is to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from minitransformer.errors import did_you_mean
from minitransformer.jsons import JSONError, parse_json
from minitransformer.options import shown
from minitransformer.serve.errors import invalid, wrong
from minitransformer.serve.models import Served
from minitransformer.serve.options import MOST_LABELS, REFUSED, SIMILARITY, check_type, read_parameters

ROOT = frozenset({"inputs", "parameters", "options", "stream", "model"})
ROOT_OF_VECTORS = ("normalize", "truncate", "truncation_direction", "prompt_name", "dimensions", "encoding_format")
OPTIONS = {"wait_for_model": "true or false", "use_cache": "true or false", "use_gpu": "true or false"}
COMPLETION = {  # what /v1/completions calls otherwise
    "max_tokens": "max_new_tokens",
    "echo": "return_full_text",
    "n": "num_return_sequences",
}
COMPLETION_IGNORED = ("user", "stream_options")
COMPLETION_UNSAID = {  # what is offered only by the value that asks for nothing, besides null
    "suffix": ("",),
    "logit_bias": ({},),
    "logprobs": (False, 0),
}
PAIR = '{"question": ..., "context": ...}'


@dataclass
class Call:
    """What a request asks for.

    Attributes:
        task: its name.
        inputs: of the pipeline, one or more.
        single: whether they were no list.
        options: of the pipeline.
        extra: parameters that the pipeline does not know.
        stream: whether the answer comes token by token.
        wait: whether to wait for the model to be loaded, however long; None if nothing is said.
    """

    task: str
    inputs: list[Any]
    single: bool
    options: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    wait: bool | None = None


def read_json(data: bytes) -> dict[str, Any]:
    """The object in a body.

    Raises:
        ApiError: 400, it is none.
    """
    try:
        body = parse_json(data)
    except JSONError as error:
        raise wrong(f"The body is not valid JSON ({error}): send an object such as " + '{"inputs": "..."}') from None
    if not isinstance(body, dict):
        raise wrong("The body must be a JSON object such as " + '{"inputs": "..."}' + f", not {shown(body)}")
    return body


def read_call(served: Served, task: str, body: Mapping[str, Any], max_inputs: int) -> Call:
    """What a body for a task asks for.

    Raises:
        ApiError: 400 for parts that are missing or of a wrong type, 422 for unknown or wrong parameters.
    """
    vectors = task in ("feature-extraction", SIMILARITY)
    known = {*ROOT, *(ROOT_OF_VECTORS if vectors else ())}
    for name in body:
        if name not in known:
            raise invalid(
                f"the body has {name!r}, which is unknown.{did_you_mean(name, known)} Options go into parameters."
            )
    if body.get("model") is not None:
        check_type("model", body["model"], str, "a text")
    if body.get("inputs") is None:
        raise wrong('"inputs" is missing: send {"inputs": ..., "parameters": {...}}')
    parameters = given_parameters(body)
    if vectors:
        at_root = {name: body[name] for name in ROOT_OF_VECTORS if body.get(name) is not None}
        read_parameters("feature-extraction", {name: parameters[name] for name in at_root.keys() & parameters.keys()})
        parameters |= at_root
    stream = False
    for said in (body.get("stream"), parameters.pop("stream", None)):
        if said is not None:
            check_type("stream", said, bool, "true or false")
            stream = said
    if stream and task != "text-generation":
        raise invalid(f"only text-generation comes as a stream, not {task}: leave stream out")
    inputs, single = read_inputs(task, body["inputs"], max_inputs)
    call = Call(task, inputs, single, stream=stream, wait=read_options(body))
    generate = parameters.pop("generate_parameters", None)
    if generate is not None:
        check_type("generate_parameters", generate, dict, "an object")
        parameters = {**{name: value for name, value in generate.items() if value is not None}, **parameters}
    read_task_parameters(call, parameters)
    return call


def given_parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are not null."""
    parameters = body.get("parameters")
    if parameters is None:
        return {}
    check_type("parameters", parameters, dict, "an object")
    return {name: value for name, value in parameters.items() if value is not None}


def read_options(body: Mapping[str, Any]) -> bool | None:
    """``wait_for_model``, the only one of the old options that has a meaning here."""
    options = body.get("options")
    if options is None:
        return None
    check_type("options", options, dict, "an object")
    for name, value in options.items():
        if name not in OPTIONS:
            raise invalid(f"options has {name!r}, which is unknown.{did_you_mean(name, OPTIONS)}")
        if value is not None:
            check_type(f"options.{name}", value, bool, OPTIONS[name])
    wait = options.get("wait_for_model")
    return None if wait is None else bool(wait)


def read_inputs(task: str, inputs: Any, most: int) -> tuple[list[Any], bool]:
    """The inputs of the pipeline, and whether there was only one, not in a list."""
    if task == SIMILARITY:
        return read_similarity(inputs, most), False
    single = not isinstance(inputs, list)
    several = [inputs] if single else inputs
    if not several:
        raise wrong("inputs is an empty list: send at least one")
    if len(several) > most:
        raise wrong(f"inputs has {len(several)} entries, and may have {most}: send them in parts")
    for number, each in enumerate(several):
        place = "inputs" if single else f"inputs[{number}]"
        if task == "question-answering":
            check_type(place, each, dict, PAIR)
            for name in ("question", "context"):
                if name not in each:
                    raise wrong(f"{place} has no {name!r}: send {PAIR}")
                check_text(f"{name} of {place}", each[name])
            for name in each.keys() - {"question", "context"}:
                raise wrong(f"{place} has {name[:60]!r}, which is unknown: send {PAIR}")
        elif task == "text-classification" and isinstance(each, dict):
            for name in each.keys() - {"text", "text_pair"}:
                raise wrong(f"{place} has {name[:60]!r}, which is unknown: send a text, or " + '{"text", "text_pair"}')
            check_text(f"text of {place}", each.get("text"))
            if each.get("text_pair") is not None:
                check_text(f"text_pair of {place}", each["text_pair"])
        else:
            check_text(place, each, may_be_empty=task == "text-generation")
    return several, single


def read_similarity(inputs: Any, most: int) -> list[str]:
    """The sentence, and those to compare it with."""
    form = '{"source_sentence": ..., "sentences": [...]}'
    check_type("inputs", inputs, dict, form)
    check_text("source_sentence", inputs.get("source_sentence"))
    sentences = inputs.get("sentences")
    check_type("sentences", sentences, list, f"a list: send {form}")
    if not sentences:
        raise wrong("sentences is empty: send at least one to compare with")
    if len(sentences) > most:
        raise wrong(f"sentences has {len(sentences)} entries, and may have {most}: send them in parts")
    for number, each in enumerate(sentences):
        check_text(f"sentences[{number}]", each)
    return [inputs["source_sentence"], *sentences]


def check_text(name: str, value: Any, may_be_empty: bool = False) -> None:
    """Raise a 400 unless it is a text that is not empty."""
    check_type(name, value, str, "a text")
    if not value and not may_be_empty:
        raise wrong(f"{name} is empty: send a text of at least one character")


def read_task_parameters(call: Call, parameters: dict[str, Any]) -> None:
    """Share out parameters among the pipeline's options and what is ours."""
    task = call.task
    if task == "text-generation":
        parameters = {k: v for k, v in parameters.items() if not (k in REFUSED and v is False)}
    options = read_parameters("feature-extraction" if task == SIMILARITY else task, parameters)
    extra = call.extra
    match task:
        case "zero-shot-classification":
            check_labels(call, options)
        case "text-classification":
            options.setdefault("top_k", None)
        case "token-classification":
            if not options.keys() & {"aggregation_strategy", "grouped_entities", "ignore_subwords"}:
                options["aggregation_strategy"] = "simple"
        case "feature-extraction" | "sentence-similarity":
            extra |= {name: options.pop(name) for name in ROOT_OF_VECTORS if name in options}
            if extra.get("truncate"):
                options["truncation"] = True
            options["return_tensors"] = True
        case "question-answering":
            extra["several"] = max(options.get("top_k", 1), options.get("topk", 1)) > 1
        case "text-generation":
            names = ("seed", "truncate", "details", "decoder_input_details", "top_n_tokens", "best_of")
            extra |= {name: options.pop(name) for name in names if name in options}
            extra["penalties"] = (options.pop("frequency_penalty", 0.0), options.pop("presence_penalty", 0.0))
            stop = options.pop("stop", None)
            if stop:
                options["stop_strings"] = [stop] if isinstance(stop, str) else stop
    call.options = options


def check_labels(call: Call, options: dict[str, Any]) -> None:
    """There must be labels, and not too many for the texts."""
    labels = options.get("candidate_labels")
    if not labels:
        raise wrong('candidate_labels is missing: send {"inputs": ..., "parameters": {"candidate_labels": ["a", "b"]}}')
    count = labels.count(",") + 1 if isinstance(labels, str) else len(labels)
    if count > MOST_LABELS:
        raise invalid(f"candidate_labels has {count} labels, and may have {MOST_LABELS}")
    longest = max(map(len, call.inputs))
    if count * longest > 1 << 20:
        raise invalid(f"{count} labels for a text of {longest} characters are too much: send fewer, or a shorter text")


def read_completion(served: Served, body: Mapping[str, Any], max_inputs: int) -> Call:
    """What a body for /v1/completions asks for, in the words of OpenAI, or of our pipeline where it has others."""
    if body.get("prompt") is None:
        raise wrong('"prompt" is missing: send {"prompt": "...", "max_tokens": 50}')
    rest = {
        k: v for k, v in body.items() if v is not None and k not in ("prompt", "model", "stream", *COMPLETION_IGNORED)
    }
    for name, nothing in COMPLETION_UNSAID.items():
        if name in rest and not any(type(rest[name]) is type(value) and rest[name] == value for value in nothing):
            raise invalid(f"{name} is not offered: leave it out")
        rest.pop(name, None)
    for name, ours in COMPLETION.items():
        if name in rest and ours in rest:
            raise invalid(f"{name} and {ours} are one option: leave one of them out")
    parameters = {COMPLETION.get(name, name): value for name, value in rest.items()}
    if parameters.get("temperature") == 0 and not isinstance(parameters["temperature"], bool):
        parameters = {**parameters, "do_sample": False}
        del parameters["temperature"]
    parameters.setdefault("return_full_text", False)
    call = read_call(
        served,
        "text-generation",
        {"inputs": body["prompt"], "parameters": parameters, "stream": body.get("stream"), "model": body.get("model")},
        max_inputs,
    )
    return call
