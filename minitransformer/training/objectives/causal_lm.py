"""Causal language modelling: guess each token from those before it (GPT).

Texts are joined, an end token behind each, and cut into blocks, as for GPT-2 and GPT-3: there is no padding, and the
model learns that what stands before an end says nothing about what comes after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor

from minitransformer.config import ModelConfig
from minitransformer.data import Record
from minitransformer.errors import TrainingError
from minitransformer.models.common.heads import CausalLM as CausalLMModel
from minitransformer.tokenization.base import Tokenizer
from minitransformer.training.objectives.base import (
    Batch,
    Example,
    Objective,
    check_length,
    count_labels,
    model_inputs,
    vocabulary_loss,
)
from minitransformer.training.objectives.tokens import bare_ids, cut, pack


class CausalLM(Objective):
    """Guess the next token. Records: ``text``.

    Args:
        tokenizer: with an end token; a begin token, if it has one, goes before each text.
        config: of the model.
        max_length: tokens of an example.
        packing: join texts and cut them into blocks; else one text is one example, with its end.
        at_once: score so many tokens at a time (see ``vocabulary_loss``): slower, with less memory for a large
            vocabulary.

    Raises:
        TrainingError: the tokenizer has no end token.
    """

    HEAD: ClassVar[str] = "CausalLM"

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: ModelConfig,
        *,
        max_length: int | None = None,
        packing: bool = True,
        at_once: int | None = None,
    ) -> None:
        super().__init__(tokenizer, config, max_length=max_length)
        if tokenizer.eos_token_id is None:
            raise TrainingError(
                "causal language modelling needs an end token between texts: set one, for example "
                "tokenizer.eos_token = '<|endoftext|>', or add it with add_special_tokens"
            )
        begin = tokenizer.bos_token_id
        self.end_id, self.begin_id = tokenizer.eos_token_id, tokenizer.eos_token_id if begin is None else begin
        self.packing = packing
        self.at_once = None if at_once is None else check_length("at_once", at_once, None, least=1)

    def examples(self, records: Sequence[Record]) -> list[Example]:
        """Blocks of texts, or texts."""
        rows: Iterator[dict[str, list[int]]] = bare_ids(self.tokenizer, records, word_starts=False)
        begin, end = [self.begin_id], [self.end_id]
        if not self.packing:
            return cut(({"input_ids": begin + row["input_ids"] + end} for row in rows), self.max_length)
        if begin == end:  # an end is the next text's beginning
            rows = chain([{"input_ids": begin}], ({"input_ids": row["input_ids"] + end} for row in rows))
        else:
            rows = ({"input_ids": begin + row["input_ids"] + end} for row in rows)
        blocks = pack(rows, self.max_length, {"input_ids": []})
        return [block for block in blocks if len(block["input_ids"]) > 1]  # a single token has no next one

    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> Batch:
        """Labels are the ids themselves (the shift by one happens in the loss), -100 at padding."""
        batch = self.pad(examples)
        batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        """Tokens that have one before them."""
        return {"tokens": count_labels(batch["labels"][:, 1:])}

    def loss(self, model: Any, batch: Batch, counts: Mapping[str, int]) -> Tensor:
        """Cross-entropy of each next token."""
        inputs, count = model_inputs(model, batch), counts["tokens"]
        if isinstance(model, CausalLMModel):
            x = model.backbone(**inputs).last_hidden_state
            return vocabulary_loss(model.head, x[:, :-1], batch["labels"][:, 1:], count, at_once=self.at_once)
        own = self.counts(batch)["tokens"]  # Transformer-XL's softmax works in parts, and gives its loss as a mean
        share: Tensor = model(**inputs, labels=batch["labels"]).loss * (own / max(count, 1))
        return share
