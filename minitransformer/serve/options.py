"""Which parameters a task takes from outside, as JSON Schema: the pipelines' own table, without what a caller may not.

The names, types and defaults are those that the steps of the pipelines and ``generate`` declare. Left out is what would
load something, call something, or answer with arrays as large as the model; some numbers are bounded.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from minitransformer.errors import did_you_mean
from minitransformer.generation.config import ARGUMENTS, DEFAULTS, NOT_OFFERED, WITHOUT_EFFECT, GenerationConfig
from minitransformer.pipelines.options import STEPS
from minitransformer.pipelines.tasks import find_class
from minitransformer.serve.errors import invalid, wrong

Schema = dict[str, Any]

NOT_FROM_OUTSIDE = frozenset(
    {
        *ARGUMENTS,  # functions, tensors, another model to load
        *NOT_OFFERED,
        *WITHOUT_EFFECT,
        *("generation_config", "transformers_version", "use_cache", "return_dict_in_generate"),
        *("output_scores", "output_logits", "output_attentions", "output_hidden_states"),
        *("return_tensors", "return_text", "return_type", "num_workers", "offset_mapping", "is_split_into_words"),
        *("target_ids", "target_words", "ranked", "joint_ids"),  # what other options are turned into
    }
)
MOST = {  # what a caller may ask for at most, where more would take the machine from the others
    "num_beams": 32,
    "num_return_sequences": 32,
    "best_of": 32,
    "n": 32,
    "max_new_tokens": 4096,
    "max_length": 8192,
    "pad_to_multiple_of": 1024,
    "top_k": 1 << 20,
    "top_n_tokens": 20,
    "truncate": 8192,
    "num_assistant_tokens": 64,
}
TOKENIZER_DICTS = ("tokenizer_kwargs", "tokenize_kwargs", "tokenizer_encode_kwargs")
MOST_LABELS = 128
MOST_STOPS = 16

_NUMBER, _INTEGER, _TEXT, _FLAG = ({"type": name} for name in ("number", "integer", "string", "boolean"))
_TEXTS: Schema = {"type": "array", "items": _TEXT}

ALSO: dict[str, dict[str, Schema]] = {  # parameters of the API that the pipeline has under another name, or not at all
    "text-generation": {
        "seed": {**_INTEGER, "minimum": 0, "maximum": 2**63 - 1, "description": "of the sampling"},
        "stop": {"anyOf": [_TEXT, {**_TEXTS, "maxItems": MOST_STOPS}], "description": "texts that end the writing"},
        "truncate": {**_INTEGER, "minimum": 1, "description": "read the last so many tokens of the prompt"},
        "details": {**_FLAG, "description": "add the tokens and the reason of the end"},
        "decoder_input_details": {**_FLAG, "description": "with details: the prompt's tokens too"},
        "top_n_tokens": {**_INTEGER, "minimum": 0, "description": "with details: the likeliest tokens at each place"},
        "best_of": {**_INTEGER, "minimum": 1, "description": "of so many samples, give the likeliest"},
        "frequency_penalty": {
            **_NUMBER,
            "minimum": -2,
            "maximum": 2,
            "description": "for each time a token was written",
        },
        "presence_penalty": {**_NUMBER, "minimum": -2, "maximum": 2, "description": "for tokens that were written"},
    },
    "feature-extraction": {
        "normalize": {**_FLAG, "description": "scale each vector to length 1"},
        "truncate": {**_FLAG, "description": "cut a text that is too long"},
        "truncation_direction": {"enum": ["left", "right", "Left", "Right"], "description": "where it is cut"},
        "prompt_name": {**_TEXT, "description": "which of the model's prompts goes before the text"},
        "dimensions": {**_INTEGER, "minimum": 1, "description": "keep so many numbers of a vector"},
        "encoding_format": {"enum": ["float"], "description": "numbers"},
    },
}
REFUSED = {  # what the API of text-generation knows and we do not do
    "watermark": "texts are not watermarked",
    "grammar": "texts follow no grammar",
    "adapter_id": "models have no adapters to choose from",
}
SPECIAL: dict[Any, Schema] = {  # options that no signature declares with a type
    "candidate_labels": {"anyOf": [_TEXT, {**_TEXTS, "minItems": 1, "maxItems": MOST_LABELS}]},
    "targets": {"anyOf": [_TEXT, _TEXTS]},
    "stop_sequence": _TEXT,
    "max_length": {**_INTEGER, "minimum": 1},
    "multi_class": _FLAG,
    "whole_targets": _FLAG,
    "return_all_scores": _FLAG,
    "grouped_entities": _FLAG,
    "ignore_subwords": _FLAG,
    "topk": {**_INTEGER, "minimum": 1},
    "truncation": {"anyOf": [_FLAG, {"enum": ["longest_first", "only_first", "only_second", "do_not_truncate"]}]},
    "padding": {"anyOf": [_FLAG, {"enum": ["longest", "max_length", "do_not_pad"]}]},
    "stride": {**_INTEGER, "minimum": 0},
    "add_special_tokens": _FLAG,
    "pad_to_multiple_of": {**_INTEGER, "minimum": 1},
    "return_token_type_ids": _FLAG,
    "return_attention_mask": _FLAG,
    ("fill-mask", "normalize"): {"enum": ["targets", "pieces"]},
    "early_stopping": {"anyOf": [_FLAG, {"enum": ["never"]}]},
    "handle_long_generation": {"enum": ["hole"]},
    "aggregation_strategy": {"enum": ["none", "simple", "first", "average", "max"]},
    "function_to_apply": {"enum": ["default", "softmax", "sigmoid", "none"]},
}


@lru_cache(maxsize=32)
def task_options(task: str) -> dict[str, Schema]:
    """The parameters of a task, by name, as JSON Schema."""
    if task == "sentence-similarity":
        return {}
    task_class = find_class(task)
    generates = "max_new_tokens" in task_class.known_options()
    declared = {**(_of_generate() if generates else {}), **_of_steps(task_class)}
    table = {}
    for name in sorted(task_class.known_options() - NOT_FROM_OUTSIDE):
        schema = dict(SPECIAL.get((task, name)) or SPECIAL.get(name) or declared.get(name) or {})
        if name in TOKENIZER_DICTS:
            schema = {"type": "object", "additionalProperties": True}
        table[name] = _bounded(name, schema)
    for name, schema in ALSO.get(task, {}).items():
        table[name] = _bounded(name, schema)
    if generates and task != "text-generation":
        table["generate_parameters"] = {"type": "object", "description": "options of generate, together"}
    return table


def _of_steps(task_class: type[Any]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for owner in reversed(task_class.__mro__):
        for step in STEPS:
            for parameter in inspect.signature(vars(owner).get(step, _hint)).parameters.values():
                if parameter.kind is parameter.KEYWORD_ONLY:
                    found[parameter.name] = _with_default(_schema(_hint(parameter.annotation)), parameter.default)
    return found


def _of_generate() -> dict[str, Schema]:
    hints = typing.get_type_hints(GenerationConfig)
    return {name: _with_default(_schema(hints[name]), default) for name, default in DEFAULTS.items()}


def _hint(annotation: Any) -> Any:
    return eval(annotation, vars(typing)) if isinstance(annotation, str) else annotation  # the package's own source


def _schema(hint: Any) -> Schema:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        kinds = [_schema(each) for each in inner if each is not type(None)]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    plain: dict[Any, Schema] = {bool: _FLAG, int: _INTEGER, float: _NUMBER, str: _TEXT}
    if hint in plain:
        return dict(plain[hint])
    if origin is tuple and Ellipsis not in inner:
        return {"type": "array", "minItems": len(inner), "maxItems": len(inner)}
    if origin in (list, tuple) or getattr(origin, "__name__", "") == "Sequence":
        item = _schema(inner[0])
        return {"type": "array", "items": item} if item else {"type": "array"}
    return {"type": "object"} if origin is dict else {}


def _with_default(schema: Schema, default: Any) -> Schema:
    if default in (None, inspect.Parameter.empty) or not schema:
        return schema
    return {**schema, "default": list(default) if isinstance(default, tuple) else default}


def _bounded(name: str, schema: Schema) -> Schema:
    return {**schema, "maximum": MOST[name]} if name in MOST and schema.get("type") == "integer" else schema


def check(task: str, parameters: Mapping[str, Any], owner: str | None = None) -> None:
    """Raise a 422 for a parameter that the task does not have, or of a value that it cannot have; 400 for a wrong type."""
    table = task_options(task)
    for name, value in parameters.items():
        if name in REFUSED and task == "text-generation":
            raise invalid(f"{name} is not offered: {REFUSED[name]}. Leave it out.")
        if name not in table:
            if name in NOT_FROM_OUTSIDE:
                raise invalid(f"{name} cannot be given from outside: leave it out.")
            known = ", ".join(sorted(table)) or "none"
            raise invalid(f"{owner or task} has no parameter {name!r}.{did_you_mean(name, table)} It has: {known}")
        problem = misfit(value, table[name])
        if problem is not None:
            raise invalid(f"{name} must be {problem}, not {shown(value)}")
        if name in TOKENIZER_DICTS:
            for inner, limit in MOST.items():
                given = value.get(inner)
                if isinstance(given, int) and given > limit:
                    raise invalid(f"{inner} in {name} must be at most {limit}, not {shown(given)}")


def check_type(name: str, value: Any, kind: type | tuple[type, ...], words: str) -> None:
    """Raise a 400 if a part of the body has another type."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise wrong(f"{name} must be {words}, not {shown(value)}")


def misfit(value: Any, schema: Schema) -> str | None:
    """What a value should be to fit a schema, in words; None if it fits."""
    if "anyOf" in schema:
        words = [misfit(value, each) for each in schema["anyOf"]]
        return None if None in words else " or ".join(word for word in words if word)
    if "enum" in schema:
        fits = isinstance(value, str) and value in schema["enum"]
        return None if fits else "one of " + ", ".join(map(repr, schema["enum"]))
    kind = schema.get("type")
    if kind is None:
        return None
    right, words = {
        "boolean": (isinstance(value, bool), "true or false"),
        "integer": (isinstance(value, int) and not isinstance(value, bool), "an integer"),
        "number": (isinstance(value, (int, float)) and not isinstance(value, bool), "a number"),
        "string": (isinstance(value, str), "a text"),
        "array": (isinstance(value, list), "a list"),
        "object": (isinstance(value, dict), "an object"),
    }[kind]
    least, most = schema.get("minimum"), schema.get("maximum")
    if kind in ("integer", "number"):
        words += f" of at least {least}" if least is not None else ""
        words += f"{' and' if least is not None else ' of'} at most {most}" if most is not None else ""
        if right and not -(2**63) <= value < 2**63:
            return words if most is not None else f"{words} of 64 bits"
        right = right and (least is None or value >= least) and (most is None or value <= most)
    if kind == "array":
        few, many = schema.get("minItems"), schema.get("maxItems")
        item = schema.get("items")
        if item:
            words = f"a list, each of it {_words(item)}"
        if right and few is not None and len(value) < few:
            return f"a list of at least {few}"
        if right and many is not None and len(value) > many:
            return f"a list of at most {many}"
        right = right and (not item or all(misfit(each, item) is None for each in value))
    return None if right else words


def _words(schema: Schema) -> str:
    return misfit(None, schema) or "anything"


def shown(value: Any) -> str:
    """A value in a message, short."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**18:
        return "so large a number"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
