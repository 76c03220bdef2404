"""The first part of the demo: nine tasks, in the order of the first chapter of the Hugging Face course, offline.

Each is a call as a reader would type it, and its answer as Python would print it. What is shown is what runs: the call
is built from the same arguments that the pipeline gets.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.pretty import pretty_repr
from rich.syntax import Syntax
from rich.text import Text

from minitransformer.pipelines import pipeline
from minitransformer.pipelines.base import Pipeline

INTRODUCTION = """\
[bold]The nine tasks of the course, offline[/bold]
The answers below come from [bold]toy checkpoints[/bold] that this package brings: one or two million parameters \
each, trained on a processor in an hour or so. They show how things work, and are often wrong. \
For real work name a model of the Hub instead, which is fetched once:

    pipeline("fill-mask", model="google-bert/bert-base-uncased")
"""
WIDTH = 110
"""Of the lines, at most."""
SEED = 0
"""Of the story, which is sampled."""


@dataclass(frozen=True)
class Example:
    """A call of a pipeline.

    Attributes:
        task: its name in the course.
        model: without ``minitransformer/``.
        inputs: positional arguments of the call.
        options: named ones.
    """

    task: str
    model: str
    inputs: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def make(self) -> Pipeline:
        """Its pipeline."""
        return pipeline(self.task, model=self.name)

    def answer(self, pipe: Pipeline) -> Any:
        """What the pipeline says."""
        torch.manual_seed(SEED)
        return pipe(*self.inputs, **self.options)

    @property
    def name(self) -> str:
        """The model as ``pipeline`` takes it."""
        return f"minitransformer/{self.model}"

    def code(self) -> str:
        """The call as Python."""
        arguments = [*map(literal, self.inputs), *(f"{name}={literal(value)}" for name, value in self.options.items())]
        call = f"pipe({', '.join(arguments)})"
        if len(call) > WIDTH:
            call = "pipe(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"
        return f"pipe = pipeline({literal(self.task)}, model={literal(self.name)})\n{call}"


EXAMPLES = (
    Example(
        "sentiment-analysis",
        "bert-sentiment",
        (["I love this beautiful film, thank you!", "This is terrible. I hate it."],),
    ),
    Example(
        "zero-shot-classification",
        "bert-nli",
        ("Two men are playing guitars on a stage.",),
        {"candidate_labels": ["sleeping", "music", "swimming"]},
    ),
    Example(
        "text-generation",
        "gpt2-stories",
        ("The old man opened the door and",),
        {"max_new_tokens": 40, "min_new_tokens": 20, "num_return_sequences": 2},
    ),
    Example("fill-mask", "bert-books", ("She opened the [MASK] and went out.",), {"top_k": 3}),
    Example(
        "ner",
        "bert-ner",
        ("Sarah Miller was born in London and worked for the University of Chicago.",),
        {"aggregation_strategy": "first"},
    ),
    Example(
        "question-answering",
        "bert-qa",
        (),
        {
            "question": "Who founded the university?",
            "context": "The university was founded in 1846 by King Henry.",
        },
    ),
    Example(
        "summarization",
        "bart-tldr",
        (
            "Deep neural networks need many labelled examples, which are expensive to collect. In this paper we "
            "propose a simple method that learns from few examples: we train a network on related tasks and adapt it "
            "to a new task with a small number of gradient steps. Experiments on image classification show that our "
            "method needs fewer labels and is more accurate than previous approaches.",
        ),
    ),
    Example("translation", "marian-fr-en", ("Elle veut acheter une nouvelle voiture demain.",)),
    Example("translation", "marian-en-de", ("My brother lives in a small house.",)),
    Example("feature-extraction", "bert-books", ("The cat sleeps.",)),
)


def show_tasks(console: Console) -> None:
    """Print every call and its answer."""
    console.print(INTRODUCTION)
    began = time.perf_counter()
    for example in EXAMPLES:
        console.print(coloured(as_session(example.code()), "pycon"))
        answer = example.answer(example.make())
        width = min(WIDTH, console.width)
        told = shape(answer) if example.task == "feature-extraction" else pretty_repr(answer, max_width=width)
        console.print(coloured(told, "python"), end="\n\n")
    console.print(f"{len(EXAMPLES)} calls, with their checkpoints, in {time.perf_counter() - began:.1f} s\n")


def coloured(code: str, language: str) -> Text:
    """Code in the colours that the terminal has for it."""
    syntax = Syntax(code, language, theme="ansi_dark", background_color="default")
    text = syntax.highlight(code)
    text.rstrip()
    return text


def literal(value: Any) -> str:
    """A value as Python, texts between double quotes."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return repr(value)


def as_session(code: str) -> str:
    """Lines as they look in Python's prompt."""
    lines = code.splitlines()
    return "\n".join(f"{'>>>' if line[0].isalpha() else '...'} {line}" for line in lines)


def shape(vectors: list[list[list[float]]]) -> str:
    """Nested lists of numbers too long to print: the beginning of each, and how many there are."""
    rows = [f" [{', '.join(f'{x:.3f}' for x in token[:4])}, ...],  # {len(token)} numbers" for token in vectors[0]]
    return "\n".join(["[[", *rows, f"]]  # {len(vectors)} text, {len(vectors[0])} tokens"])
