"""Gap sentences: write the sentences that matter most (PEGASUS, https://arxiv.org/abs/1912.08777, section 3.1).

The sentences that have most in common with the rest of a text are something like a summary of it, which nobody had to
write. How much one matters is the F of ROUGE-1 between it and the rest, each sentence by itself, repeated words
counted ("Ind-Orig"). A chosen sentence leaves a single mask token behind; a fifth of them stay where they are, so that
the model also learns to copy (section 6). Here the words that are compared are the tokenizer's pieces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import torch

from minitransformer.config import ModelConfig
from minitransformer.data import Record
from minitransformer.errors import DataError
from minitransformer.tokenization.base import Tokenizer
from minitransformer.training.objectives.base import Batch, Example, check_length, check_share
from minitransformer.training.objectives.seq2seq import TargetObjective
from minitransformer.training.objectives.tensors import pad_rows
from minitransformer.training.objectives.tokens import (
    Frame,
    bare_ids,
    cut,
    mask_of,
    pack,
    sentence_ends,
    split_sentences,
)


class GapSentences(TargetObjective):
    """Write a text's principal sentences. Records: ``text``. Examples are the ids of the text, without special tokens.

    Args:
        tokenizer: with a mask token.
        config: of the model.
        max_length: tokens of a text, special ones included.
        share: of a text's sentences that are to be written; at least one, and never all.
        keep: probability that a chosen sentence stays in the text.
        noise: scores are multiplied by 1 plus a number drawn from -noise to noise, so that a text does not always have
            the same target.
        packing: join texts, an end token between, and cut them into blocks; else one text is one example.

    Raises:
        TrainingError: the tokenizer has no mask token, or an option is out of range.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: ModelConfig,
        *,
        max_length: int | None = None,
        share: float = 0.3,
        keep: float = 0.2,
        noise: float = 0.2,
        packing: bool = True,
    ) -> None:
        super().__init__(tokenizer, config, max_length=max_length)
        self.mask_id, self.frame = mask_of(tokenizer, "gap sentences need"), Frame.of(tokenizer)
        check_length("max_length", self.max_length, None, least=len(self.frame) + 2)
        self.share, self.keep = check_share("share", share), check_share("keep", keep)
        self.noise, self.packing = check_share("noise", noise), packing
        self.separators = [i for i in (tokenizer.eos_token_id,) if i is not None]
        self.ends = set(sentence_ends(tokenizer).nonzero().flatten().tolist()) | set(self.separators)

    def examples(self, records: Sequence[Record]) -> list[Example]:
        """Blocks of texts, or texts, of two sentences or more."""
        rows = bare_ids(self.tokenizer, records, word_starts=False)
        room = self.max_length - len(self.frame)
        blocks = pack(rows, room, {"input_ids": self.separators}) if self.packing else cut(rows, room)
        found = [block for block in blocks if len(self.sentences(block["input_ids"])) > 1]
        if not found:
            raise DataError("there is no text of two sentences to learn from")
        return found

    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> Batch:
        """Texts with gaps, and what belongs there."""
        sources, targets = [], []
        for example in examples:
            source, target = self.take_out(self.sentences(example["input_ids"]), generator)
            sources.append({"input_ids": [*self.frame.before, *source, *self.frame.after]})
            targets.append([*self.frame.before, *target, *self.frame.after])
        return {**self.pad(sources), "labels": pad_rows(targets, -100)}

    def sentences(self, ids: Sequence[int]) -> list[list[int]]:
        """The text in sentences; what no full stop ends is one too."""
        return split_sentences(ids, self.ends)

    def take_out(self, sentences: Sequence[list[int]], generator: torch.Generator) -> tuple[list[int], list[int]]:
        """The text with its gaps, and the chosen sentences in order."""
        number = min(max(1, round(self.share * len(sentences))), len(sentences) - 1)
        factor = 1 + self.noise * (2 * torch.rand(len(sentences), generator=generator) - 1)
        stays = (torch.rand(len(sentences), generator=generator) < self.keep).tolist()
        scores = torch.tensor(importance(sentences)) * factor
        chosen = set(scores.topk(number).indices.tolist())
        source = [s if i not in chosen or stays[i] else [self.mask_id] for i, s in enumerate(sentences)]
        target = [s for i, s in enumerate(sentences) if i in chosen]
        return list(chain.from_iterable(source)), list(chain.from_iterable(target))


def importance(sentences: Sequence[Sequence[int]]) -> list[float]:
    """For each sentence the F of ROUGE-1 between it and all others together."""
    counts = [Counter(sentence) for sentence in sentences]
    every = sum(counts, Counter[int]())
    scores = []
    for own in counts:
        common = sum(min(n, every[i] - n) for i, n in own.items())
        scores.append(2 * common / every.total())  # F = 2PR / (P + R), with P = common / own, R = common / others
    return scores
