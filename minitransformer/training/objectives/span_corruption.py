"""Span corruption: say what is missing from a text, span by span (T5, https://arxiv.org/abs/1910.10683, section 3.1.4).

15 % of the tokens go missing, in spans of 3 on average (section 3.3.4). A sentinel stands where a span was::

    input    Thank you <extra_id_0> me to your party <extra_id_1> week.
    target   <extra_id_0> for inviting <extra_id_1> last <extra_id_2>

The sentinel at the target's end says that the text goes on to its own end; behind it comes the end token.

Spans are laid so that every way to lay them is as likely. (The authors' code always begins with a kept span and ends
with a missing one.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from minitransformer.config import ModelConfig
from minitransformer.data import Record
from minitransformer.errors import TrainingError
from minitransformer.tokenization.base import Tokenizer
from minitransformer.training.objectives.base import Batch, Example, check_length, check_share
from minitransformer.training.objectives.seq2seq import TargetObjective
from minitransformer.training.objectives.tensors import compact, first_of_span, pad_rows, place_spans, random_parts
from minitransformer.training.objectives.tokens import Frame, bare_ids, cut, pack


class SpanCorruption(TargetObjective):
    """Restore missing spans. Records: ``text``. Examples are the ids of the text, without special tokens.

    Args:
        tokenizer: with sentinels ``<extra_id_0>``, ``<extra_id_1>``, ... and an end token.
        config: of the model.
        max_length: tokens of an input; texts are cut to what shrinks to this length.
        noise_rate: share of the tokens that go missing.
        span_length: mean length of the missing spans.
        packing: join texts, an end token between, and cut them into blocks; else one text is one example.

    Raises:
        TrainingError: the tokenizer lacks the tokens, or an option is out of range.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: ModelConfig,
        *,
        max_length: int | None = None,
        noise_rate: float = 0.15,
        span_length: float = 3.0,
        packing: bool = True,
    ) -> None:
        super().__init__(tokenizer, config, max_length=max_length)
        self.noise_rate = check_share("noise_rate", noise_rate)
        self.span_length = check_share("span_length", span_length, least=1.0, most=1000.0)
        self.packing = packing
        if tokenizer.eos_token_id is None:
            raise TrainingError("span corruption needs an end token at the target's end: set tokenizer.eos_token")
        self.end_id, self.frame = tokenizer.eos_token_id, Frame.of(tokenizer)
        check_length("max_length", self.max_length, None, least=len(self.frame) + 4)
        self.text_length = self._longest_text()
        self.sentinels = self._find_sentinels(self._sizes(self.text_length)[1] + 1)

    def _sizes(self, length: int) -> tuple[int, int]:
        """How many tokens of a text go missing, and in how many spans."""
        noise, spans = self.noise_sizes(torch.tensor([length]))
        return int(noise), int(spans)

    def noise_sizes(self, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """How many tokens of each text go missing, and in how many spans: (batch) each."""
        noise = (lengths * self.noise_rate).round().long().clamp(min=1).minimum(lengths - 1).clamp(min=0)
        spans = (noise / self.span_length).round().long().clamp(min=1).minimum(noise)
        return noise, spans.minimum(lengths - noise + 1)

    def _longest_text(self) -> int:
        """The most tokens of a text whose input has ``max_length``, its frame included."""
        length = self.max_length - len(self.frame)
        while True:
            noise, spans = self._sizes(length + 1)
            if length + 1 - noise + spans + len(self.frame) > self.max_length:
                return length
            length += 1

    def _find_sentinels(self, needed: int) -> Tensor:
        """The sentinels' ids in order."""
        vocabulary = self.tokenizer.get_vocab()
        found = {int(m[1]): i for token, i in vocabulary.items() if (m := re.fullmatch(r"<extra_id_(\d+)>", token))}
        ids = [found[i] for i in range(len(found)) if i in found]
        if len(ids) < needed:
            raise TrainingError(
                f"span corruption of {self.text_length} tokens needs {needed} sentinels (<extra_id_0>, <extra_id_1>), "
                f"and the tokenizer has {len(ids)}: take a smaller max_length, or a tokenizer with more (extra_ids)"
            )
        return torch.tensor(ids)

    def examples(self, records: Sequence[Record]) -> list[Example]:
        """Blocks of texts, or texts, without special tokens around them."""
        rows = bare_ids(self.tokenizer, records, word_starts=False)
        if self.packing:
            blocks = pack(rows, self.text_length, {"input_ids": [self.end_id]})
        else:
            blocks = cut(rows, self.text_length)
        return [block for block in blocks if len(block["input_ids"]) > 1]  # of one token nothing can go missing

    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> Batch:
        """Inputs with sentinels, and targets with what they stand for."""
        ids = pad_rows([example["input_ids"] for example in examples], self.pad_id)
        lengths = torch.tensor([len(example["input_ids"]) for example in examples])
        noise, spans = self.noise_sizes(lengths)
        span = place_spans(lengths, random_parts(noise, spans, generator), generator)  # (B, T)
        missing, first = span >= 0, first_of_span(span)
        real = torch.arange(ids.shape[1]) < lengths[:, None]

        # Each token has two slots: for a sentinel before it, and for itself.
        sentinel = self.sentinels[span.clamp(min=0)]
        slots = torch.stack([sentinel, ids], dim=2).flatten(1)  # (B, 2T)
        source = torch.stack([first, real & ~missing], dim=2).flatten(1)
        target = torch.stack([first, missing], dim=2).flatten(1)

        inputs, mask = framed(slots, source, self.frame.before, self.frame.after, self.pad_id)
        end = torch.stack([self.sentinels[spans], torch.full_like(spans, self.end_id)], dim=1)  # (B, 2)
        slots, target = (
            torch.cat([slots, end], dim=1),
            torch.cat([target, torch.ones_like(end, dtype=torch.bool)], dim=1),
        )
        labels, _ = compact(slots, target, -100)
        return {"input_ids": inputs, "attention_mask": mask.long(), "labels": labels}


def framed(
    slots: Tensor, keep: Tensor, before: Sequence[int], after: Sequence[int], fill: int
) -> tuple[Tensor, Tensor]:
    """Rows of the slots to keep, between the special tokens of a frame; and where they are."""
    batch = len(slots)
    sides = [torch.tensor(side, dtype=torch.long).expand(batch, -1) for side in (list(before), list(after))]
    kept = [torch.ones_like(side, dtype=torch.bool) for side in sides]
    return compact(torch.cat([sides[0], slots, sides[1]], dim=1), torch.cat([kept[0], keep, kept[1]], dim=1), fill)
