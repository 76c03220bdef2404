"""Labels of words: entities found, counted as by the script of CoNLL-2000, conlleval, and its successor seqeval."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from minitransformer.data import Record
from minitransformer.errors import DataError
from minitransformer.evaluation import baselines
from minitransformer.evaluation.base import (
    Answerer,
    Evaluation,
    Records,
    Scores,
    need_train,
    percent,
)
from minitransformer.evaluation.classification import check_labels

if TYPE_CHECKING:
    from minitransformer.pipelines.base import Pipeline
    from minitransformer.tokenization import Tokenizer


@dataclass(kw_only=True)
class TokenClassification(Evaluation):
    """{"words", "labels"}: one label a word. A word has the label of its first token.

    Labels with B- and I- (and E-, S-) mark entities; others (parts of speech) are scored by accuracy alone.
    """

    task = "token-classification"
    needs = ("words", "labels")
    prediction_type = (list,)
    uses_pipeline = False  # whose options put words together, which a label for each word does not survive

    def prepare_record(self, record: Record) -> Record:
        """With as many labels as words."""
        record = super().prepare_record(record)
        words, labels = ([str(item) for item in record[name]] for name in ("words", "labels"))
        if len(words) != len(labels) or not words:
            raise DataError(f"{record.where()}: {len(words)} words and {len(labels)} labels")
        record.update(words=words, labels=labels)
        return record

    def predict(self, pipe: Pipeline, records: Records) -> list[list[str]]:
        """A label for each word; a sentence that is too long for the model is read in pieces."""
        check_labels(pipe, ((record, label) for record in records for label in record["labels"]))
        pieces = [split_sentence(pipe, record["words"]) for record in records]
        inputs = [piece for sentence in pieces for piece in sentence]
        answers = self.answers(pipe, inputs, len(inputs), is_split_into_words=True, ignore_labels=[])
        return [[label for piece in sentence for label in first_labels(piece, next(answers))] for sentence in pieces]

    def score(self, predictions: Sequence[list[str]], records: Records) -> Scores:
        """Accuracy over words; precision, recall and F1 over entities, which must agree in extent and kind."""
        references = [record["labels"] for record in records]
        for record, predicted in zip(records, predictions, strict=True):
            if len(predicted) != len(record["words"]):
                raise DataError(f"{record.where()}: {len(predicted)} labels predicted for {len(record['words'])} words")
        pairs = [pair for sentence in zip(predictions, references, strict=True) for pair in zip(*sentence, strict=True)]
        scores: Scores = {"accuracy": percent(predicted == true for predicted, true in pairs)}
        if all(is_mark(label) for labels in references for label in labels):
            both = [(set(entities(p)), set(entities(r))) for p, r in zip(predictions, references, strict=True)]
            right, found, wanted = (sum(map(len, sets)) for sets in zip(*((p & r, p, r) for p, r in both), strict=True))
            scores["precision"] = 100 * right / max(found, 1)
            scores["recall"] = 100 * right / max(wanted, 1)
            scores["f1"] = 200 * right / max(found + wanted, 1)
        return {**scores, "words": len(pairs)}

    def baseline(self, train: Records, tokenizer: Tokenizer | None) -> Answerer:
        """The commonest label of each word."""
        need_train(train, self.task)
        return baselines.label_of_word(train)

    def reference(self, record: Record) -> Any:
        """Its labels."""
        return record["labels"]


def is_mark(label: str) -> bool:
    """Whether a label tells where an entity begins, goes on and ends (BIO, IOBES)."""
    return label == "O" or label[:2] in ("B-", "I-", "E-", "S-")


def entities(labels: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """First word, last word and kind of each entity of a sentence.

    An entity begins with B- or S-, after one that has ended (with E- or S-, or at an O), and where the kind changes:
    I- without B- begins one, too.
    """
    first, mark_before, kind_before = 0, "O", ""
    for i, label in enumerate((*labels, "O")):
        mark, kind = (label[0], label[2:]) if is_mark(label) else ("I", label)
        if mark in "BSO" or mark_before in "ESO" or kind != kind_before:
            if mark_before != "O":
                yield first, i - 1, kind_before
            first = i
        mark_before, kind_before = mark, kind


def first_labels(words: Sequence[str], tokens: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The label of each word's first token; "O" for a word that the tokenizer makes nothing of.

    Args:
        words: of a sentence.
        tokens: what the pipeline says of the same words, joined by blanks.
    """
    starts = list(accumulate((len(word) + 1 for word in words[:-1]), initial=0))
    labels: dict[int, str] = {}
    for token in tokens:
        labels.setdefault(bisect_right(starts, token["start"]) - 1, token["entity"])
    return (labels.get(i, "O") for i in range(len(words)))


def split_sentence(pipe: Pipeline, words: list[str]) -> list[list[str]]:
    """The words of a sentence in pieces that the model has positions for."""
    room = (pipe.max_tokens or 10**9) - pipe.tokenizer.num_special_tokens_to_add()
    if sum(len(word.encode()) + 1 for word in words) <= room:  # no vocabulary makes more tokens than that
        return [words]
    pieces: list[list[str]] = []
    used = room
    encoding = pipe.tokenizer(words, is_split_into_words=True, add_special_tokens=False, max_length=10**9)
    tokens = encoding.word_ids()
    for i, word in enumerate(words):
        count = tokens.count(i)
        if used + count > room:
            pieces.append([])
            used = 0
        pieces[-1].append(word)
        used += count
    return pieces
