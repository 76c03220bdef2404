"""Labels of texts and of words: the scores against scikit-learn and seqeval, the predictions against the models."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import tiny_folders
import torch
from sklearn.metrics import accuracy_score, f1_score

from minitransformer import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)
from minitransformer.errors import DataError, PipelineError
from minitransformer.evaluation import evaluate
from minitransformer.evaluation.classification import accuracy, macro_f1
from minitransformer.evaluation.entities import TokenClassification, first_labels, split_sentence

NLI = {"0": "contradiction", "1": "neutral", "2": "entailment"}
BIO = {"0": "O", "1": "B-LOC", "2": "I-LOC", "3": "B-PER", "4": "I-PER"}
REFERENCE = Path(__file__).with_name("reference_scores.json")


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("nli")
    return str(tiny_folders.bert(folder, "ForSequenceClassification", id2label=NLI, initializer_range=1.0))


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("ner")
    return str(tiny_folders.bert(folder, "ForTokenClassification", id2label=BIO, initializer_range=1.0))


# Of texts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_those_of_scikit_learn(seed: int) -> None:
    draw = random.Random(seed)
    labels, predictions = (draw.choices("abcd"[: 2 + seed % 3], k=30) for _ in range(2))
    predictions[0] = "e"  # predicted, but never right
    assert accuracy(predictions, labels) == pytest.approx(100 * accuracy_score(labels, predictions))
    assert macro_f1(predictions, labels) == pytest.approx(100 * f1_score(labels, predictions, average="macro"))


PAIRS = [
    {"text": "the cat sleeps .", "text_pair": "it is tired .", "label": "entailment"},
    {"text": "paris", "text_pair": "the capital of france", "label": "neutral"},
    {"text": "the cat", "text_pair": "who sleeps ?", "label": "contradiction"},
    {"text": "once upon a time", "text_pair": "there was a transformer " * 30, "label": "neutral"},  # is cut
]


def test_pairs_are_classified_by_the_model(nli: str) -> None:
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(nli), AutoTokenizer.from_pretrained(nli)
    predicted = []
    for pair in PAIRS:
        inputs = tokenizer(pair["text"], pair["text_pair"], truncation=True, max_length=64, return_tensors="pt")
        with torch.no_grad():
            predicted.append(NLI[str(int(model(**inputs).logits.argmax()))])
    assert len(set(predicted)) > 1
    scores = evaluate("text-classification", nli, PAIRS)
    labels = [pair["label"] for pair in PAIRS]
    assert scores == {
        "task": "text-classification",
        "accuracy": 100 * accuracy_score(labels, predicted),
        "macro_f1": pytest.approx(100 * f1_score(labels, predicted, average="macro")),
        "records": 4,
    }


def test_labels_that_the_model_does_not_know(nli: str) -> None:
    records = [{"text": "x", "label": "neutral"}, {"text": "y", "label": "entails"}]
    with pytest.raises(DataError, match=r"data, row 1: .*'entails'.* Did you mean 'entailment'\?.*rename_labels"):
        evaluate("text-classification", nli, records)
    renamed = evaluate("text-classification", nli, records, rename_labels={"entails": "entailment"})
    assert renamed["records"] == 2
    numbers = [{"text": "x", "label": 1}]  # a number is no name: which of them it means is for the user to say
    with pytest.raises(DataError, match="'1'"):
        evaluate("text-classification", nli, numbers)
    assert evaluate("text-classification", nli, numbers, rename_labels={"1": "neutral"})["records"] == 1


def test_zero_shot(nli: str) -> None:
    records = [{"text": "the cat sleeps .", "label": "cat"}, {"text": "in france", "label": "paris"}] * 2
    pipe = pipeline("zero-shot-classification", nli)
    predicted = [pipe(r["text"], candidate_labels=["cat", "paris"], multi_label=True)["labels"][0] for r in records]
    scores = evaluate("zero-shot-classification", nli, records, multi_label=True)
    assert scores["accuracy"] == 100 * accuracy_score([r["label"] for r in records], predicted)
    assert scores["labels"] == 2
    assert evaluate("zero-shot-classification", nli, records, candidate_labels="cat, paris, time")["labels"] == 3
    with pytest.raises(DataError, match="row 1: the label 'paris' is no candidate label"):
        evaluate("zero-shot-classification", nli, records, candidate_labels=["cat", "time"])


def test_majority() -> None:
    train = [{"text": "x", "label": label} for label in "babc"]
    scores = evaluate("text-classification", data=train[1:], train=train, baseline=True)
    assert scores["accuracy"] == pytest.approx(100 / 3)
    assert scores["macro_f1"] == pytest.approx(100 / 6)  # 2 * 1 / (3 + 1) for b, nothing for a and c
    with pytest.raises(PipelineError, match="--train"):
        evaluate("text-classification", data=train, baseline=True)


# Of words ---------------------------------------------------------------------------------------------------


SENTENCES: list[dict[str, Any]] = [
    {"words": ["paris", "is", "the", "capital"], "labels": ["B-LOC", "O", "O", "O"]},
    {"words": ["who", "sleepsxyz", "?"], "labels": ["O", "B-PER", "I-PER"]},  # a word of several tokens
    {"words": ["attention"], "labels": ["O"]},
]


def direct_labels(folder: str, words: list[str]) -> list[str]:
    """Of the first token of each word, straight from the model."""
    model, tokenizer = AutoModelForTokenClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        best = model(**inputs).logits[0].argmax(-1).tolist()
    at = inputs.word_ids(0)
    return [BIO[str(best[at.index(i)])] for i in range(len(words))]


def test_words_are_labelled_by_the_model(tagger: str) -> None:
    predicted = [direct_labels(tagger, record["words"]) for record in SENTENCES]
    assert len({label for labels in predicted for label in labels}) > 1
    references = [record["labels"] for record in SENTENCES]
    scores = evaluate("ner", tagger, SENTENCES)
    assert scores["f1"] == score(predicted, references)["f1"]
    pairs = [pair for both in zip(predicted, references, strict=True) for pair in zip(*both, strict=True)]
    assert scores["accuracy"] == pytest.approx(100 * sum(a == b for a, b in pairs) / len(pairs))
    assert scores["words"] == 8 and scores["records"] == 3


def score(predictions: list[list[str]], references: list[list[str]]) -> dict[str, Any]:
    evaluation = TokenClassification()
    records = [{"words": list("abcdefghij"[: len(labels)]), "labels": labels} for labels in references]
    return evaluation.score(predictions, evaluation.prepare(records))


def test_entities_are_counted_as_seqeval_counts_them() -> None:
    for case in json.loads(REFERENCE.read_text(encoding="utf-8"))["entities"]:
        found = score(case["found"], case["wanted"])
        assert [found[name] for name in ("precision", "recall", "f1")] == pytest.approx(case["scores"]), case


def test_entities_by_hand() -> None:
    """Right only if extent and kind agree; I- without B- begins an entity too (as in the CoNLL script)."""
    reference = [["B-PER", "I-PER", "O", "B-LOC", "O"]]
    found = score([["B-PER", "O", "O", "B-LOC", "B-LOC"]], reference)  # 1 of 3 right, 1 of 2 found
    assert (found["precision"], found["recall"]) == (pytest.approx(100 / 3), 50)
    assert found["f1"] == pytest.approx(40)
    assert found["accuracy"] == 60
    assert score([["I-PER", "I-PER", "O", "I-LOC", "O"]], reference)["f1"] == 100
    assert score([["B-LOC", "I-LOC", "O", "B-LOC", "O"]], reference)["f1"] == 50
    assert score([["O"] * 5], reference)["f1"] == 0


def test_labels_that_mark_no_entities_have_an_accuracy_only() -> None:
    found = score([["NOUN", "VERB"]], [["NOUN", "NOUN"]])
    assert found == {"accuracy": 50, "words": 2}


def test_long_sentences_are_read_in_pieces(tagger: str) -> None:
    words = ["sleepsxyz", "the", "cat"] * 30
    pipe = pipeline("token-classification", tagger)
    pieces = split_sentence(pipe, words)
    assert len(pieces) > 1 and [word for piece in pieces for word in piece] == words
    lengths = [len(pipe.tokenizer(piece, is_split_into_words=True)["input_ids"]) for piece in pieces]
    assert max(lengths) <= 64 and min(lengths[:-1]) > 64 - 6
    evaluation = TokenClassification()
    records = evaluation.prepare([{"words": words, "labels": ["O"] * 90}, SENTENCES[0]])
    predicted = evaluation.predict(pipe, records)
    assert predicted[0] == [label for piece in pieces for label in direct_labels(tagger, piece)]
    assert predicted[1] == direct_labels(tagger, SENTENCES[0]["words"])


def test_words_without_tokens_are_outside(tagger: str) -> None:
    words = ["paris", "\u200b", "cat"]  # a mark without width, of which the tokenizer makes nothing
    tokens = pipeline("ner", tagger, ignore_labels=[])(words, is_split_into_words=True)[0]
    assert len(tokens) == 2
    labels = list(first_labels(words, tokens))
    assert labels[1] == "O" and [labels[0], labels[2]] == [token["entity"] for token in tokens]


def test_commonest_label_of_each_word() -> None:
    train = [{"words": ["a", "b", "a", "c"], "labels": ["O", "B-X", "B-X", "O"]}, {"words": ["a"], "labels": ["B-X"]}]
    test = [{"words": ["a", "b", "unseen"], "labels": ["B-X", "O", "B-X"]}]
    scores = evaluate("ner", data=test, train=train, baseline=True)
    assert scores["accuracy"] == pytest.approx(200 / 3)  # unseen words are B-X, the commonest


def test_lengths_that_differ() -> None:
    with pytest.raises(DataError, match="row 0: 2 words and 1 labels"):
        evaluate("ner", data=[{"words": ["a", "b"], "labels": ["O"]}], baseline=True)
    with pytest.raises(DataError, match="1 labels predicted for 2 words"):
        score([["O"]], [["O", "O"]])
