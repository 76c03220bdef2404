from __future__ import annotations

import pytest
import torch
from pipelines.checkpoints import LONG, TAGS, TEXTS, same

from minitransformer.errors import PipelineError
from minitransformer.pipelines.entities import group_entities, resolve_overlaps

STRATEGIES = ["none", "simple", "first", "average", "max"]
WORDS = "My name is Sarah Jessica Parker xyz and I live in Brooklyn".split()

pytestmark = pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")


@pytest.mark.parametrize("name", ["bert-ner", "gpt2-ner"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equals_reference(pair, name, strategy):
    mine, theirs = pair("ner", name)
    for inputs in (TEXTS[0], TEXTS[:1], TEXTS[1:4], "unknown ☃ here"):
        expected = theirs(inputs, aggregation_strategy=strategy)
        same(mine(inputs, aggregation_strategy=strategy), expected)
    assert len({entity["entity"] for entities in mine(TEXTS) for entity in entities}) > 3  # not all alike


@pytest.mark.parametrize("labels", [[], ["O", "B-PER"], ["PER"]])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ignored_labels(pair, labels, strategy):
    mine, theirs = pair("token-classification", "bert-ner")
    options = {"ignore_labels": labels, "aggregation_strategy": strategy}
    same(mine(TEXTS[0], **options), theirs(TEXTS[0], **options))


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed")
@pytest.mark.parametrize(
    "old",
    [
        {"grouped_entities": True},
        {"grouped_entities": False},
        {"grouped_entities": True, "ignore_subwords": True},
        {"ignore_subwords": True},
    ],
)
def test_old_names(pair, old):
    mine, theirs = pair("ner", "bert-ner")
    same(mine(TEXTS[0], **old), theirs(TEXTS[0], **old))


@pytest.mark.parametrize("stride", [0, 7])
@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_long_texts_in_strides(pair, stride, strategy):
    mine, theirs = pair("ner", "bert-ner")
    options = {"stride": stride, "aggregation_strategy": strategy, "ignore_labels": []}
    expected = theirs([LONG, TEXTS[0]], **options)
    assert expected[0][-1]["end"] > 400
    for size in (1, 2, 16, "auto"):
        same(mine([LONG, TEXTS[0]], batch_size=size, **options), expected)


def test_long_text_without_stride_is_cut_and_says_so(pair, caplog):
    mine, theirs = pair("ner", "bert-ner", fresh=True)
    same(mine(LONG), theirs(LONG))
    assert "tagged up to there only; pass stride" in caplog.text


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("delimiter", [None, " ", "--"])
def test_split_words(pair, strategy, delimiter):
    mine, theirs = pair("ner", "bert-ner")
    options = {"is_split_into_words": True, "aggregation_strategy": strategy}
    if delimiter:
        options["delimiter"] = delimiter
    for inputs in (WORDS, [WORDS, WORDS[:4]]):
        same(mine(inputs, **options), theirs(inputs, **options))
    options |= {"aggregation_strategy": "simple", "stride": 3}
    same(mine(WORDS * 6, **options), theirs(WORDS * 6, **options))


def test_offset_mapping(pair):
    mine, theirs = pair("ner", "bert-ner")
    ids = mine.tokenizer(TEXTS[0])["input_ids"]
    offsets = [(i, i + 1) for i in range(len(ids))]
    same(mine(TEXTS[0], offset_mapping=offsets), theirs(TEXTS[0], offset_mapping=offsets))
    assert mine([TEXTS[0]] * 2, offset_mapping=[offsets, offsets]) == [mine(TEXTS[0], offset_mapping=offsets)] * 2


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_batches(pair, strategy):
    texts = [*TEXTS, "dog", "a brown fox"]
    mine, theirs = pair("ner", "bert-ner")
    expected = theirs(texts, aggregation_strategy=strategy)
    for size in (2, 9, "auto"):
        same(mine(texts, aggregation_strategy=strategy, batch_size=size), expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_scores_of_tokens(pair, strategy):
    mine, _ = pair("ner", "bert-ner")
    options = {"aggregation_strategy": strategy, "ignore_labels": []}
    entities = mine(TEXTS[0], return_token_scores=True, **options)
    found = [entity.pop("token_scores") for entity in entities]
    same(entities, mine(TEXTS[0], **options))  # nothing else changes
    encoded = mine.tokenizer(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        expected = mine.model(**encoded).logits[0].softmax(dim=-1)[1:-1]
    tokens = [token for of_entity in found for token in of_entity]
    assert [token["token_id"] for token in tokens] == encoded["input_ids"][0, 1:-1].tolist()
    for token, scores in zip(tokens, expected.tolist(), strict=True):
        same(token["scores"], dict(zip(TAGS, scores, strict=True)))
        assert token["token"].removeprefix("##") == TEXTS[0][token["start"] : token["end"]].lower()
    for entity, of_entity in zip(entities, found, strict=True):
        assert (entity["start"], entity["end"]) == (of_entity[0]["start"], of_entity[-1]["end"])


def test_options_of_the_pipeline(pair):
    mine, theirs = pair("ner", "bert-ner", aggregation_strategy="max", ignore_labels=["LOC"])
    same(mine(TEXTS[0]), theirs(TEXTS[0]))
    same(mine(TEXTS[0], aggregation_strategy="none"), theirs(TEXTS[0], aggregation_strategy="none"))


def test_grouping():
    tags = ["B-PER", "I-PER", "B-PER", "O", "O", "LOC", "I-LOC", "I-PER"]
    groups = group_entities([{"entity": tag} for tag in tags])
    assert [len(group) for group in groups] == [2, 1, 2, 2, 1]


def test_overlaps():
    def entity(start: int, end: int, score: float) -> dict[str, float]:
        return {"start": start, "end": end, "score": score}

    short, long, sure, apart = entity(0, 3, 0.9), entity(2, 9, 0.1), entity(2, 9, 0.8), entity(9, 10, 0.1)
    assert resolve_overlaps([apart, short, long, sure]) == [sure, apart]
    assert resolve_overlaps([]) == []


def test_bad_input(pair):
    mine, _ = pair("ner", "bert-ner")
    with pytest.raises(PipelineError, match="not 'frist'. Did you mean 'first'"):
        mine(TEXTS[0], aggregation_strategy="frist")
    with pytest.raises(PipelineError, match="stride needs an aggregation_strategy"):
        mine(TEXTS[0], stride=4)
    with pytest.raises(PipelineError, match="stride must be an integer from 0 to 45, not 46"):
        mine(TEXTS[0], stride=46, aggregation_strategy="simple")
    for bad in ("", None, 3, [TEXTS[0], ""], []):
        with pytest.raises(PipelineError, match="empty|None|int"):
            mine(bad)
    with pytest.raises(PipelineError, match="takes a list of words"):
        mine(TEXTS[0], is_split_into_words=True)
    for bad in (torch.zeros(2), 0, "", []):
        with pytest.raises(PipelineError, match="is_split_into_words must be True or False"):
            mine(TEXTS[0], is_split_into_words=bad)
