"""Denoising: restore a damaged text as a whole (BART, https://arxiv.org/abs/1910.13461, section 2.2).

Text infilling: 30 % of the tokens are taken out in spans whose lengths are drawn from a Poisson distribution (lambda =
3), and each span leaves a single mask token. A span of length 0 inserts a mask where nothing is missing: the model must
also learn how much is. Sentence permutation: the sentences of a text, which full stops end, come in random order. The
released models were trained with both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from minitransformer.config import ModelConfig
from minitransformer.data import Record
from minitransformer.tokenization.base import Tokenizer
from minitransformer.training.objectives.base import Batch, Example, check_length, check_share
from minitransformer.training.objectives.seq2seq import TargetObjective
from minitransformer.training.objectives.span_corruption import framed
from minitransformer.training.objectives.tensors import choose, compact, first_of_span, pad_rows, place_spans
from minitransformer.training.objectives.tokens import Frame, bare_ids, cut, mask_of, pack, sentence_ends


class Denoising(TargetObjective):
    """Restore a damaged text. Records: ``text``. Examples are the ids of the text, without special tokens.

    Args:
        tokenizer: with a mask token.
        config: of the model.
        max_length: tokens of a text, special ones included.
        mask_rate: share of the tokens that are taken out, at most one half.
        span_length: mean length of the spans, lambda.
        permute_sentences: whether sentences change places.
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
        mask_rate: float = 0.3,
        span_length: float = 3.0,
        permute_sentences: bool = True,
        packing: bool = True,
    ) -> None:
        super().__init__(tokenizer, config, max_length=max_length)
        self.mask_id, self.frame = mask_of(tokenizer, "denoising needs"), Frame.of(tokenizer)
        check_length("max_length", self.max_length, None, least=len(self.frame) + 2)
        self.mask_rate = check_share("mask_rate", mask_rate, most=0.5)
        self.span_length = check_share("span_length", span_length, least=1.0, most=1000.0)
        self.permute_sentences, self.packing = permute_sentences, packing
        self.ends_sentence = sentence_ends(tokenizer)
        self.separators = torch.tensor([i for i in (tokenizer.eos_token_id,) if i is not None], dtype=torch.long)
        self.ends_sentence[self.separators] = True

    def examples(self, records: Sequence[Record]) -> list[Example]:
        """Blocks of texts, or texts, without special tokens around them."""
        rows = bare_ids(self.tokenizer, records, word_starts=False)
        room = self.max_length - len(self.frame)
        if self.packing:
            return pack(rows, room, {"input_ids": self.separators.tolist()})
        return cut(rows, room)

    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> Batch:
        """Damaged texts, and the texts."""
        ids = pad_rows([example["input_ids"] for example in examples], self.pad_id)
        lengths = torch.tensor([len(example["input_ids"]) for example in examples])
        real = torch.arange(ids.shape[1]) < lengths[:, None]
        labels, _ = framed(ids, real, self.frame.before, self.frame.after, -100)
        if self.permute_sentences:
            ids = self.permute(ids, real, generator)
        span, insert = self.take_out(lengths, real, generator)
        masks = torch.full_like(ids, self.mask_id)
        slots = torch.stack([masks, ids], dim=2).flatten(1)  # before each token there is room for a mask
        keep = torch.stack([first_of_span(span) | insert, real & (span < 0)], dim=2).flatten(1)
        inputs, mask = framed(slots, keep, self.frame.before, self.frame.after, self.pad_id)
        return {"input_ids": inputs, "attention_mask": mask.long(), "labels": labels}

    def permute(
        self, ids: Int[Tensor, "batch token"], real: Bool[Tensor, "batch token"], generator: torch.Generator
    ) -> Int[Tensor, "batch token"]:
        """Sentences in random order; what no full stop ends is a sentence too."""
        ends = self.ends_sentence[ids] & real
        sentence = torch.nn.functional.pad(ends, (1, 0))[:, :-1].long().cumsum(dim=1)
        keys = torch.rand(ids.shape, generator=generator).gather(1, sentence).masked_fill(~real, 2.0)
        return ids.gather(1, keys.argsort(dim=1, stable=True))

    def take_out(
        self, lengths: Int[Tensor, " batch"], real: Bool[Tensor, "batch token"], generator: torch.Generator
    ) -> tuple[Int[Tensor, "batch token"], Bool[Tensor, "batch token"]]:
        """Which span each token is taken out with (-1: it stays); and before which a mask is inserted."""
        total = (lengths * self.mask_rate).round().long()
        most = int(1.5 * int(total.max())) + 10  # enough, though some have length 0
        sizes = torch.poisson(torch.full((len(lengths), most), self.span_length), generator=generator).long()
        before = sizes.cumsum(dim=1) - sizes
        used = before < total[:, None]
        sizes = torch.where(used, sizes.minimum(total[:, None] - before), 0)  # the last span ends at the total
        inserts = (used & (sizes == 0)).sum(dim=1)
        sizes, _ = compact(sizes, sizes > 0, 0)
        span = place_spans(lengths, sizes, generator)
        room = total - (sizes > 0).sum(dim=1)  # so that a damaged text is never longer than it was
        return span, choose(real & (span < 0), inserts.minimum(room), generator)
