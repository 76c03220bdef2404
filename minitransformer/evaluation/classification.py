"""Labels of texts and of pairs of texts: accuracy, and the F1 of each label averaged over the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minitransformer.data import Record
from minitransformer.errors import DataError, did_you_mean
from minitransformer.evaluation import baselines
from minitransformer.evaluation.base import Answerer, Evaluation, Records, Scores, need_train, percent

if TYPE_CHECKING:
    from minitransformer.pipelines.base import Pipeline
    from minitransformer.tokenization import Tokenizer


@dataclass(kw_only=True)
class TextClassification(Evaluation):
    """{"text", "label"}, and "text_pair" for pairs, such as premise and hypothesis."""

    task = "text-classification"
    needs = ("text", "label")
    default_options = {"truncation": True}

    def prepare_record(self, record: Record) -> Record:
        """With the label as text."""
        record = super().prepare_record(record)
        record["label"] = str(record["label"])
        return record

    def predict(self, pipe: Pipeline, records: Records) -> list[str]:
        """The likeliest label of each text."""
        check_labels(pipe, ((record, record["label"]) for record in records))
        inputs = ({name: r[name] for name in ("text", "text_pair") if r.get(name) is not None} for r in records)
        answers = self.answers(pipe, inputs, len(records))
        return [(answer[0] if isinstance(answer, list) else answer)["label"] for answer in answers]  # a list of top_k=1

    def score(self, predictions: Sequence[str], records: Records) -> Scores:
        """Accuracy and macro F1."""
        labels = [record["label"] for record in records]
        return {"accuracy": accuracy(predictions, labels), "macro_f1": macro_f1(predictions, labels)}

    def baseline(self, train: Records, tokenizer: Tokenizer | None) -> Answerer:
        """Always the commonest label."""
        need_train(train, self.task)
        return baselines.majority(train)

    def reference(self, record: Record) -> Any:
        """Its label."""
        return record["label"]


@dataclass(kw_only=True)
class ZeroShotClassification(TextClassification):
    """{"text", "label"}; the labels to choose from are those that occur, unless ``candidate_labels`` says otherwise.

    Options:
        candidate_labels, hypothesis_template: as in the pipeline.
    """

    candidate_labels: Sequence[str] | str | None = None

    task = "zero-shot-classification"
    default_options = {}

    def candidates(self, records: Records) -> list[str]:
        """The labels to choose from.

        Raises:
            DataError: a record has another one.
        """
        from minitransformer.pipelines.zero_shot_classification import split_labels

        if self.candidate_labels is None:
            return sorted({record["label"] for record in records})
        known = split_labels(self.candidate_labels)
        for record in records:
            if record["label"] not in known:
                hint = did_you_mean(record["label"], known)
                raise DataError(f"{record.where()}: the label {record['label']!r} is no candidate label.{hint}")
        return known

    def predict(self, pipe: Pipeline, records: Records) -> list[str]:
        """The likeliest of the candidates for each text."""
        texts = (record["text"] for record in records)
        answers = self.answers(pipe, texts, len(records), candidate_labels=self.candidates(records))
        return [answer["labels"][0] for answer in answers]

    def score(self, predictions: Sequence[str], records: Records) -> Scores:
        """Accuracy and macro F1, and among how many labels."""
        return {**super().score(predictions, records), "labels": len(self.candidates(records))}


def check_labels(pipe: Pipeline, labels: Iterable[tuple[Record, str]]) -> None:
    """Raise unless the model knows all labels of the data.

    Raises:
        DataError: naming the label, the model's, and the remedy.
    """
    known = dict.fromkeys(pipe.model.config.id2label.values())
    for record, label in labels:
        if label not in known:
            hint = did_you_mean(label, known)
            raise DataError(
                f"{record.where()}: the model does not know the label {label!r}.{hint} It knows "
                f"{', '.join(list(known)[:20])}{', ...' if len(known) > 20 else ''}; "
                f"rename_labels={{{label!r}: ...}} says which one is meant"
            )


def accuracy(predictions: Sequence[str], labels: Sequence[str]) -> float:
    """The share of right labels, in percent."""
    return percent(p == label for p, label in zip(predictions, labels, strict=True))


def macro_f1(predictions: Sequence[str], labels: Sequence[str]) -> float:
    """The mean over labels of F1 = 2 right / (predicted + true), in percent.

    Labels that occur in neither do not count, as in scikit-learn.
    """
    predicted, true = Counter(predictions), Counter(labels)
    right = Counter(label for p, label in zip(predictions, labels, strict=True) if p == label)
    return percent(2 * right[label] / (predicted[label] + true[label]) for label in predicted | true)
