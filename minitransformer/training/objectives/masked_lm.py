"""Masked language modelling: guess some of the words from all the others (BERT, https://arxiv.org/abs/1810.04805).

15 % of the tokens are to be guessed (section 3.1). Of these, 80 % are hidden under [MASK], 10 % become a random token
and 10 % stay, so that the model cannot rely on a [MASK] to tell where it must think. Which ones is drawn anew each time
that an example is seen (RoBERTa, https://arxiv.org/abs/1907.11692, section 4.1). Texts are packed: an example is filled
up with the next text, behind a separator ("full sentences" of section 4.2 there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from minitransformer.config import ModelConfig
from minitransformer.data import Record
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
from minitransformer.training.objectives.tensors import choose_words
from minitransformer.training.objectives.tokens import Frame, bare_ids, cut, mask_of, pack


class MaskedLM(Objective):
    """Guess hidden words. Records: ``text``.

    Args:
        tokenizer: with a mask token.
        config: of the model.
        max_length: tokens of an example.
        mask_rate: share of the tokens that are to be guessed.
        mask_share: share of those that are hidden.
        random_share: share of those that become another token.
        whole_word: guess all pieces of a word or none (as in the second release of BERT's code).
        packing: fill examples up with the next texts; else one text is one example.

    Raises:
        TrainingError: the tokenizer has no mask token, or an option is out of range.
    """

    HEAD: ClassVar[str] = "MaskedLM"

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: ModelConfig,
        *,
        max_length: int | None = None,
        mask_rate: float = 0.15,
        mask_share: float = 0.8,
        random_share: float = 0.1,
        whole_word: bool = False,
        packing: bool = True,
    ) -> None:
        super().__init__(tokenizer, config, max_length=max_length)
        self.mask_id = mask_of(tokenizer, "masked language modelling needs")
        self.mask_rate = check_share("mask_rate", mask_rate)
        self.mask_share = check_share("mask_share", mask_share)
        self.random_share = check_share("random_share", random_share, most=1 - self.mask_share + 1e-9)
        self.whole_word, self.packing = whole_word, packing
        self.frame = Frame.of(tokenizer)
        check_length("max_length", self.max_length, None, least=len(self.frame) + 1)
        self.is_special = torch.zeros(max(len(tokenizer), config.vocab_size), dtype=torch.bool)
        self.is_special[tokenizer.all_special_ids] = True
        self.ordinary_ids = (~self.is_special[: len(tokenizer)]).nonzero().flatten()

    def examples(self, records: Sequence[Record]) -> list[Example]:
        """Texts in a frame of special tokens."""
        names = ["input_ids", "word_starts"] if self.whole_word else ["input_ids"]
        rows = bare_ids(self.tokenizer, records, word_starts=self.whole_word)
        room = self.max_length - len(self.frame)
        if self.packing:
            separator = [i for i in (self.tokenizer.sep_token_id,) if i is not None]
            between = {"input_ids": separator, "word_starts": [1] * len(separator)}
            blocks = pack(rows, room, {name: between[name] for name in names})
        else:
            blocks = cut(rows, room)
        for block in blocks if self.whole_word else ():
            block["word_starts"][0] = 1  # what is left of a word that the block before began
        before = {"input_ids": self.frame.before, "word_starts": [1] * len(self.frame.before)}
        after = {"input_ids": self.frame.after, "word_starts": [1] * len(self.frame.after)}
        return [{name: before[name] + block[name] + after[name] for name in names} for block in blocks]

    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> Batch:
        """Hide some of the tokens; labels are -100 at the others."""
        batch = self.pad(examples, **({"word_starts": 1} if self.whole_word else {}))
        ids = batch["input_ids"]
        starts = batch.pop("word_starts").bool() if self.whole_word else torch.ones_like(ids, dtype=torch.bool)
        candidates = batch["attention_mask"].bool() & ~self.is_special[ids]
        asked = choose_words(candidates, starts, self.mask_rate, generator)
        batch["labels"] = ids.masked_fill(~asked, -100)
        batch["input_ids"] = self.disguise(ids, asked, generator)
        return batch

    def disguise(self, ids: Tensor, asked: Tensor, generator: torch.Generator) -> Tensor:
        """The ids with those that are asked for hidden, replaced, or left."""
        fate = torch.rand(ids.shape, generator=generator)
        drawn = torch.randint(len(self.ordinary_ids), ids.shape, generator=generator)
        hidden = asked & (fate < self.mask_share)
        replaced = asked & ~hidden & (fate < self.mask_share + self.random_share)
        ids = torch.where(replaced, self.ordinary_ids[drawn], ids)
        return ids.masked_fill(hidden, self.mask_id)

    def counts(self, batch: Batch) -> dict[str, int]:
        """Tokens to be guessed."""
        return {"tokens": count_labels(batch["labels"])}

    def loss(self, model: Any, batch: Batch, counts: Mapping[str, int]) -> Tensor:
        """Cross-entropy of the hidden tokens."""
        head = vocabulary_head(model, "ForMaskedLM")
        hidden = model.backbone(**model_inputs(model, batch)).last_hidden_state
        return vocabulary_loss(head, hidden, batch["labels"], counts["tokens"])
