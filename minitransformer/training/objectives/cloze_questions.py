"""Cloze questions: a sentence of a text asks for the words that it lost (https://arxiv.org/abs/1906.04980, section 2).

To answer a question is first of all to find the place that speaks of it. That can be learnt from any text: one of its
sentences, some words dropped and an answer hidden under a mask, is the question; the text itself holds the answer. A
model that has learnt it needs far fewer questions that people wrote. The paper takes names and noun phrases for
answers; here any few words of a sentence will do, so that no parser is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch

from minitransformer.config import ModelConfig
from minitransformer.data import Record
from minitransformer.errors import DataError
from minitransformer.tokenization.base import Tokenizer
from minitransformer.training.objectives.base import Batch, Example, check_length, check_share
from minitransformer.training.objectives.question_answering import AnswerSpans
from minitransformer.training.objectives.tokens import PairFrame, bare_ids, mask_of, sentence_ends, split_sentences


class ClozeQuestions(AnswerSpans):
    """Find the words that a sentence of the text lost. Records: ``text``. Examples are texts without special tokens.

    A text that is too long is cut into several, between sentences where it can be.

    Args:
        tokenizer: with a mask token; one that knows where words begin.
        config: of the model.
        max_length: tokens of question and text together.
        max_question_length: tokens of a question; of a longer sentence it has those around the mask.
        max_answer_words: words of an answer, from one to so many; it begins and ends with a letter or figure.
        drop: share of the question's words, the mask aside, that are left out.

    Raises:
        TrainingError: the tokenizer has no mask token, or an option is out of range.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: ModelConfig,
        *,
        max_length: int | None = None,
        max_question_length: int = 32,
        max_answer_words: int = 4,
        drop: float = 0.3,
    ) -> None:
        super().__init__(tokenizer, config, max_length=max_length)
        self.mask_id, self.frame = mask_of(tokenizer, "cloze questions need"), PairFrame.of(tokenizer)
        self.max_question_length = check_length("max_question_length", max_question_length, None, least=2)
        self.max_answer_words = check_length("max_answer_words", max_answer_words, None, least=1)
        self.drop = check_share("drop", drop)
        least = len(self.frame) + self.max_question_length + 2
        self.room = check_length("max_length", self.max_length, None, least=least) - least + 2
        self.ends = set(sentence_ends(tokenizer).nonzero().flatten().tolist())
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.spoken = {i for i, piece in enumerate(pieces) if any(map(str.isalnum, piece.lstrip("Ġ▁#")))}

    def examples(self, records: Sequence[Record]) -> list[Example]:
        """Texts that fit, with where their words begin."""
        found = []
        for row in bare_ids(self.tokenizer, records, word_starts=True):
            at = 0
            for size in self.sizes(row["input_ids"]):
                part: Example = {name: column[at : at + size] for name, column in row.items()}
                part["word_starts"][0] = 1  # what is left of a word that the part before began
                at += size
                starts = zip(*part.values(), strict=True)
                if len(part["input_ids"]) > 1 and any(start and i in self.spoken for i, start in starts):
                    found.append(part)
        if not found:
            raise DataError("there is no text of two words to learn from")
        return found

    def sizes(self, ids: Sequence[int]) -> list[int]:
        """Into parts of how many tokens a text is cut: whole sentences while they fit."""
        sizes = [0]
        for sentence in split_sentences(ids, self.ends):
            if sizes[-1] and sizes[-1] + len(sentence) > self.room:
                sizes.append(0)
            sizes[-1] += len(sentence)
            while sizes[-1] > self.room:  # a sentence that does not fit by itself
                sizes.append(sizes[-1] - self.room)
                sizes[-2] = self.room
        return sizes

    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> Batch:
        """A question about each text, and where its answer is."""
        return super().collate([self.ask(example, generator) for example in examples], generator)

    def ask(self, text: Example, generator: torch.Generator) -> Example:
        """A question about a text: the pair's ids, and the first and last token of the answer."""
        ids, starts = text["input_ids"], text["word_starts"]
        spoken = [at for at in range(len(ids)) if starts[at] and ids[at] in self.spoken]
        answer = spoken[int(torch.randint(len(spoken), (), generator=generator))]
        begin, end = self.sentence_around(answer, ids)
        words = [at for at in range(begin, end) if at == begin or starts[at]]
        ends = [*words[1:], end]
        first = words.index(answer)
        last = min(first + int(torch.randint(self.max_answer_words, (), generator=generator)), len(words) - 1)
        while ids[words[last]] not in self.spoken:  # an answer does not end with a comma
            last -= 1
        stays = (torch.rand(len(words), generator=generator) >= self.drop).tolist()
        kept = [ids[at:stop] if stay else [] for at, stop, stay in zip(words, ends, stays, strict=True)]
        before, after = (list(chain.from_iterable(part)) for part in (kept[:first], kept[last + 1 :]))
        example, shift = self.frame.join(self.around_mask(before, after), list(ids))
        return {**example, "start_positions": shift + words[first], "end_positions": shift + ends[last] - 1}

    def sentence_around(self, at: int, ids: Sequence[int]) -> tuple[int, int]:
        """Where the sentence of a token begins and stops."""
        begin = end = 0
        for sentence in split_sentences(ids, self.ends):
            begin, end = end, end + len(sentence)
            if at < end:
                break
        return begin, end

    def around_mask(self, before: list[int], after: list[int]) -> list[int]:
        """The question, cut to its longest length: as evenly on both sides of the mask as it can be."""
        room = self.max_question_length - 1
        left = min(len(before), max(room // 2, room - len(after)))
        return [*before[len(before) - left :], self.mask_id, *after[: room - left]]
