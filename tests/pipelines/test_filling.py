"""Several masks filled together, and targets of several word pieces."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from pipelines.checkpoints import same

from minitransformer.errors import PipelineError
from minitransformer.pipelines import pipeline
from minitransformer.pipelines.filling import fill_jointly, score_fillings

ONE = "The little brown [MASK] jumped over the lazy dog."
TWO = "The [MASK] brown fox jumped over the [MASK] dog."
THREE = "The [MASK] brown [MASK] jumped [MASK] the dog"
V = 6
ROUNDING = 1e-12  # of float64: a filling's logarithm moves in its last digits with the number of texts beside it


def toy(ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """A model of six words: each place's distribution depends on all the other ids."""
    R, M = places.shape
    weights = torch.arange(1, ids.shape[1] + 1)
    seen = (ids * weights).sum(dim=1)[:, None] * 31 + places * 17  # (R, M)
    logits = torch.sin(seen[..., None] * torch.arange(1.0, V + 1.0)) * 3
    return logits.double().log_softmax(dim=-1)


def test_probabilities_of_all_fillings_sum_to_one_and_the_search_finds_the_best():
    ids, places = torch.tensor([2, 9, 9, 1, 9]), torch.tensor([1, 2, 4])
    every = score_fillings(ids, places, torch.tensor(list(product(range(V), repeat=3))), toy)
    totals = every.logprobs.sum(dim=1)
    assert abs(float(totals.exp().sum()) - 1) < 1e-12
    found = fill_jointly(ids, places, toy, num_beams=V**3)
    torch.testing.assert_close(found.logprobs.sum(dim=1), totals.sort(descending=True).values)
    assert found.tokens[0].tolist() == every.tokens[totals.argmax()].tolist()
    assert found.ids[0, places].tolist() == found.tokens[0].tolist()
    assert sorted(found.steps[0].tolist()) == [0, 1, 2]
    greedy = fill_jointly(ids, places, toy, num_beams=1)
    again = score_fillings(ids, places, greedy.tokens, toy)
    assert again.logprobs.tolist() == greedy.logprobs.tolist() and again.steps.tolist() == greedy.steps.tolist()


def test_the_surest_mask_is_filled_first():
    ids, places = torch.tensor([2, 9, 9, 1, 9]), torch.tensor([1, 2, 4])
    first = toy(ids[None], places[None])[0]  # (3, V)
    found = fill_jointly(ids, places, toy, num_beams=V)
    surest = int(first.amax(dim=1).argmax())
    assert found.steps[:, surest].tolist() == [0] * V
    for tokens, logprobs in zip(found.tokens, found.logprobs, strict=True):
        assert float(logprobs[surest]) == float(first[surest, tokens[surest]])


def test_joint_filling_by_hand(pair):
    mine, _ = pair("fill-mask", "bert-mlm")
    answers = mine(TWO, joint=True, top_k=3, return_token_scores=True)
    assert len(answers) == 3 and [a["score"] for a in answers] == sorted((a["score"] for a in answers), reverse=True)
    encoded = mine.tokenizer(TWO, return_tensors="pt")
    for answer in answers:
        ids, total = encoded["input_ids"].clone(), 0.0
        places = mine.find_masks(ids[0]).tolist()
        for step in (0, 1):
            with torch.no_grad():
                logprobs = mine.model(**{**encoded, "input_ids": ids}).logits[0].log_softmax(dim=-1)
            open_places = [place for place in places if ids[0, place] == mine.tokenizer.mask_token_id]
            place = max(open_places, key=lambda place, at=logprobs: float(at[place].max()))
            number = places.index(place)
            token = answer["token"][number]
            assert answer["token_scores"][number]["step"] == step
            same(answer["token_scores"][number]["logprob"], float(logprobs[place, token]))
            total += float(logprobs[place, token])
            ids[0, place] = token
        same(answer["logprob"], total)
        same(answer["score"], float(torch.tensor(total).exp()))
        assert answer["token_str"] == [mine.tokenizer.decode([token]) for token in answer["token"]]
        assert answer["sequence"] == mine.tokenizer.decode(ids[0], skip_special_tokens=True)


def test_one_mask_filled_jointly_is_the_usual_answer(pair):
    mine, _ = pair("fill-mask", "bert-mlm")
    joint, plain = mine(ONE, joint=True), mine(ONE)
    assert [a["token"] for a in joint] == [[a["token"]] for a in plain]
    same([a["score"] for a in joint], [a["score"] for a in plain])
    assert [a["sequence"] for a in joint] == [a["sequence"] for a in plain]


def test_a_wider_search_finds_no_worse_fillings(pair):
    mine, _ = pair("fill-mask", "bert-mlm")
    best = [mine(THREE, joint=True, num_beams=beams)[0]["logprob"] for beams in (1, 4, 40)]
    for narrow, wide in pairwise(best):
        assert wide >= narrow - ROUNDING
    among = mine(THREE, joint=True, targets=["fox", "dog", "the"])
    assert {word for answer in among for word in answer["token_str"]} <= {"fox", "dog", "the"}
    assert among[0]["logprob"] <= best[-1] + ROUNDING


def test_lists_and_streams_of_joint_fillings(pair):
    mine, _ = pair("fill-mask", "bert-mlm")
    expected = [mine(text, joint=True) for text in (ONE, TWO)]
    assert mine([ONE, TWO], joint=True) == expected == list(mine(iter([ONE, TWO]), joint=True))
    assert mine([TWO], joint=True) == expected[1]


def test_whole_targets_by_the_chain_rule(pair):
    mine, _ = pair("fill-mask", "bert-mlm")
    targets = ["fox", "dogmatic", "foxy", "sea"]
    pieces = [mine.tokenizer(word, add_special_tokens=False)["input_ids"] for word in targets]
    assert sorted(len(p) for p in pieces)[:2] == [1, 1] and len({len(p) for p in pieces}) > 2
    answers = mine(ONE, targets=targets, whole_targets=True, top_k=9)
    assert [a["score"] for a in answers] == sorted((a["score"] for a in answers), reverse=True)
    found = {answer["token_str"]: answer for answer in answers}
    assert set(found) == set(targets)
    for word, ids in zip(targets, pieces, strict=True):
        assert found[word]["token"] == ids
        masks = ONE.replace("[MASK]", " ".join(["[MASK]"] * len(ids)))
        # the same number as the joint filling of so many masks with these pieces
        encoded = mine.tokenizer(masks, return_tensors="pt")
        places = mine.find_masks(encoded["input_ids"][0])
        alone = score_fillings(encoded["input_ids"][0], places, torch.tensor([ids]), mine.runner(encoded))
        same(found[word]["logprob"], float(alone.logprobs.sum()))
        same(found[word]["score"], float(alone.logprobs.sum().exp()))
    plain = {answer["token_str"]: answer for answer in mine(ONE, targets=["fox", "sea"])}
    same(found["fox"]["score"], plain["fox"]["score"])
    assert found["fox"]["sequence"] == plain["fox"]["sequence"]


def test_the_likeliest_joint_filling_is_the_best_whole_target(pair):
    mine, _ = pair("fill-mask", "bert-mlm")
    best = mine(ONE.replace("[MASK]", "[MASK] [MASK]"), joint=True, num_beams=50)[0]
    word = mine.tokenizer.decode(best["token"])
    answer = mine(ONE, targets=[word, "foxy"], whole_targets=True)[0]
    if answer["token"] == best["token"]:  # the pieces are how the word is tokenized
        same(answer["logprob"], best["logprob"])
    else:
        assert answer["logprob"] <= best["logprob"]


@pytest.mark.parametrize("normalize", ["targets", "pieces"])
def test_normalized_scores(pair, normalize):
    mine, _ = pair("fill-mask", "bert-mlm")
    targets = ["fox", "dogmatic", "foxy"]
    answers = mine(ONE, targets=targets, whole_targets=True, normalize=normalize)
    logprobs = torch.tensor([answer["logprob"] for answer in answers], dtype=torch.float64)
    if normalize == "targets":
        expected = logprobs.softmax(0)
    else:
        expected = (logprobs / torch.tensor([len(answer["token"]) for answer in answers])).exp()
    same([answer["score"] for answer in answers], expected.tolist())
    assert [a["score"] for a in answers] == sorted((a["score"] for a in answers), reverse=True)


def test_whole_targets_of_several_masks(pair):
    mine, _ = pair("fill-mask", "bert-mlm")
    first, second = mine(TWO, targets=["foxy", "dog"], whole_targets=True)
    assert {a["token_str"] for a in first} == {a["token_str"] for a in second} == {"foxy", "dog"}
    assert all(a["sequence"].count("[MASK]") == 1 for a in (*first, *second))
    assert first != second


def test_pieces_are_those_that_the_target_has_in_the_text(folder):
    pipe = pipeline("fill-mask", folder("roberta", "ForMaskedLM"), dtype=torch.float64, device="cpu")
    answer = pipe("The little <mask> had a garden.", targets=["rabbit"], whole_targets=True)[0]
    assert pipe.tokenizer.convert_ids_to_tokens(answer["token"])[0].startswith("Ġ")  # a word of its own
    assert answer["sequence"] == "The little rabbit had a garden."
    glued = pipe("The un<mask> had a garden.", targets=["rabbit"], whole_targets=True)[0]
    assert not pipe.tokenizer.convert_ids_to_tokens(glued["token"])[0].startswith("Ġ")


def test_scores_of_tokens(pair):
    mine, _ = pair("fill-mask", "bert-mlm")
    for options in ({}, {"targets": ["fox", "dog"]}):
        for answer in mine(ONE, return_token_scores=True, **options):
            (token,) = answer.pop("token_scores")
            assert (token["token"], token["token_id"]) == (answer["token_str"], answer["token"])
            same(answer["score"], float(torch.tensor(token["logprob"], dtype=torch.float64).exp()))
    whole = mine(ONE, targets=["foxy"], whole_targets=True, return_token_scores=True)[0]
    same(sum(token["logprob"] for token in whole["token_scores"]), whole["logprob"])
    assert [token["token_id"] for token in whole["token_scores"]] == whole["token"]


def test_bad_input(pair):
    mine, _ = pair("fill-mask", "bert-mlm")
    for options, message in (
        ({"whole_targets": True}, "pass targets="),
        ({"whole_targets": True, "targets": ["fox"], "joint": True}, "exclude each other"),
        ({"targets": ["fox"], "normalize": "pieces"}, "no meaning without whole_targets=True"),
        ({"num_beams": 3}, "no meaning without joint=True"),
        ({"joint": True, "num_beams": 0}, "num_beams must be"),
        ({"whole_targets": True, "targets": ["fox"], "normalize": "words"}, "normalize must be 'targets' or 'pieces'"),
        ({"whole_targets": True, "targets": ["fox", 3]}, "targets must be a text or a list of texts"),
        ({"whole_targets": True, "targets": []}, "targets is empty"),
        ({"whole_targets": True, "targets": [" "]}, "has no tokens"),
        ({"whole_targets": True, "targets": ["x" * 60]}, "the model has positions for 56"),
    ):
        with pytest.raises(PipelineError, match=message):
            mine(ONE, **options)
