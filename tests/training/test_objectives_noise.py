"""Objectives that damage texts: how much they damage, which parts never, and what can be told from what is left."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from training.objectives import generator, gradients, make_model, make_objective, near, records

from minitransformer import AutoModelForMaskedLM, AutoModelForPreTraining
from minitransformer.data import as_records
from minitransformer.errors import TrainingError
from minitransformer.training.objectives import ElectraPair, ReplacedTokens
from minitransformer.training.objectives.replaced_tokens import draw
from minitransformer.training.objectives.tensors import pad_rows

LENGTHS = [3, 7, 20, 41, 64] * 60


def texts(
    first: int, last: int, lengths: list[int] = LENGTHS, before: Any = (), after: Any = ()
) -> list[dict[str, Any]]:
    """Examples of random ids from ``first`` to ``last``."""
    g = generator(5)
    rows = (torch.randint(first, last + 1, (n,), generator=g).tolist() for n in lengths)
    return [{"input_ids": [*before, *row, *after]} for row in rows]


# -------------------------------------------------------------------------------------------- masked language modelling


@pytest.fixture(scope="module")
def mlm(tmp_path_factory) -> Any:
    return make_objective("masked_lm", "bert", tmp_path_factory.mktemp("bert"), max_length=80)


def test_masking_has_the_papers_rates(mlm):
    examples = texts(5, 60, before=mlm.frame.before, after=mlm.frame.after)
    batch = mlm.collate(examples, generator())
    original = pad_rows([e["input_ids"] for e in examples], mlm.pad_id)
    asked = batch["labels"] != -100
    assert asked.sum(1).tolist() == [max(1, round(0.15 * n)) for n in LENGTHS]
    assert torch.equal(batch["labels"][asked], original[asked])
    assert torch.equal(batch["input_ids"][~asked], original[~asked])
    assert not (asked & torch.isin(original, torch.tensor(mlm.tokenizer.all_special_ids))).any()
    total, now = int(asked.sum()), batch["input_ids"][asked]
    kept = int((now == original[asked]).sum())
    assert near(int((now == mlm.mask_id).sum()), total, 0.8)
    assert near(kept, total, 0.1 + 0.1 / len(mlm.ordinary_ids))
    assert not torch.isin(now[now != mlm.mask_id], torch.tensor(mlm.tokenizer.all_special_ids)).any()
    places = asked.nonzero()[:, 1][torch.tensor(LENGTHS).repeat_interleave(asked.sum(1)) == 64]
    assert near(int((places <= 32).sum()), len(places), 0.5)  # anywhere


def test_a_text_of_special_tokens_only_is_left_alone(mlm):
    batch = mlm.collate([{"input_ids": mlm.frame.before + mlm.frame.after}, *texts(5, 60, [9])], generator())
    assert (batch["labels"][0] == -100).all() and (batch["labels"][1] != -100).any()


def test_whole_words_are_masked_wholly(tmp_path):
    objective = make_objective("masked_lm", "bert", tmp_path, max_length=48, whole_word=True)
    words = [{"text": " ".join(["paris", "xyz", "is", "wasps", "cat", "kqj"] * 30)}]
    examples = objective.examples(as_records(words))
    assert [len(e["input_ids"]) for e in examples[:2]] == [48, 48]
    broken = asked_tokens = tokens = 0
    for seed in range(60):
        batch = objective.collate(examples, generator(seed))
        assert set(batch) == {"input_ids", "attention_mask", "labels"}
        for example, labels in zip(examples, batch["labels"].tolist(), strict=True):
            groups: list[list[bool]] = []
            for start, label, i in zip(example["word_starts"], labels, example["input_ids"], strict=False):
                if start:
                    groups.append([])
                groups[-1].append(label != -100)
                if i in objective.tokenizer.all_special_ids:
                    assert label == -100
            broken += sum(len(set(group)) > 1 for group in groups)
            asked_tokens += sum(sum(group) for group in groups)
            tokens += sum(map(len, groups)) - 2
    assert broken == 0
    assert abs(asked_tokens / tokens - 0.15) < 0.01


def test_packing_leaves_little_padding_and_loses_nothing(mlm):
    examples = mlm.examples(records("text"))
    sizes = [len(e["input_ids"]) for e in examples]
    assert set(sizes[:-1]) == {80}
    ids = [i for e in examples for i in e["input_ids"][1:-1]]
    texts_apart = mlm.tokenizer([r["text"] for r in records("text")], add_special_tokens=False)["input_ids"]
    expected = [i for row in texts_apart for i in [*row, mlm.tokenizer.sep_token_id]][:-1]
    assert ids == expected
    assert all(e["input_ids"][0] == mlm.tokenizer.cls_token_id for e in examples)
    assert all(e["input_ids"][-1] == mlm.tokenizer.sep_token_id for e in examples)


def test_long_texts_are_cut_aloud_without_packing(tmp_path, caplog):
    objective = make_objective("masked_lm", "bert", tmp_path, max_length=12, packing=False)
    examples = objective.examples(records("text"))
    assert {len(e["input_ids"]) for e in examples} == {12} and len(examples) == len(records("text"))
    assert f"{len(examples)} of {len(examples)} texts are longer than 10 tokens" in caplog.text


# --------------------------------------------------------------------------------------------------- language modelling


def test_causal_packing_ends_each_text_and_loses_nothing(tmp_path):
    objective = make_objective("causal_lm", "gpt2", tmp_path, max_length=32)
    examples = objective.examples(records("text"))
    assert all(len(e["input_ids"]) == 32 for e in examples[:-1])
    end = objective.tokenizer.eos_token_id
    apart = objective.tokenizer([r["text"] for r in records("text")])["input_ids"]
    flat = [i for e in examples for i in e["input_ids"]]
    assert flat == [end] + [i for row in apart for i in [*row, end]]
    lines = make_objective("causal_lm", "gpt2", tmp_path, packing=False).examples(records("labels"))
    assert all(e["input_ids"][0] == e["input_ids"][-1] == end for e in lines)


def test_a_begin_token_of_its_own_goes_before_each_text(tmp_path):
    objective = make_objective("causal_lm", "bart", tmp_path, config={}, max_length=16)
    flat = [i for e in objective.examples(records("labels")) for i in e["input_ids"]]
    begin, end = objective.tokenizer.bos_token_id, objective.tokenizer.eos_token_id
    assert begin != end and flat.count(begin) == flat.count(end) == len(records("labels"))
    assert [a for a, b in zip(flat[1:], flat, strict=False) if b == end] == [begin] * (flat.count(end) - 1)


# ------------------------------------------------------------------------------------------------------ span corruption


@pytest.fixture(scope="module")
def t5(tmp_path_factory) -> Any:
    return make_objective("span_corruption", "t5", tmp_path_factory.mktemp("t5"), max_length=60)


def test_input_and_target_give_back_the_text(t5):
    examples = texts(5, 250)
    batch = t5.collate(examples, generator())
    sentinels = t5.sentinels.tolist()
    sizes: Counter[int] = Counter()
    for row, example in enumerate(examples):
        source = batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()
        target = [i for i in batch["labels"][row].tolist() if i != -100]
        assert source[-1] == target[-1] == t5.end_id and source[0] == t5.frame.before[0]
        source, target = source[1:-1], target[:-1]
        used = [i for i in source if i in sentinels]
        assert used == sentinels[: len(used)]
        assert [i for i in target if i in sentinels] == sentinels[: len(used) + 1]
        assert target[-1] == sentinels[len(used)]  # "and so to the end"
        spans: dict[int, list[int]] = {}
        for i in target:
            if i in sentinels:
                last = spans.setdefault(i, [])
            else:
                last.append(i)
        assert [j for i in source for j in spans.get(i, [i])] == example["input_ids"]
        lengths = [len(spans[i]) for i in used]
        assert sum(lengths) == max(1, round(0.15 * len(example["input_ids"])))
        if len(example["input_ids"]) == 64:
            sizes.update(lengths)
    assert sum(n * size for size, n in sizes.items()) / sizes.total() == pytest.approx(10 / 3)  # 10 of 64, in 3 spans
    assert max(sizes) > 5 and min(sizes) == 1
    assert (batch["attention_mask"] == (batch["input_ids"] != t5.pad_id)).all()


def test_blocks_shrink_to_the_length_that_was_asked_for(t5):
    examples = t5.examples(records("text"))
    batch = t5.collate(examples[:-1], generator())
    assert batch["input_ids"].shape[1] == 60 and (batch["attention_mask"] == 1).all()
    longer = t5.collate([{"input_ids": [9] * (t5.text_length + 1)}], generator())
    assert longer["input_ids"].shape[1] > 60


@pytest.mark.parametrize("length", [2, 3, 4, 5, 6])
def test_short_texts_lose_something_but_not_all(t5, length):
    batch = t5.collate(texts(5, 250, [length] * 20), generator())
    kept = (batch["input_ids"] >= 5) & (batch["input_ids"] < 251)
    assert (kept.sum(1) == length - 1).all()


# ------------------------------------------------------------------------------------------------------------ denoising


@pytest.fixture(scope="module")
def bart(tmp_path_factory) -> Any:
    return make_objective("denoising", "bart", tmp_path_factory.mktemp("bart"), permute_sentences=False)


def test_infilling_keeps_the_order_and_has_the_papers_rates(bart):
    examples = texts(5, 250)
    batch = bart.collate(examples, generator())
    before, after = bart.frame.before, bart.frame.after
    kept = masks = total = 0
    for row, example in enumerate(examples):
        ids = example["input_ids"]
        source = batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()
        target = [i for i in batch["labels"][row].tolist() if i != -100]
        assert target == before + ids + after
        assert source[:1] == before and source[-1:] == after
        assert len(source) <= len(target)
        rest = [i for i in source[1:-1] if i != bart.mask_id]
        assert len(rest) == len(ids) - round(0.3 * len(ids))
        walk = iter(ids)
        assert all(i in walk for i in rest)  # in this order
        if len(ids) == 64:
            kept, masks, total = kept + len(rest), masks + source.count(bart.mask_id), total + len(ids)
    # 19 of 64 are taken out. Spans of 3 on average, the last one cut short: about 6.9 of them
    assert abs(masks / (total / 64) - 6.9) < 0.3


def test_span_lengths_are_poisson(bart):
    lengths = torch.full((400,), 200)
    span, insert = bart.take_out(lengths, torch.ones(400, 200, dtype=torch.bool), generator())
    counts = torch.zeros(400, 100).scatter_add(1, span.clamp(min=0), (span >= 0).float())
    sizes = counts[counts > 0]
    inserted, spans = int(insert.sum()), len(sizes) + int(insert.sum())
    assert near(inserted, spans, 0.0498) or abs(inserted / spans - 0.0498) < 0.006  # e^-3
    whole = Counter(sizes.int().tolist())
    for size, share in {1: 0.149, 2: 0.224, 3: 0.224, 4: 0.168, 6: 0.050}.items():
        assert abs(whole[size] / spans - share) < 0.02, size  # the last span of a text is cut short now and then
    assert (insert & (span >= 0)).sum() == 0


def test_sentences_change_places_and_nothing_else(tmp_path):
    objective = make_objective("denoising", "bart", tmp_path, mask_rate=0.0)
    examples = objective.examples(records("text"))
    batch = objective.collate(examples, generator())
    moved = 0
    for source, target in zip(batch["input_ids"], batch["labels"], strict=True):
        a, b = ([i for i in ids.tolist() if i not in (-100, objective.pad_id)][1:-1] for ids in (source, target))
        assert sorted(a) == sorted(b)
        neighbours = set(zip(a, a[1:], strict=False))
        assert all((i, j) in neighbours or objective.ends_sentence[i] for i, j in zip(b, b[1:], strict=False))
        moved += a != b
    assert moved
    assert objective.ends_sentence.sum() >= 3
    assert (batch["input_ids"][:, 0] == objective.frame.before[0]).all()
    plain = make_objective("denoising", "bart", tmp_path, mask_rate=0.0, permute_sentences=False)
    batch = plain.collate(examples, generator())
    assert torch.equal(batch["input_ids"][batch["labels"] != -100], batch["labels"][batch["labels"] != -100])


# ------------------------------------------------------------------------------------------------------ replaced tokens


@pytest.fixture(scope="module")
def electra(tmp_path_factory) -> Any:
    return make_objective("replaced_tokens", "electra", tmp_path_factory.mktemp("electra"), max_length=40)


def test_every_word_that_is_asked_for_is_hidden(electra):
    batch = electra.collate(electra.examples(records("text")), generator())
    asked = batch["labels"] != -100
    assert (batch["input_ids"][asked] == electra.mask_id).all() and batch["noise"].shape == asked.shape
    assert electra.counts(batch) == {"tokens": int(asked.sum()), "judged": int(batch["attention_mask"].sum())}


def test_guesses_are_drawn_by_their_probabilities():
    logits = torch.tensor([0.0, 1.0, 2.0, -30.0]).expand(20000, -1)
    drawn = draw(logits, torch.rand(20000, generator=generator()))
    for i, share in enumerate(logits[0].softmax(0).tolist()):
        assert near(int((drawn == i).sum()), 20000, max(share, 1e-9)), i
    assert draw(logits[:2], torch.tensor([0.0, 1.0])).tolist() in ([0, 2], [0, 3])  # never beyond the last one


def test_a_lucky_guess_counts_as_original_and_only_asked_words_change(electra):
    batch = electra.collate(electra.examples(records("text")), generator())
    pair, seen = make_model(electra), []
    pair.discriminator.register_forward_pre_hook(lambda m, a, kw: seen.append(kw.get("input_ids")), with_kwargs=True)
    labels = batch["labels"]
    original = torch.where(labels == -100, batch["input_ids"], labels)
    with torch.no_grad():  # a generator that is always right
        pair.generator.head.forward = lambda x: torch.nn.functional.one_hot(labels[labels != -100][None], 90) * 1e4
    loss = electra.loss(pair, batch, electra.counts(batch))
    assert torch.equal(seen[0], original)
    told = pair.discriminator(original, batch["attention_mask"], labels=torch.zeros_like(original)).loss
    torch.testing.assert_close(loss, 50 * told)


def test_no_gradient_flows_through_the_drawn_words(electra):
    batch = electra.collate(electra.examples(records("text")), generator())
    pair = make_model(electra)
    found = []
    for weight in (0.0, 50.0):
        objective = ReplacedTokens(electra.tokenizer, electra.config, max_length=40, discriminator_weight=weight)
        found.append(gradients(pair, objective.loss(pair, batch, objective.counts(batch))))
    own = [name for name in found[0] if name.startswith("generator.") and "decoder.weight" not in name]
    assert len(own) > 5
    for name in own:
        torch.testing.assert_close(found[0][name], found[1][name])
    shared = "discriminator.backbone.embeddings.word.weight"
    assert not torch.equal(found[0][shared], found[1][shared])


def test_the_pair_shares_its_embeddings_and_is_saved_as_two(electra, tmp_path):
    pair = make_model(electra)
    assert isinstance(pair, ElectraPair) and pair.config is pair.discriminator.config
    word = pair.discriminator.backbone.embeddings.word.weight
    assert pair.generator.backbone.embeddings.word.weight is word and pair.generator.head.output.weight is word
    assert pair.generator.config.hidden_size < pair.config.hidden_size
    assert pair.num_parameters() == sum(p.numel() for p in set(pair.parameters()))
    pair.save_pretrained(tmp_path)
    inputs = torch.tensor([[2, 7, 8, 9, 3]])
    for auto, part, folder in (
        (AutoModelForPreTraining, pair.discriminator, tmp_path),
        (AutoModelForMaskedLM, pair.generator, tmp_path / "generator"),
    ):
        again = auto.from_pretrained(folder, dtype=torch.float64)
        torch.testing.assert_close(again(inputs).logits, part.eval()(inputs).logits)
    assert electra.build(pair) is pair
    with pytest.raises(TrainingError, match="trains an ElectraForPreTraining, not ElectraForMaskedLM"):
        electra.build(pair.generator)
