"""Token classification: a label for each word, read at its first piece (https://arxiv.org/abs/1810.04805, 5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.data import Record
from minitransformer.errors import DataError, TrainingError
from minitransformer.training.objectives.base import Batch, Example, Objective, count_labels, model_inputs, widen
from minitransformer.training.objectives.classification import label_number
from minitransformer.training.objectives.tokens import begins_word, count_cuts, encode, report_cuts


class TokenClassification(Objective):
    """Label the words of a text. Records: ``words`` and ``labels``, two lists of one length.

    A word's first piece carries its label; the others, and special tokens, do not count.

    Args:
        tokenizer: one that knows which word a piece belongs to.
        config: of the model, with its labels.
        max_length: tokens of an example; words beyond are not used.
    """

    HEAD: ClassVar[str] = "TokenClassification"

    @staticmethod
    def labels_in(records: Sequence[Record]) -> list[str]:
        """The labels that occur: "O" first, then sorted by kind, B- before I-."""
        found = {str(label) for record in records for label in record.need("labels")}
        return sorted(found, key=lambda label: (label != "O", label.partition("-")[2], label))

    def examples(self, records: Sequence[Record]) -> list[Example]:
        """Words as ids, cut to length, with a label for each first piece."""
        if not self.tokenizer.keeps_offsets:
            raise TrainingError(f"{self.tokenizer.class_name} does not know which word a piece belongs to")
        targets = [self.targets(record) for record in records]
        words = [list(record["words"]) for record in records]
        options: dict[str, Any] = {"is_split_into_words": True, "truncation": True, "max_length": self.max_length}
        examples: list[Example] = []
        cuts = 0
        for encoding in encode(self.tokenizer, words, **options):
            for i, ids in enumerate(encoding["input_ids"]):
                word_ids, target = encoding.word_ids(i), targets[len(examples)]
                labels = [
                    target[word] if first and word is not None else -100
                    for word, first in zip(word_ids, begins_word(word_ids), strict=True)
                ]
                examples.append({"input_ids": ids, "labels": labels})
            cuts += count_cuts(encoding)
        report_cuts(cuts, len(records), self.max_length)
        return examples

    def targets(self, record: Record) -> list[int]:
        """The numbers of the record's labels."""
        words, labels = record.need("words"), record.need("labels")
        if isinstance(words, str) or not words or len(words) != len(labels):
            raise DataError(f"{record.where()}: 'words' and 'labels' must be two lists of one length, and not empty")
        label2id = self.config.label2id
        return [label_number(label, label2id, record, lines_on=i) for i, label in enumerate(labels)]

    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> Batch:
        """Padded texts and labels."""
        return self.pad(examples, labels=-100)

    def counts(self, batch: Batch) -> dict[str, int]:
        """Words."""
        return {"words": count_labels(batch["labels"])}

    def loss(self, model: Any, batch: Batch, counts: Mapping[str, int]) -> Tensor:
        """Cross-entropy of the words' labels."""
        logits = widen(model(**model_inputs(model, batch)).logits)
        total = F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), reduction="sum")
        return total / max(counts["words"], 1)
