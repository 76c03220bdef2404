"""Which parameters a task takes from outside: the pipelines' own table, without what a caller may not.

Names, types, ranges and defaults are those that the pipelines declare (``pipeline_options``). Left out is what would
load something, call something, or answer with arrays as large as the model; some numbers are bounded. What the API of
Hugging Face has besides is declared below.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from minitransformer.errors import PipelineError, did_you_mean
from minitransformer.generation.config import ARGUMENTS, NOT_OFFERED, WITHOUT_EFFECT
from minitransformer.options import MOST as INTEGERS
from minitransformer.options import Count, Natural, Only, Option, Range, declared, shown
from minitransformer.pipelines import pipeline_options
from minitransformer.serve.errors import invalid, wrong

SIMILARITY = "sentence-similarity"

NOT_FROM_OUTSIDE = frozenset(
    {
        *ARGUMENTS,  # functions, tensors, another model to load
        *NOT_OFFERED,
        *WITHOUT_EFFECT,
        *("generation_config", "transformers_version", "use_cache", "return_dict_in_generate"),
        *("output_scores", "output_logits", "output_attentions", "output_hidden_states"),
        *("return_tensors", "return_text", "return_type", "num_workers", "offset_mapping", "is_split_into_words"),
    }
)
MOST = {  # what a caller may ask for at most, where more would take the machine from the others
    "num_beams": 32,
    "num_return_sequences": 32,
    "best_of": 32,
    "max_new_tokens": 4096,
    "max_length": 8192,
    "pad_to_multiple_of": 1024,
    "truncate": 8192,
    "num_assistant_tokens": 64,
}
TOKENIZER_DICTS = ("tokenizer_kwargs", "tokenize_kwargs", "tokenizer_encode_kwargs")
MOST_LABELS = 128
MOST_STOPS = 16
REFUSED = {  # what the API of text-generation knows and we do not do
    "watermark": "texts are not watermarked",
    "grammar": "texts follow no grammar",
    "adapter_id": "models have no adapters to choose from",
}

Penalty = Annotated[float, Range(least=-2, most=2)]
Stops = Annotated[
    list[str],
    Only(lambda texts: len(texts) <= MOST_STOPS and all(texts), f"a list of at most {MOST_STOPS} texts, none empty"),
]


def _of_text_generation(
    *,
    seed: Annotated[Natural | None, "of the sampling"] = None,
    stop: Annotated[str | Stops | None, "texts that end the writing"] = None,
    truncate: Annotated[Count | None, "read the last so many tokens of the prompt"] = None,
    details: Annotated[bool, "add the tokens and the reason of the end"] = False,
    decoder_input_details: Annotated[bool, "with details: the prompt's tokens too"] = False,
    top_n_tokens: Annotated[
        Annotated[int, Range(least=0, most=20)] | None, "with details: the likeliest tokens at each place"
    ] = None,
    best_of: Annotated[Count | None, "of so many samples, give the likeliest"] = None,
    frequency_penalty: Annotated[Penalty | None, "for each time that a token was written"] = None,
    presence_penalty: Annotated[Penalty | None, "for tokens that were written"] = None,
) -> None: ...


def _of_feature_extraction(
    *,
    normalize: Annotated[bool, "scale each vector to length 1"] = False,
    truncate: Annotated[bool, "cut a text that is too long"] = False,
    truncation_direction: Annotated[Literal["left", "right", "Left", "Right"], "where it is cut"] = "right",
    prompt_name: Annotated[str | None, "which of the model's prompts goes before the text"] = None,
    dimensions: Annotated[Count | None, "keep so many numbers of a vector"] = None,
    encoding_format: Annotated[Literal["float"], "numbers"] = "float",
) -> None: ...


def _of_text2text(
    *, generate_parameters: Annotated[dict[str, Any] | None, "options of generate, together"] = None
) -> None: ...


ALSO = {  # parameters of the API that the pipeline has under another name, or not at all
    "text-generation": declared(_of_text_generation),
    "feature-extraction": declared(_of_feature_extraction),
    **dict.fromkeys(("summarization", "translation", "text2text-generation"), declared(_of_text2text)),
}


@cache
def task_options(task: str) -> dict[str, Option]:
    """The parameters of a task, by name."""
    if task == SIMILARITY:
        return {}
    own = {name: option for name, option in pipeline_options(task).items() if option.schema() is not None}
    return {name: option for name, option in {**own, **ALSO.get(task, {})}.items() if name not in NOT_FROM_OUTSIDE}


def schemas(task: str) -> dict[str, dict[str, Any]]:
    """The same as JSON Schema."""
    found = {name: nullable(bounded(name, option.schema() or {})) for name, option in task_options(task).items()}
    if task == "text-generation":
        several = {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": MOST_STOPS}
        found["stop"]["anyOf"] = [{"type": "string"}, several, {"type": "null"}]
        found["watermark"] = {"enum": [False, None], "description": f"is not offered: {REFUSED['watermark']}"}
    return found


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that null fits, too: it stands for what is not said."""
    kinds = schema.get("anyOf", [{k: v for k, v in schema.items() if k not in ("description", "default")}])
    rest = {k: v for k, v in schema.items() if k in ("description", "default")}
    return {"anyOf": [*kinds, *([] if {"type": "null"} in kinds else [{"type": "null"}])], **rest}


def bounded(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with the most that a caller may ask for: of all numbers, what 64 bits hold."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [bounded(name, each) for each in schema["anyOf"]]}
    if "items" in schema:
        return {**schema, "items": bounded("", schema["items"])}
    if schema.get("type") != "integer":
        return schema
    return {
        "minimum": -INTEGERS - 1,
        "maximum": INTEGERS,
        **schema,
        **({"maximum": MOST[name]} if name in MOST else {}),
    }


def read_parameters(task: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as they are declared.

    Raises:
        ApiError: 422 for one that the task does not have, or of a value that it cannot have.
    """
    table = task_options(task)
    read = {}
    for name, value in parameters.items():
        if name in REFUSED and task == "text-generation":
            raise invalid(f"{name} is not offered: {REFUSED[name]}. Leave it out.")
        if name not in table:
            if name in NOT_FROM_OUTSIDE:
                raise invalid(f"{name} cannot be given from outside: leave it out.")
            known = ", ".join(sorted(table)) or "none"
            raise invalid(f"{task} has no parameter {shown(name)}.{did_you_mean(name, table)} It has: {known}")
        try:
            read[name] = table[name].read(value, PipelineError)
        except PipelineError as error:
            raise invalid(str(error)) from None
        check_size(name, value)
        for inner, each in value.items() if name in TOKENIZER_DICTS and isinstance(value, dict) else ():
            check_size(inner, each, f" in {name}")
    return read


def check_size(name: str, value: Any, place: str = "") -> None:
    """Raise a 422 for a number that is too large."""
    if name in MOST and isinstance(value, int) and value > MOST[name]:
        raise invalid(f"{name}{place} must be at most {MOST[name]}, not {shown(value)}")


def check_type(name: str, value: Any, kind: type, words: str) -> None:
    """Raise a 400 if a part of the body has another type."""
    if not isinstance(value, kind):
        raise wrong(f"{name} must be {words}, not {shown(value)}")
