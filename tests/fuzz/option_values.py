"""Options of every declared table, with values of any kind: of pipelines, ``generate``, tokenizers, evaluations."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from fuzz import Case
from fuzz.toys import ALL_TASKS, GENERATING, folder_of, near_value, pipe_of, right_input, wild_value
from minitransformer import AutoTokenizer, GenerationConfig, pipeline
from minitransformer.data import read_records
from minitransformer.evaluation import evaluate
from minitransformer.evaluation.run import EVALUATIONS, READING, evaluation_options
from minitransformer.generation.config import NOT_OFFERED, WITHOUT_EFFECT
from minitransformer.options import Option, declared, shown
from minitransformer.pipelines import pipeline_options
from minitransformer.tokenization.settings import SETTINGS
from minitransformer.tokenization.text_to_ids import CALL_OPTIONS
from minitransformer.training.settings import Settings

ENDLESS = {"max_length", "max_new_tokens", "min_new_tokens", "min_length"}
"""Options whose right values may ask for more than a case may take."""


@cache
def table_of(task: str) -> dict[str, Option]:
    return pipeline_options(task)


def drawn(draw: Random, table: dict[str, Option], most: int = 3) -> dict[str, Any]:
    """A few options: some with wild values, some with values near what they may be."""
    found: dict[str, Any] = {}
    for name in draw.sample(sorted(table), k=min(len(table), draw.randint(1, most))):
        wild = not found and draw.random() < 0.5
        value = wild_value(draw) if wild else near_value(draw, table[name].schema())
        if not (name in ENDLESS and isinstance(value, (int, float)) and value > 1000):
            found[name] = value
    return found


def case(draw: Random, folder: Path) -> Case:
    """One call with odd options."""
    of = draw.choices(
        [pipelines, tokenizers, generate, arguments, evaluations, settings, configs], [6, 3, 3, 2, 2, 2, 1]
    )[0]
    return of(draw, folder)


def pipelines(draw: Random, folder: Path) -> Case:
    task = draw.choice(ALL_TASKS)
    pipe, options = pipe_of(task), drawn(draw, table_of(task))
    if draw.random() < 0.1:
        options["batch_size"] = wild_value(draw)
    if task in GENERATING and draw.random() < 0.1:
        options[draw.choice(sorted({*NOT_OFFERED, *WITHOUT_EFFECT}))] = wild_value(draw)
    inputs = right_input(task)
    if draw.random() < 0.3 and task != "question-answering":
        inputs["inputs"] = [inputs["inputs"]] * 2
    return f"{task} {shown(options)}", lambda: pipe(**{**inputs, **options})


def tokenizers(draw: Random, folder: Path) -> Case:
    tokenizer, options = pipe_of(draw.choice(ALL_TASKS)).tokenizer, drawn(draw, CALL_OPTIONS)
    text = draw.choice(["the cat", ["the cat", "a dog sleeps"], [["the", "cat"]], [("a", "b")]])
    if draw.random() < 0.2:
        name, value = (
            draw.choice(["padding_side", "truncation_side", "pad_token", "model_max_length"]),
            wild_value(draw),
        )
        loaded = folder_of(draw.choice(ALL_TASKS))
        return f"tokenizer({name}={shown(value)})", lambda: AutoTokenizer.from_pretrained(loaded, **{name: value})("a")
    return f"tokenizer({shown(text)}, {shown(options)})", lambda: tokenizer(text, **options)


def generate(draw: Random, folder: Path) -> Case:
    pipe = pipe_of(draw.choice(GENERATING))
    options = {"max_new_tokens": 3, **drawn(draw, table_of("text-generation"))}
    ids = pipe.tokenizer("the cat sleeps", return_tensors="pt")["input_ids"]
    for name in ("generation_config", "stop_sequence", "return_full_text"):
        options.pop(name, None)
    if draw.random() < 0.2:
        options[draw.choice(["token_type_ids", "encoder_outputs", "decoder_input_ids", "decoder_attention_mask"])] = (
            wild_value(draw)
        )
    first = wild_value(draw) if draw.random() < 0.1 else ids
    return f"generate({shown(options)})", lambda: pipe.model.generate(first, **options)


def arguments(draw: Random, folder: Path) -> Case:
    task = draw.choice(ALL_TASKS)
    given: dict[str, Any] = {"task": task, "model": pipe_of(task).model, "tokenizer": pipe_of(task).tokenizer}
    names = [*given, "device", "dtype", "batch_size", "compat", "revision", "token", "torch_dtype", "framework"]
    for name in draw.sample(names, k=draw.randint(1, 2)):
        value = wild_value(draw)
        if not (
            name in ("model", "tokenizer", "token", "revision") and isinstance(value, str)
        ):  # they name what to fetch
            given[name] = value
    if draw.random() < 0.5:
        given |= drawn(draw, table_of(task), 1)
    return f"pipeline({shown({k: v for k, v in given.items() if k != 'model'})})", lambda: pipeline(**given)


def evaluations(draw: Random, folder: Path) -> Case:
    task = draw.choice(sorted(EVALUATIONS))
    options = drawn(draw, {k: v for k, v in evaluation_options(task).items() if k != "tokenizer"}, 2)
    for name in ("limit", "batch_size", "baseline"):
        if draw.random() < 0.1:
            options[name] = wild_value(draw)
    fields = {"text": "a cat", "text_pair": "b", "label": "LABEL_0", "source": "a", "target": "b", "score": 1.0}
    rows = [{**fields, "words": ["a"], "labels": ["LABEL_0"], "question": "q", "context": "a b", "answers": ["a"]}] * 2
    pipe = pipe_of(task)
    if options.keys() & {"format", "header", "unwrap"}:
        path = folder / "data.jsonl"
        path.write_text('{"text": "a"}\n')
        reading = {name: READING[name] for name in options.keys() & READING.keys()}
        return f"read_records({shown(options)})", lambda: [
            evaluate(task, pipe.model, str(path), tokenizer=pipe.tokenizer, **options),
            read_records(path, **{name: options[name] for name in reading}),
        ]
    return f"evaluate({task}, {shown(options)})", lambda: evaluate(
        task, pipe.model, rows, tokenizer=pipe.tokenizer, **options
    )


def settings(draw: Random, folder: Path) -> Case:
    if draw.random() < 0.5:
        options = drawn(draw, declared(Settings), 3)
        return f"Settings({shown(options)})", lambda: Settings.from_dict({"steps": 1, **options})
    family = folder_of(draw.choice(ALL_TASKS))
    options = drawn(draw, SETTINGS, 2)
    return f"tokenizer settings {shown(options)}", lambda: AutoTokenizer.from_pretrained(family, **options)("the cat")


def configs(draw: Random, folder: Path) -> Case:
    options = drawn(draw, table_of("text-generation"), 3)
    known = {name: value for name, value in options.items() if name in vars(GenerationConfig)}
    return f"GenerationConfig({shown(known)})", lambda: GenerationConfig(**known).validate()
