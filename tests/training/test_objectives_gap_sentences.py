"""Gap sentences (PEGASUS): which are chosen, what is left of the text, and how often."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from training.objectives import generator, make_objective, records

from minitransformer.data import as_records
from minitransformer.errors import DataError
from minitransformer.evaluation.rouge import overlap
from minitransformer.training.objectives.gap_sentences import importance


@pytest.fixture(scope="module")
def bart(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_objective("gap_sentences", "bart", tmp_path_factory.mktemp("bart"), keep=0.0, noise=0.0)


def sentences(number: int, seed: int = 0) -> list[list[int]]:
    """Random words, of which the low ones are common."""
    sizes = torch.randint(1, 12, (number,), generator=generator(seed)).tolist()
    return [
        (torch.rand(size, generator=generator(seed + i)) ** 2 * 40 + 10).int().tolist() for i, size in enumerate(sizes)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_importance_is_rouge_1(seed):
    text = sentences(9, 100 * seed)
    for i, score in enumerate(importance(text)):
        rest = [word for sentence in text[:i] + text[i + 1 :] for word in sentence]
        assert score == pytest.approx(overlap(text[i], rest, 1), abs=1e-12)


def test_the_most_important_sentences_leave_a_mask_each(bart):
    examples = bart.examples(records("text"))
    batch = bart.collate(examples, generator())
    before, after = bart.frame.before, bart.frame.after
    for row, example in enumerate(examples):
        text = bart.sentences(example["input_ids"])
        scores = importance(text)
        number = max(1, round(0.3 * len(text)))
        chosen = sorted(sorted(range(len(text)), key=lambda i: -scores[i])[:number])
        target = [i for i in batch["labels"][row].tolist() if i != -100]
        assert target == [*before, *(i for n in chosen for i in text[n]), *after]
        source = batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()
        left = [[bart.mask_id] if n in chosen else text[n] for n in range(len(text))]
        assert source == [*before, *(i for sentence in left for i in sentence), *after]


@pytest.mark.parametrize(("share", "number"), [(0.0, 1), (0.3, 3), (1.0, 9)])
def test_at_least_one_sentence_is_written_and_never_all(bart, share, number, tmp_path):
    objective = make_objective("gap_sentences", "bart", tmp_path, share=share, keep=0.0)
    source, target = objective.take_out(text := sentences(10), generator())
    assert source.count(objective.mask_id) == number
    assert len(source) - number + len(target) == sum(map(len, text))


def test_some_chosen_sentences_stay(tmp_path):
    objective = make_objective("gap_sentences", "bart", tmp_path, share=0.3, keep=0.2)
    chance, hidden = generator(), 0
    for seed in range(300):
        source, _ = objective.take_out(sentences(10, seed), chance)
        hidden += source.count(objective.mask_id)
    assert abs(hidden / 900 - 0.8) < 4 * (0.2 * 0.8 / 900) ** 0.5


def test_noise_changes_the_choice_now_and_then(tmp_path):
    text, chosen = sentences(10), {}
    for noise in (0.0, 0.2):
        objective = make_objective("gap_sentences", "bart", tmp_path, share=0.1, noise=noise)
        chance = generator()
        chosen[noise] = [tuple(objective.take_out(text, chance)[1]) for _ in range(200)]
    assert len(set(chosen[0.0])) == 1
    best = chosen[0.0][0]
    assert 1 < len(set(chosen[0.2])) < len(text) and max(set(chosen[0.2]), key=chosen[0.2].count) == best


def test_texts_of_one_sentence_have_no_gap(bart, tmp_path):
    alone = make_objective("gap_sentences", "bart", tmp_path, packing=False)
    rows = as_records([{"text": "the cat sleeps ."}, {"text": "the cat sleeps . the dog sleeps"}])
    assert [len(alone.sentences(example["input_ids"])) for example in alone.examples(rows)] == [2]
    with pytest.raises(DataError, match="no text of two sentences"):
        alone.examples(rows[:1])
