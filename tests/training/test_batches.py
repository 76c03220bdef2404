from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.errors import TrainingError
from minitransformer.training.batches import EIGHT, Plan, collated, example_length, seed_of, share, share_or_spare
from minitransformer.training.settings import Settings

LENGTHS = [3 + i * 37 % 61 for i in range(300)]


def plan(lengths=LENGTHS, shares=1, **settings):
    return Plan(lengths, Settings(**{"steps": 50, **settings}), shares)


def first(plan, number):
    return list(islice(plan.batches(), number))


@given(number=st.integers(1, 60), batch_size=st.integers(1, 20), epochs=st.integers(1, 4))
def test_every_example_is_seen_once_an_epoch(number, batch_size, epochs):
    p = plan(LENGTHS[:number], steps=None, epochs=float(epochs), batch_size=batch_size)
    assert p.steps == -(-number * epochs // batch_size)
    batches = first(p, p.steps)
    assert all(len(batch) == batch_size for batch in batches)
    # Windows of the shuffled stream are reordered, so that an epoch's border may lie inside of one.
    seen = Counter(i for batch in first(p, p.units_in_window * 50) for i in batch)
    assert set(seen) == set(range(number))
    assert max(seen.values()) - min(seen.values()) <= 1


def test_batches_depend_on_the_seed_and_on_nothing_else():
    assert first(plan(batch_size=8), 50) == first(plan(batch_size=8), 50)
    assert first(plan(batch_size=8), 50) == first(plan(batch_size=8, accumulate=4, learning_rate=1.0, shares=8), 50)
    assert first(plan(batch_size=8), 50) != first(plan(batch_size=8, seed=1), 50)


@pytest.mark.parametrize("settings", [{"batch_size": 8}, {"tokens_per_batch": 1000}])
def test_batches_go_on_where_they_were(settings):
    p = plan(**settings)
    assert list(islice(p.batches(start=37), 20)) == first(p, 57)[37:]


def test_epochs_differ_and_batches_are_not_in_order_of_length():
    p = plan(batch_size=10)
    epoch = [sorted(batch) for batch in first(p, 30)]
    assert epoch != [sorted(batch) for batch in first(p, 60)[30:]]
    longest = [max(LENGTHS[i] for i in batch) for batch in first(p, 30)]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def padding(batches):
    padded = sum(len(batch) * max(LENGTHS[i] for i in batch) for batch in batches)
    return 1 - sum(LENGTHS[i] for batch in batches for i in batch) / padded


def test_batches_hold_examples_of_like_length():
    shuffled = [list(range(i, i + 10)) for i in range(0, 300, 10)]
    assert padding(shuffled) > 0.4
    assert padding(first(plan(batch_size=10), 30)) < 0.1


def test_batches_by_tokens():
    p = plan(tokens_per_batch=1000)
    batches = first(p, 60)
    tokens = [len(batch) * max(LENGTHS[i] for i in batch) for batch in batches]
    assert max(tokens) <= 1000
    assert sum(tokens) / len(tokens) > 600
    assert all(len(batch) % EIGHT == 0 for batch in batches)
    p = plan(steps=None, epochs=2, tokens_per_batch=1000)
    seen = sum(len(batch) for batch in first(p, p.steps))
    assert 600 <= seen < 600 + 1000


def test_batches_that_cannot_be_split():
    with pytest.raises(TrainingError, match=r"batch_size 8 cannot be split evenly over 3 \(processes x accumulate\)"):
        plan(batch_size=8, shares=3)
    with pytest.raises(TrainingError, match=r"a batch of 8, 16, 24, \.\.\. examples cannot be split evenly over 16"):
        plan(tokens_per_batch=1000, shares=16)
    with pytest.raises(TrainingError, match="tokens_per_batch is 100, but 8 examples .* of 63 tokens .* are 504"):
        plan(tokens_per_batch=100)
    with pytest.raises(TrainingError, match="nothing to train on"):
        plan([])


def test_shares_are_the_batch():
    batch = {"input_ids": torch.arange(24).view(12, 2), "labels": torch.arange(12)}
    for world, micro_batches in ((1, 1), (2, 1), (2, 3), (3, 2), (1, 4)):
        parts = [part for rank in range(world) for part in share(batch, rank, world, micro_batches)]
        assert {len(part["labels"]) for part in parts} == {12 // (world * micro_batches)}
        assert sorted(torch.cat([part["labels"] for part in parts]).tolist()) == list(range(12))
        assert all(torch.equal(part["input_ids"][:, 0], 2 * part["labels"]) for part in parts)


def test_a_process_without_rows_gets_one_that_counts_nothing():
    batch = {"labels": torch.arange(5)}
    found = [pair for rank in range(3) for pair in share_or_spare(batch, rank, 3, 2)]
    counted = [(rows["labels"].tolist(), weight) for rows, weight in found]
    assert counted == [([0], 1.0), ([3], 1.0), ([1], 1.0), ([4], 1.0), ([2], 1.0), ([0], 0.0)]


def test_what_is_drawn_in_a_batch_depends_on_the_seeds():
    def draw(examples, generator):
        return {"x": torch.rand(len(examples), generator=generator) + torch.tensor(examples)}

    def batch(*seeds):
        return collated([10, 20, 30], [2, 0], draw, *seeds)["x"]

    assert torch.equal(batch(1, 2), batch(1, 2))
    assert not torch.equal(batch(1, 2), batch(1, 3))
    assert batch(1, 2).int().tolist() == [30, 10]
    assert len({seed_of(i, j) for i in range(30) for j in range(30)}) == 900


def test_the_longer_side_is_an_examples_length():
    assert example_length({"input_ids": [1, 2, 3], "labels": [1, 2, 3, 4]}) == 4
    assert example_length({"input_ids": [1, 2, 3], "labels": 7}) == 3
    assert example_length({"pixels": 0}) == 1
