"""Several masks together: the best joint filling of a text, and the probability of a given one.

A masked language model gives each mask a distribution with the other masks left open. A joint probability follows by
the chain rule: fill one mask, run the model again, fill the next one. The order in which they are filled matters to the
number; here it is always the model's own: next comes the mask of which it is surest (whose likeliest word has the
highest probability). As that is a function of what was filled before, the probabilities of all fillings of a text sum
to 1, and the search below and the score of a given filling speak of the same distribution.

Letters in shapes: T tokens · M masks · R rows, that is fillings under way · V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LogProbs = Callable[[Tensor, Tensor], Tensor]
"""Runs the model: ids (R, T), places (R, M) -> log probabilities of all words at these places, (R, M, V)."""


@dataclass(frozen=True)
class Fillings:
    """Some fillings of one text.

    Attributes:
        ids: (R, T) the texts.
        tokens: (R, M) what was filled in, in the order of the places.
        logprobs: (R, M) of each token, given what was filled before it.
        steps: (R, M) when it was filled: 0 for the first.
    """

    ids: Tensor
    tokens: Tensor
    logprobs: Tensor
    steps: Tensor

    def __getitem__(self, rows: Tensor) -> Fillings:
        return Fillings(self.ids[rows], self.tokens[rows], self.logprobs[rows], self.steps[rows])

    @classmethod
    def open(cls, ids: Tensor, places: Tensor, rows: int) -> Fillings:
        """Nothing filled yet, so many times."""
        tokens = torch.full((rows, len(places)), -1)
        return cls(ids.repeat(rows, 1), tokens, torch.zeros(rows, len(places), dtype=torch.float64), tokens.clone())

    def surest(self, places: Tensor, run: LogProbs) -> tuple[Tensor, Tensor]:
        """For each row, which of the open masks comes next, (R,), and its log probabilities, (R, V)."""
        states, of_row = torch.unique(torch.cat([self.ids, self.tokens], dim=1), dim=0, return_inverse=True)
        T = self.ids.shape[1]
        open_masks = (states[:, T:] < 0).nonzero()[:, 1].view(len(states), -1)  # (states, open)
        logprobs = run(states[:, :T], places[open_masks])  # (states, open, V)
        best = logprobs.amax(dim=-1).argmax(dim=-1)  # (states,)
        chosen = torch.arange(len(states)), best
        return open_masks[chosen][of_row], logprobs[chosen][of_row]

    def fill(self, masks: Tensor, places: Tensor, tokens: Tensor, logprobs: Tensor, step: int) -> None:
        """Put one token into each row, at the mask of that number."""
        rows = torch.arange(len(self.ids))
        self.ids[rows, places[masks]] = tokens
        self.tokens[rows, masks] = tokens
        self.logprobs[rows, masks] = logprobs.to(self.logprobs.dtype)
        self.steps[rows, masks] = step


def fill_jointly(ids: Tensor, places: Tensor, run: LogProbs, num_beams: int, allowed: Tensor | None = None) -> Fillings:
    """The likeliest fillings of all masks together, the best first, by beam search.

    Args:
        ids: (T,) the text.
        places: (M,) where its masks are.
        run: the model.
        num_beams: how many fillings are followed, and returned at most.
        allowed: the only words to use, as ids.
    """
    found = Fillings.open(ids, places, rows=1)
    for step in range(len(places)):
        masks, logprobs = found.surest(places, run)
        if allowed is not None:
            logprobs = logprobs[:, allowed]
        totals = found.logprobs.sum(dim=1, keepdim=True) + logprobs  # (R, words)
        best = totals.flatten().topk(min(num_beams, totals.numel())).indices
        rows, words = best // logprobs.shape[1], best % logprobs.shape[1]
        found = found[rows]
        found.fill(masks[rows], places, words if allowed is None else allowed[words], logprobs[rows, words], step)
    return found


def score_fillings(ids: Tensor, places: Tensor, tokens: Tensor, run: LogProbs) -> Fillings:
    """The log probabilities of given fillings (R, M) of all masks; arguments as above."""
    found = Fillings.open(ids, places, rows=len(tokens))
    rows = torch.arange(len(tokens))
    for step in range(len(places)):
        masks, logprobs = found.surest(places, run)
        chosen = tokens[rows, masks]
        found.fill(masks, places, chosen, logprobs[rows, chosen], step)
    return found
