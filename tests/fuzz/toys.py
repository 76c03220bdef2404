"""Tiny pipelines of every task, made once in a process, and values that no option expects."""

from __future__ import annotations

import tempfile
from enum import Enum
from fractions import Fraction
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import tiny_folders
import torch

from minitransformer import pipeline
from minitransformer.pipelines import TASKS

NLI = {"0": "contradiction", "1": "neutral", "2": "entailment"}


class Kind(Enum):
    A = "first"
    B = 1


class Rude:
    """Everything that is asked of it fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise RuntimeError("no")


@cache
def folder_of(task: str) -> Path:
    """A checkpoint for the task."""
    folder = Path(tempfile.mkdtemp(prefix=f"toy-{task}-"))
    if task == "text-generation":
        return tiny_folders.gpt2(folder)
    if task in ("summarization", "text2text-generation", "translation"):
        return tiny_folders.bart(folder)
    heads = {
        "feature-extraction": "Model",
        "fill-mask": "ForMaskedLM",
        "question-answering": "ForQuestionAnswering",
        "text-classification": "ForSequenceClassification",
        "token-classification": "ForTokenClassification",
        "zero-shot-classification": "ForSequenceClassification",
    }
    more = {"id2label": NLI} if task == "zero-shot-classification" else {}
    return tiny_folders.bert(folder, heads[task], **more)


@cache
def pipe_of(task: str) -> Any:
    """A pipeline for the task, a new one for every process."""
    short = {"max_new_tokens": 4} if task in GENERATING else {}
    return pipeline(task, model=folder_of(task), **short)


GENERATING = ("summarization", "text-generation", "text2text-generation", "translation")
ALL_TASKS = tuple(TASKS)


def right_input(task: str, text: str = "the cat sleeps because it is tired") -> dict[str, Any]:
    """Arguments of a call that is answered."""
    if task == "question-answering":
        return {"question": "who sleeps ?", "context": text}
    if task == "zero-shot-classification":
        return {"inputs": text, "candidate_labels": ["cat", "dog"]}
    return {"inputs": f"{text} [MASK] ." if task == "fill-mask" else text}


def wild_value(draw: Random, depth: int = 0) -> Any:
    """Anything at all."""
    plain: list[Any] = [
        None, True, False, 0, 1, -1, 2, 3, 7, 100, 2**31, 2**63, 2**64, -(2**63), 10**9, 10**30, 10**5000,
        0.0, 0.5, 1.0, 1.5, -0.5, 1e-320, 1e308, float("inf"), -float("inf"), float("nan"),
        "", "a", "cat", "none", "simple", "hole", "longest", "max_length", "False", "true", "1", "auto", "never",
        "\0", "\ud800", "x" * 100_000, "东京", "{}", "{0.a}", "{", "a{}b", b"bytes", bytearray(b"x"),
        (), [], {}, set(), frozenset({"a"}), [None], [[]], [1], [1, 2], ["a"], ["cat", "dog"], {"a": 1}, {1: 2},
        [[1, 2]], [[0, 3]], [(0, 1), (1, 3)], {(1, 2): 3.0}, {(): 1}, [[[1], 2.0]], range(3), iter([1]),
        (x for x in "ab"),
        object(), Rude(), len, print, int, str, type, Kind.A, Kind.B, Path("x"), Fraction(1, 2), 1j, ...,
        np.int64(3), np.int32(-1), np.float32(0.5), np.float64("nan"), np.bool_(True), np.str_("cat"), np.array(3),
        np.array([1, 2]), np.array([[1], [2]]), np.array(["a"]), np.array([]), np.datetime64("2020-01-01"),
        torch.tensor(2), torch.tensor(0.5), torch.tensor(True), torch.tensor([1, 2]), torch.zeros(0), torch.float16,
        torch.tensor(3, device="meta"), torch.tensor([1, 2], device="meta"), torch.device("cpu"), torch.Tensor,
        lambda *a: None, lambda *a: a[-1], lambda *a: [0], lambda *a: [10**9], lambda *a: "x", lambda: 1, lambda a: a,
        lambda ids, scores: scores[:, :1], lambda ids, scores: scores.long(),
        lambda ids, scores: torch.tensor([True] * 9),
    ]  # fmt: skip
    value = draw.choice(plain)
    if depth < 3 and draw.random() < 0.2:
        items = [wild_value(draw, depth + 1) for _ in range(draw.randrange(3))]
        wrap = draw.choice(["list", "tuple", "dict", "deep"])
        if wrap == "deep":
            for _ in range(draw.choice([3, 50, 3000])):
                value = [value]
            return value
        return (
            items if wrap == "list" else tuple(items) if wrap == "tuple" else {str(i): x for i, x in enumerate(items)}
        )
    return value


def near_value(draw: Random, schema: dict[str, Any] | None) -> Any:
    """A value near the border of what an option may be."""
    if not schema:
        return wild_value(draw)
    if "anyOf" in schema:
        return near_value(draw, draw.choice(schema["anyOf"]))
    if "enum" in schema:
        return draw.choice([*schema["enum"], str(draw.choice(schema["enum"]))[:-1], "x"])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        least, most = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
        edges = [least, most, *(x + d for x in (least, most) if x is not None for d in (-1, 1, 0.5, 1e-9)), 3, 0.7, 17]
        number = draw.choice([edge for edge in edges if edge is not None])
        return draw.choice([number, np.float64(number), torch.tensor(number), str(number)])
    if kind == "boolean":
        return draw.choice([True, False, np.bool_(False), "false", 0, 1])
    if kind == "array":
        return [near_value(draw, schema.get("items")) for _ in range(draw.randrange(4))]
    return draw.choice(["cat", "", "the dog", "\n", "x" * 1000]) if kind == "string" else wild_value(draw)
