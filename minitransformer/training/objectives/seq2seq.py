"""Sequence to sequence with teacher forcing: at each token of the target, the decoder has seen the true ones before it.

Label smoothing spreads a share of the target evenly over all words, so that the model need not be certain (0.1 in
"Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 5.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from minitransformer.config import ModelConfig
from minitransformer.data import Record
from minitransformer.errors import TrainingError
from minitransformer.tokenization.base import Tokenizer
from minitransformer.training.objectives.base import (
    Batch,
    Example,
    Objective,
    check_length,
    check_share,
    count_labels,
    model_inputs,
    vocabulary_head,
    vocabulary_loss,
)
from minitransformer.training.objectives.tensors import pad_rows
from minitransformer.training.objectives.tokens import count_cuts, encode, report_cuts


class TargetObjective(Objective):
    """What all objectives of encoder-decoders share: ``labels`` are the target, -100 at its padding.

    Args:
        tokenizer: the tokenizer.
        config: of the model; it says how a target begins.
        max_length: tokens of a source.
        label_smoothing: share of the target that is spread over all words.
    """

    HEAD: ClassVar[str] = "Seq2SeqLM"

    def __init__(
        self, tokenizer: Tokenizer, config: ModelConfig, *, max_length: int | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(tokenizer, config, max_length=max_length)
        self.label_smoothing = check_share("label_smoothing", label_smoothing)

    def counts(self, batch: Batch) -> dict[str, int]:
        """Tokens of the targets."""
        return {"tokens": count_labels(batch["labels"])}

    def loss(self, model: Any, batch: Batch, counts: Mapping[str, int]) -> Tensor:
        """Cross-entropy of the target's tokens."""
        labels, head = batch["labels"], vocabulary_head(model, "ForSeq2SeqLM")
        target = model.shift_right(labels)
        hidden = model.backbone(**model_inputs(model, batch), decoder_input_ids=target).last_hidden_state
        return vocabulary_loss(head, hidden, labels, counts["tokens"], label_smoothing=self.label_smoothing)


class Seq2Seq(TargetObjective):
    """Turn a text into another: translate, summarise. Records: ``source``, ``target``.

    Args:
        tokenizer: the tokenizer; for translation it knows the two languages.
        config: of the model.
        max_length: tokens of a source.
        max_target_length: tokens of a target; as for sources by default.
        prefix: goes before each source ("summarize: ").
        label_smoothing: share of the target that is spread over all words.

    Raises:
        TrainingError: nothing would tell the model where a target ends.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: ModelConfig,
        *,
        max_length: int | None = None,
        max_target_length: int | None = None,
        prefix: str = "",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(tokenizer, config, max_length=max_length, label_smoothing=label_smoothing)
        length = self.max_length if max_target_length is None else max_target_length
        self.max_target_length = check_length("max_target_length", length, config.max_positions)
        self.prefix = prefix
        eos = config.eos_token_id
        self.end_ids = eos if isinstance(eos, list) else [i for i in (eos, tokenizer.eos_token_id) if i is not None]
        if not set(self.end_ids) & set(tokenizer(text_target="a")["input_ids"]):
            raise TrainingError(
                "the tokenizer puts no end token behind a target, so the model would never learn to stop: "
                "give it one that does (a post-processor in tokenizer.json)"
            )

    def examples(self, records: Sequence[Record]) -> list[Example]:
        """Sources and targets as ids, cut to length."""
        sources = [self.prefix + record.need_text("source") for record in records]
        targets = [record.need_text("target") for record in records]
        sides = []
        for argument, texts, length in (
            ("text", sources, self.max_length),
            ("text_target", targets, self.max_target_length),
        ):
            rows, cuts = self._encode(texts, argument, length)
            report_cuts(cuts, len(records), length, "sources" if argument == "text" else "targets")
            sides.append(rows)
        return [{"input_ids": source, "labels": target} for source, target in zip(*sides, strict=True)]

    def _encode(self, texts: list[str], argument: str, length: int) -> tuple[list[list[int]], int]:
        """Ids of each text; and how many were too long."""
        rows, cuts = [], 0
        for encoding in encode(self.tokenizer, texts, truncation=True, max_length=length, name=argument):
            rows += encoding["input_ids"]
            cuts += count_cuts(encoding)
        return rows, cuts

    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> Batch:
        """Padded sources and targets."""
        batch = self.pad(examples)
        batch["labels"] = pad_rows([example["labels"] for example in examples], -100)
        return batch
