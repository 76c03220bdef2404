"""Tensors of rows of unequal length, and random choices in all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def pad_rows(rows: Sequence[Sequence[int]], fill: int) -> Int[Tensor, "batch longest"]:
    """Rows of unequal length as one tensor, filled up on the right."""
    lengths = torch.tensor([len(row) for row in rows])
    inside = torch.arange(int(lengths.max())) < lengths[:, None]
    padded = torch.full(inside.shape, fill)
    padded[inside] = torch.tensor(list(chain.from_iterable(rows)), dtype=torch.long)
    return padded


def compact(
    values: Int[Tensor, "batch slot"], keep: Bool[Tensor, "batch slot"], fill: int
) -> tuple[Int[Tensor, "batch longest"], Bool[Tensor, "batch longest"]]:
    """The values to keep, moved together to the left; and where they are."""
    lengths = keep.sum(dim=1)
    inside = torch.arange(max(1, int(lengths.max()))) < lengths[:, None]
    rows = torch.full(inside.shape, fill, dtype=values.dtype)
    rows[inside] = values[keep]
    return rows, inside


def rank(keys: Tensor) -> Int[Tensor, "batch item"]:
    """The place of each item when its row is sorted; the first of equals comes first."""
    return keys.argsort(dim=1, stable=True).argsort(dim=1, stable=True)


def choose(
    candidates: Bool[Tensor, "batch item"], counts: Int[Tensor, " batch"], generator: torch.Generator
) -> Bool[Tensor, "batch item"]:
    """In each row, so many of the candidates (or all, where they are fewer)."""
    noise = torch.rand(candidates.shape, generator=generator).masked_fill(~candidates, 2.0)
    return (rank(noise) < counts[:, None]) & candidates


def choose_words(
    candidates: Bool[Tensor, "batch token"],
    starts: Bool[Tensor, "batch token"],
    share: float,
    generator: torch.Generator,
) -> Bool[Tensor, "batch token"]:
    """In each row, whole words that make up a share of its candidates, as nearly as words allow; at least one word.

    Words come in random order, and one is chosen if the middle of it still lies within the share.

    Args:
        candidates: tokens that may be chosen: all of a word's, or none.
        starts: where words begin; everywhere, to choose tokens.
        share: of the candidates.
        generator: source of chance.
    """
    shape = candidates.shape
    word = torch.where(starts, torch.arange(shape[1]), 0).cummax(dim=1).values  # (B, T): where its word begins
    size = torch.zeros(shape, dtype=torch.long).scatter_add(1, word, candidates.long()).gather(1, word)
    keys = torch.rand(shape, generator=generator).gather(1, word).masked_fill(~candidates, 2.0)
    places = rank(keys)  # a word's tokens stay together
    before = torch.full(shape, shape[1]).scatter_reduce(1, word, places, "amin").gather(1, word)
    budget = (candidates.sum(dim=1, keepdim=True) * share).round()
    return candidates & ((before + size / 2 <= budget) | (before == 0))


def random_parts(
    totals: Int[Tensor, " batch"], counts: Int[Tensor, " batch"], generator: torch.Generator
) -> Int[Tensor, "batch part"]:
    """Each total as the sum of so many positive numbers, every way to do so being as likely; zeros behind them.

    A way to do so is a choice of borders between ``total`` items in a row. Counts must not exceed totals, and be 0
    only where the total is 0.
    """
    batch, most = len(totals), max(1, int(totals.max()))
    places = torch.arange(most)
    may_cut = (places > 0) & (places < totals[:, None])  # before which items
    part = choose(may_cut, counts - 1, generator).cumsum(dim=1)
    sizes = torch.zeros(batch, max(1, int(counts.max())), dtype=torch.long)
    return sizes.scatter_add(1, part, (places < totals[:, None]).long())


def place_spans(
    lengths: Int[Tensor, " batch"], sizes: Int[Tensor, "batch span"], generator: torch.Generator
) -> Int[Tensor, "batch token"]:
    """Lay spans into rows, in order, anywhere but end to end; every way to do so is as likely.

    Args:
        lengths: tokens of each row.
        sizes: tokens of each span, zeros behind the last one; a row must have room for a token between spans.
        generator: source of chance.

    Returns:
        The number of the span that a token belongs to, -1 for the others.
    """
    spans = (sizes > 0).sum(dim=1)
    # What remains surrounds the spans: at the ends there may be nothing of it, hence two more and two less.
    gaps = random_parts(lengths - sizes.sum(dim=1) + 2, spans + 1, generator)
    gaps[:, 0] -= 1
    gaps.scatter_add_(1, spans[:, None], torch.full_like(spans, -1)[:, None])
    sizes = torch.nn.functional.pad(sizes, (0, gaps.shape[1] - sizes.shape[1]))
    ends = torch.stack([gaps, sizes], dim=2).flatten(1).cumsum(dim=1)  # of gap, span, gap, span ...
    places = torch.arange(int(lengths.max())).expand(len(lengths), -1).contiguous()
    piece = torch.searchsorted(ends, places, right=True)
    inside = (piece % 2 == 1) & (places < lengths[:, None])
    return torch.where(inside, piece // 2, -1)


def first_of_span(span: Int[Tensor, "batch token"]) -> Bool[Tensor, "batch token"]:
    """Where spans begin, for what ``place_spans`` returns."""
    before = torch.nn.functional.pad(span, (1, 0), value=-1)[:, :-1]
    return (span >= 0) & (span != before)
