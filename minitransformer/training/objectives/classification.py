"""Sequence classification: one label, several labels, or a number for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.config import ModelConfig
from minitransformer.data import Record
from minitransformer.errors import DataError, did_you_mean
from minitransformer.tokenization.base import Tokenizer
from minitransformer.training.objectives.base import Batch, Example, Objective, model_inputs, widen
from minitransformer.training.objectives.tokens import count_cuts, encode, report_cuts


class Classification(Objective):
    """Label a text or a pair. Records: ``text``, optionally ``text_pair``, and ``label`` (or ``score``, a number).

    What is learnt is the config's ``problem_type``: "single_label_classification" (a label or its number),
    "multi_label_classification" (a list of them, or a string with commas between), or "regression" (a number; the
    default for a model with one output).

    Args:
        tokenizer: the tokenizer.
        config: of the model, with its labels.
        max_length: tokens of an example; of a pair, the longer text is cut first.
    """

    HEAD: ClassVar[str] = "SequenceClassification"

    def __init__(self, tokenizer: Tokenizer, config: ModelConfig, *, max_length: int | None = None) -> None:
        super().__init__(tokenizer, config, max_length=max_length)
        default = "regression" if config.num_labels == 1 else "single_label_classification"
        self.problem_type = config.problem_type or default
        self.label2id = config.label2id

    @staticmethod
    def labels_in(records: Sequence[Record], *, several: bool = False) -> list[str]:
        """The labels that occur, sorted: what a new model must know; with ``several``, commas part them."""
        return sorted({label for record in records for label in split_labels(record.need("label"), commas=several)})

    def examples(self, records: Sequence[Record]) -> list[Example]:
        """Texts as ids, cut to length, with their labels as numbers."""
        targets = [self.target(record) for record in records]
        texts = [[record.need_text("text") for record in records]]
        if any("text_pair" in record for record in records):
            texts.append([record.need_text("text_pair") for record in records])
        examples: list[Example] = []
        cuts = 0
        for encoding in encode(self.tokenizer, *texts, truncation=True, max_length=self.max_length):
            names = [name for name in ("input_ids", "token_type_ids") if name in encoding]
            for values in zip(*(encoding[name] for name in names), strict=True):
                examples.append({**dict(zip(names, values, strict=True)), "labels": targets[len(examples)]})
            cuts += count_cuts(encoding)
        report_cuts(cuts, len(records), self.max_length)
        return examples

    def target(self, record: Record) -> int | float | list[float]:
        """What the model shall say, as its loss wants it."""
        if self.problem_type == "regression":
            return read_number(record, "score" if "score" in record else "label")
        label = record.need("label")
        if self.problem_type == "single_label_classification":
            return label_number(label, self.label2id, record)
        chosen = {label_number(one, self.label2id, record) for one in split_labels(label, commas=True)}
        return [float(i in chosen) for i in range(len(self.label2id))]

    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> Batch:
        """Padded texts, and labels: (batch) numbers, or (batch, labels) for several."""
        batch = self.pad(examples, **({"token_type_ids": 0} if "token_type_ids" in examples[0] else {}))
        batch["labels"] = torch.tensor([example["labels"] for example in examples])
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        """Texts; with several labels, decisions about each."""
        return {"labels": batch["labels"].numel()}

    def loss(self, model: Any, batch: Batch, counts: Mapping[str, int]) -> Tensor:
        """Cross-entropy; with several labels, the binary one of each; of numbers, the squared error."""
        labels = batch["labels"]
        logits = widen(model(**model_inputs(model, batch)).logits)
        if self.problem_type == "regression":
            total = F.mse_loss(logits.squeeze(-1), labels.to(logits.dtype), reduction="sum")
        elif self.problem_type == "multi_label_classification":
            total = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="sum")
        else:
            total = F.cross_entropy(logits, labels, reduction="sum")
        return total / max(counts["labels"], 1)


def split_labels(label: Any, *, commas: bool) -> list[str]:
    """One label or several, as a list."""
    if isinstance(label, (list, tuple)):
        return [str(one) for one in label]
    return [part.strip() for part in str(label).split(",") if part.strip()] if commas else [str(label)]


def label_number(label: Any, label2id: Mapping[str, int], record: Record, lines_on: int = 0) -> int:
    """The class number of a label, which may be a number itself.

    Raises:
        DataError: the model does not know it; says where it stands, and which ones are known.
    """
    name = str(label)
    if name in label2id:
        return label2id[name]
    if name.isdecimal() and int(name) < len(label2id):
        return int(name)
    known = list(label2id)
    listed = ", ".join(map(repr, known[:30])) + (f" and {len(known) - 30} more" if len(known) > 30 else "")
    raise DataError(
        f"{record.where(lines_on)}: the model has no label {name!r}.{did_you_mean(name, known)} It knows {listed}."
    )


def read_number(record: Record, field: str) -> float:
    """A field that must be a number.

    Raises:
        DataError: it is none.
    """
    value = record.need(field)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{record.where()}: {field!r} must be a number, not {value!r}") from error
