"""Exact match and F1: by hand, and over a small golden file in the forms of SQuAD and of its script."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny_folders
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import pipeline
from minitransformer.errors import DataError
from minitransformer.evaluation import evaluate
from minitransformer.evaluation.squad import exact_match, f1, normalise, score_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat.", "cat"),
        ("an apple a day", "apple day"),
        ("theatre, another", "theatre another"),  # articles are words
        ("U.S.", "us"),  # punctuation goes before articles are looked for
        ("the-cat", "thecat"),
        ("“the” 5–3", "“ ” 5–3"),  # punctuation is that of ASCII; an article between other signs is one
        ("a", ""),
        ("\tÀ la\ncarte ", "à la carte"),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_scores_by_hand() -> None:
    assert exact_match("the Cat!", "cat") == 1
    assert exact_match("a", "the") == 1 and f1("a", "the") == 0  # as the script has it
    assert f1("black cat", "the black dog") == pytest.approx(0.5)
    assert f1("cat cat dog", "cat") == pytest.approx(
        2 * (1 / 3) * 1 / (1 / 3 + 1)
    )  # a word counts as often as it is there
    assert f1("fish", "cat") == 0
    assert score_answer("in Paris", ["London", "Paris", "paris france"]) == (0, pytest.approx(2 / 3))
    assert score_answer("the", []) == (1, 1) and score_answer("Paris", []) == (0, 0)


WORDS = st.text(alphabet="ab .,-theTHE’", max_size=20)


@given(WORDS, WORDS)
def test_f1_is_the_harmonic_mean(prediction: str, answer: str) -> None:
    """Precision and recall written out, with a normalisation in other steps."""

    def words(text: str) -> list[str]:
        text = "".join(c for c in text.lower() if c not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    a, b = Counter(words(prediction)), Counter(words(answer))
    common = sum(min(a[word], b[word]) for word in a)
    if common == 0:
        assert f1(prediction, answer) == 0
        return
    precision, recall = common / a.total(), common / b.total()
    assert f1(prediction, answer) == pytest.approx(2 * precision * recall / (precision + recall))


@given(WORDS, WORDS)
def test_scores_are_those_of_the_script(prediction: str, answer: str) -> None:
    """As transformers carries it."""
    from transformers.data.metrics.squad_metrics import compute_exact, compute_f1

    assert exact_match(prediction, answer) == compute_exact(answer, prediction)
    if normalise(prediction) or normalise(answer):  # of twice nothing, version 2.0 says 1 and version 1.1 says 0
        assert f1(prediction, answer) == pytest.approx(compute_f1(answer, prediction))


QUESTIONS = [  # question, answers, prediction, exact match, F1
    ("Who sleeps?", ["the cat", "a black cat"], "black cat", 1, 1),
    ("What is it?", ["a large animal"], "an animal of some size", 0, 2 * 1 / (2 + 4)),
    ("Where?", ["Paris"], "London", 0, 0),
    ("When?", ["1989"], None, 0, 0),
]


@pytest.fixture
def golden(tmp_path: Path) -> tuple[str, str]:
    qas: list[dict[str, Any]] = [
        {"id": str(i), "question": q, "answers": [{"text": a, "answer_start": 0} for a in answers]}
        for i, (q, answers, *_) in enumerate(QUESTIONS)
    ]
    data = tmp_path / "data.json"
    data.write_text(
        json.dumps({"version": "1.1", "data": [{"title": "", "paragraphs": [{"context": "x", "qas": qas}]}]})
    )
    found = tmp_path / "predictions.json"
    found.write_text(json.dumps({str(i): p for i, (_, _, p, *_) in enumerate(QUESTIONS) if p is not None}))
    return str(data), str(found)


def test_golden_file(golden: tuple[str, str]) -> None:
    """A question without a prediction counts as wrong (as in the script), and is told."""
    data, found = golden
    scores = evaluate("question-answering", data=data, predictions=found)
    assert scores["exact_match"] == 25
    assert scores["f1"] == pytest.approx(100 * (1 + 1 / 3) / 4)
    assert scores["unanswered"] == 1 and scores["records"] == 4
    assert scores["answered_f1"] == pytest.approx(100 * (1 + 1 / 3) / 3)


def test_predictions_of_other_data(golden: tuple[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"57": "x"}')
    with pytest.raises(DataError, match="belongs to other data"):
        evaluate("question-answering", data=golden[0], predictions=other)
    other.write_text('{"0": ["x"]}')
    with pytest.raises(DataError, match="'0' is a list, not a str"):
        evaluate("question-answering", data=golden[0], predictions=other)


def test_answers_of_a_model(tmp_path: Path) -> None:
    folder = str(tiny_folders.bart(tmp_path, "ForQuestionAnswering"))
    contexts = ["the cat sleeps because it is tired .", "paris is the capital of france . " * 12]
    pipe = pipeline("question-answering", folder, max_seq_len=40, doc_stride=8)
    found = [pipe(question="who sleeps ?", context=context)["answer"] for context in contexts]
    records = [
        {"id": str(i), "question": "who sleeps ?", "context": context, "answers": [{"text": answer, "answer_start": 0}]}
        for i, (context, answer) in enumerate(zip(contexts, [found[0], "london"], strict=True))
    ]
    output = tmp_path / "found.jsonl"
    scores = evaluate("question-answering", folder, records, output=output, max_seq_len=40, doc_stride=8)
    assert (scores["exact_match"], scores["f1"]) == (50, 50)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert lines == [
        {"id": str(i), "prediction": found[i], "reference": [records[i]["answers"][0]["text"]]} for i in range(2)
    ]


def test_nearest_sentence() -> None:
    """The baseline takes the sentence with most words of the question; the first of several."""
    context = "The dog barks. The cat sleeps there. A cat sleeps too."
    record = {"id": "7", "question": "Where does the cat sleeps?", "context": context}
    answer = {"answers": [{"text": "The cat sleeps there.", "answer_start": 15}]}
    assert evaluate("question-answering", data=[{**record, **answer}], baseline=True)["exact_match"] == 100


def test_answers_as_the_datasets_library_has_them() -> None:
    record = {"id": "7", "question": "Who?", "context": "x", "answers": {"text": ["cat"], "answer_start": [0]}}
    assert evaluate("question-answering", data=[record], baseline=True)["records"] == 1
    with pytest.raises(DataError, match="row 0: the answers are no list"):
        evaluate("question-answering", data=[{**record, "answers": ["cat"]}], baseline=True)
