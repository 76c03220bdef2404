"""Whatever holds several inputs and says how many is answered like a list of them; the rest stays a stream."""

from __future__ import annotations

from collections import deque
from types import GeneratorType
from typing import Any

import numpy as np
import pytest
from pipelines.checkpoints import TEXTS, same

from minitransformer.errors import PipelineError


class Column:
    """What pandas gives for ``table["text"]``."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values
        self.iloc = self

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, at: int) -> Any:
        return self.values[at]

    def tolist(self) -> list[Any]:
        return self.values


class Table(Column):
    columns = ("text",)


class ByIndex:
    """Has a length and an index, and never says where it ends."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, at: int) -> str:
        return TEXTS[at % 3]


HOLDERS = {
    "array": lambda texts: np.array(texts),
    "array of objects": lambda texts: np.array(texts, dtype=object),
    "column": Column,
    "keys": lambda texts: dict.fromkeys(texts).keys(),
    "values": lambda texts: dict(enumerate(texts)).values(),
    "deque": deque,
    "by index": lambda texts: ByIndex(),
}
TASKS = {
    "text-classification": ("bert-cls", {}),
    "fill-mask": ("bert-mlm", {}),
    "feature-extraction": ("bert", {}),
    "token-classification": ("bert-ner", {}),
    "zero-shot-classification": ("bert-nli", {"candidate_labels": ["a", "b"]}),
    "text2text-generation": ("bart", {"max_new_tokens": 3}),
    "text-generation": ("gpt2", {"max_new_tokens": 3, "do_sample": False}),
}


CASES = [(task, holder) for task in TASKS for holder in HOLDERS if (task, holder) != ("fill-mask", "by index")]


@pytest.mark.parametrize(("task", "holder"), CASES)
def test_what_has_a_length_is_answered_like_a_list(pair: Any, task: str, holder: str) -> None:
    name, options = TASKS[task]
    mine, theirs = pair(task, name)
    texts = [f"[MASK] {text}" if task == "fill-mask" else text for text in TEXTS[:3]]
    answers = mine(HOLDERS[holder](texts), **options)
    assert type(answers) is list
    same(answers, mine(texts, **options))
    same(answers, theirs(texts, **options))


def test_a_set_has_as_many_answers_as_members(pair: Any) -> None:
    mine, _ = pair("text-classification", "bert-cls")
    texts = set(TEXTS)
    same(mine(texts), mine(list(texts)))
    same(mine({TEXTS[0]}), mine([TEXTS[0]]))


def test_one_of_a_kind(pair: Any) -> None:
    """One mask in a list of one, one question of several: the shapes of answers go by lists, too."""
    mine, _ = pair("fill-mask", "bert-mlm")
    same(mine(np.array(["the [MASK] fox"])), mine(["the [MASK] fox"]))
    mine, _ = pair("text2text-generation", "bart")
    same(mine(Column(TEXTS[:1]), max_new_tokens=3), mine(TEXTS[:1], max_new_tokens=3))
    mine, _ = pair("text-classification", "bert-cls")
    same(mine(np.array(TEXTS[0])), mine(TEXTS[0]))
    same(mine(np.array(TEXTS)[0]), mine(TEXTS[0]))


def test_questions_and_contexts(pair: Any) -> None:
    mine, _ = pair("question-answering", "bert-qa")
    questions, contexts = ["Who?", "What jumped?"], TEXTS[1:3]
    expected = mine(question=questions, context=contexts)
    same(mine(question=np.array(questions), context=Column(contexts)), expected)
    examples = [{"question": q, "context": c} for q, c in zip(questions, contexts, strict=True)]
    same(mine(np.array(examples)), expected)


def test_streams_stay_streams(pair: Any) -> None:
    mine, _ = pair("text-classification", "bert-cls")
    for stream in (iter(TEXTS), (text for text in TEXTS), map(str, TEXTS)):
        answers = mine(stream)
        assert isinstance(answers, GeneratorType)
        same(list(answers), mine(TEXTS))


def test_what_cannot_be_answered_says_why(pair: Any) -> None:
    mine, _ = pair("text-classification", "bert-cls")
    for inputs, message in (
        (Table(TEXTS), r"is a table: pass one of its columns"),
        (Column([TEXTS[0], float("nan")]), "input 1: the text is of type float"),
        (np.array([1.5]), "input 0: the text is of type float"),
        (set(), "empty list"),
        (np.array([]), "empty list"),
    ):
        with pytest.raises(PipelineError, match=message):
            mine(inputs)
