"""Random choices in all rows at once: every outcome that is allowed, and each as likely as it should be."""

from __future__ import annotations

from collections import Counter

import torch
from training.objectives import generator, near

from minitransformer.training.objectives.tensors import (
    choose_words,
    compact,
    first_of_span,
    pad_rows,
    place_spans,
    random_parts,
)


def test_choosing_words_keeps_to_the_share_and_treats_words_alike():
    starts = torch.tensor([1, 0, 0, 1, 1, 0, 1, 1, 1, 1]).bool().expand(4000, -1)
    chosen = choose_words(torch.ones(4000, 10, dtype=torch.bool), starts, 0.3, generator())
    assert torch.equal(chosen[:, 0], chosen[:, 1]) and torch.equal(chosen[:, 0], chosen[:, 2])
    assert torch.equal(chosen[:, 4], chosen[:, 5])
    assert abs(chosen.float().mean() - 0.3) < 0.02
    singles = chosen[:, 6:].float().mean(0)
    assert singles.max() - singles.min() < 0.05


def test_rows_are_padded_and_compacted():
    rows = pad_rows([[1, 2, 3], [], [4]], -1)
    assert rows.tolist() == [[1, 2, 3], [-1, -1, -1], [4, -1, -1]]
    values, inside = compact(rows, rows != 2, 0)
    assert values.tolist() == [[1, 3, 0], [-1, -1, -1], [4, -1, -1]] and inside.sum() == 8


def test_every_way_to_part_a_number_is_as_likely():
    parts = random_parts(torch.tensor([5] * 6000), torch.tensor([3] * 6000), generator())
    found = Counter(tuple(row) for row in parts.tolist())
    assert len(found) == 6 and all(sum(row) == 5 and min(row) >= 1 for row in found)
    assert all(near(n, 6000, 1 / 6) for n in found.values())
    assert random_parts(torch.tensor([0, 4]), torch.tensor([0, 2]), generator())[0].tolist() == [0, 0]


def test_every_way_to_lay_spans_is_as_likely():
    sizes = torch.tensor([[2, 1]] * 9000)
    span = place_spans(torch.tensor([6] * 9000), sizes, generator())
    found = Counter(tuple(row) for row in span.tolist())
    ways = {(0, 0, -1, 1, -1, -1), (0, 0, -1, -1, 1, -1), (0, 0, -1, -1, -1, 1), (-1, 0, 0, -1, 1, -1)}
    ways |= {(-1, 0, 0, -1, -1, 1), (-1, -1, 0, 0, -1, 1)}
    assert set(found) == ways and all(near(n, 9000, 1 / 6) for n in found.values())
    assert first_of_span(torch.tensor([[0, 0, -1, 1, 2]])).tolist() == [[True, False, False, True, True]]
