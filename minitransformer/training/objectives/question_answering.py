"""Extractive question answering: where in a text the answer begins and ends (SQuAD; BERT section 4.2).

A text that is too long for the model is read in windows that overlap. A window without the answer points at its first
token, [CLS], which stands for "not here" (BERT's answer for SQuAD 2.0, section 4.3).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.config import ModelConfig
from minitransformer.data import Record, answers_of
from minitransformer.errors import DataError, TrainingError
from minitransformer.tokenization.base import Tokenizer
from minitransformer.training.objectives.base import Batch, Example, Objective, check_length, model_inputs, widen
from minitransformer.training.objectives.tokens import Frame, encode, report_cuts

logger = logging.getLogger("minitransformer")


class AnswerSpans(Objective):
    """What objectives share that point at an answer: ``start_positions`` and ``end_positions`` are its tokens."""

    HEAD: ClassVar[str] = "QuestionAnswering"

    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> Batch:
        """Padded windows and the answers' positions."""
        batch = self.pad(examples, **({"token_type_ids": 0} if "token_type_ids" in examples[0] else {}))
        for name in ("start_positions", "end_positions"):
            batch[name] = torch.tensor([example[name] for example in examples])
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        """Windows."""
        return {"windows": len(batch["start_positions"])}

    def loss(self, model: Any, batch: Batch, counts: Mapping[str, int]) -> Tensor:
        """Mean of the cross-entropies of the answer's first and last token."""
        output = model(**model_inputs(model, batch))
        start = F.cross_entropy(widen(output.start_logits), batch["start_positions"], reduction="sum")
        end = F.cross_entropy(widen(output.end_logits), batch["end_positions"], reduction="sum")
        return (start + end) / 2 / max(counts["windows"], 1)


class QuestionAnswering(AnswerSpans):
    """Find the answer. Records: ``id``, ``question``, ``context``, ``answers`` (the first one is learnt).

    An example is a window. Beside its tokens it keeps what evaluation needs: ``id``, and with ``keep_offsets`` the
    array ``offsets`` (tokens, 2) of where each token stands in the context, -1 where it stands elsewhere.

    Args:
        tokenizer: one that knows where its tokens stand in the text.
        config: of the model.
        max_length: tokens of question and window together.
        doc_stride: tokens by which windows overlap.
        max_question_length: tokens of a question; the rest is cut off.
        no_answer: what to do with windows without the answer: point at [CLS] ("cls"), or leave them out ("drop").
        keep_offsets: whether examples have ``offsets``.

    Raises:
        TrainingError: options out of range, or a tokenizer without offsets or without a first token of its own.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: ModelConfig,
        *,
        max_length: int | None = None,
        doc_stride: int = 128,
        max_question_length: int = 64,
        no_answer: Literal["cls", "drop"] = "cls",
        keep_offsets: bool = False,
    ) -> None:
        super().__init__(tokenizer, config, max_length=max_length)
        if not tokenizer.keeps_offsets:
            raise TrainingError(f"{tokenizer.class_name} does not know where its tokens stand in the text")
        if no_answer not in ("cls", "drop"):
            raise TrainingError(f"no_answer must be 'cls' or 'drop', not {no_answer!r}")
        if no_answer == "cls" and not Frame.of(tokenizer).before:
            raise TrainingError("no token comes before the question to mean 'no answer': use no_answer = 'drop'")
        self.max_question_length = check_length("max_question_length", max_question_length, None, least=1)
        room = self.max_length - self.max_question_length - tokenizer.num_special_tokens_to_add(pair=True)
        self.doc_stride = check_length("doc_stride", doc_stride, None, least=0)
        if doc_stride >= room:
            raise TrainingError(
                f"doc_stride is {doc_stride}, but a question of max_question_length {max_question_length} leaves "
                f"{room} of max_length {self.max_length} tokens to a window: make it smaller than that"
            )
        self.no_answer, self.keep_offsets = no_answer, keep_offsets

    def examples(self, records: Sequence[Record]) -> list[Example]:
        """Windows, with the first and last token of the answer."""
        questions = self._cut_questions([record.need_text("question").strip() for record in records])
        contexts = [record.need_text("context") for record in records]
        answers = [find_answer(record) for record in records]
        windows: list[Example] = []
        start, dropped = 0, 0
        for encoding in encode(
            self.tokenizer,
            questions,
            contexts,
            truncation="only_second",
            max_length=self.max_length,
            stride=self.doc_stride,
            return_overflowing_tokens=True,
        ):
            samples = encoding["overflow_to_sample_mapping"]
            for i, sample in enumerate(samples):
                at = start + sample
                first, last = self._find_tokens(encoding, i, answers[at])
                if (first, last) == (0, 0) and self.no_answer == "drop":
                    dropped += 1
                    continue
                window: Example = {"input_ids": encoding["input_ids"][i]}
                if "token_type_ids" in encoding:
                    window["token_type_ids"] = encoding["token_type_ids"][i]
                window |= {"start_positions": first, "end_positions": last, "id": records[at].get("id", str(at))}
                if self.keep_offsets:
                    window["offsets"] = context_offsets(encoding, i)
                windows.append(window)
            start += samples[-1] + 1
        if dropped:
            logger.info("%d windows without the answer left out, %d kept", dropped, len(windows))
        return windows

    def _cut_questions(self, questions: list[str]) -> list[str]:
        """Questions of at most ``max_question_length`` tokens."""
        cut, number = list(questions), 0
        at = 0
        options: dict[str, Any] = {"add_special_tokens": False, "return_offsets_mapping": True}
        for encoding in encode(self.tokenizer, questions, truncation=False, max_length=10**9, **options):
            for offsets in encoding["offset_mapping"]:
                if len(offsets) > self.max_question_length:
                    cut[at] = cut[at][: offsets[self.max_question_length - 1][1]]
                    number += 1
                at += 1
        report_cuts(number, len(questions), self.max_question_length, "questions")
        return cut

    def _find_tokens(self, encoding: Any, row: int, answer: tuple[int, int] | None) -> tuple[int, int]:
        """The first and last token of the answer in a window; twice 0, which is [CLS], if it is not all there."""
        if answer is None:
            return 0, 0
        first = encoding.char_to_token(row, answer[0], sequence_index=1)
        last = encoding.char_to_token(row, answer[1] - 1, sequence_index=1)
        return (0, 0) if first is None or last is None else (first, last)


def find_answer(record: Record) -> tuple[int, int] | None:
    """Where the first answer begins and stops in the context, blanks at its ends left out; None if there is none.

    Raises:
        DataError: the answer does not stand where it is said to.
    """
    answers = answers_of(record)
    if not answers or not answers[0]["text"].strip():
        return None
    text, start = answers[0]["text"], answers[0]["answer_start"]
    found = record["context"][start : start + len(text)]
    if found != text:
        raise DataError(
            f"{record.where()}: the answer {text!r:.60} should stand at character {start} of the context, where "
            f"there is {found!r:.60}"
        )
    return start + len(text) - len(text.lstrip()), start + len(text.rstrip())


def context_offsets(encoding: Any, row: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Where each token stands in the context: (tokens, 2), -1 for tokens of the question and special ones."""
    offsets = np.array(encoding.encodings[row].offsets, dtype=np.int32)
    inside = np.array([sequence == 1 for sequence in encoding.sequence_ids(row)])
    offsets[~inside] = -1
    return offsets
