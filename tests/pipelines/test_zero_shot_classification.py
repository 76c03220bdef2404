from __future__ import annotations

import pytest
from pipelines.checkpoints import LONG, TEXTS, same

from minitransformer.errors import PipelineError

LABELS = ["politics", "sports", "the sea", "dogs"]


@pytest.mark.parametrize("name", ["bert-nli", "bart-nli"])
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("candidates", [LABELS, "politics, sports,the sea", ["one"]])
@pytest.mark.parametrize("inputs", [TEXTS[0], TEXTS[:1], TEXTS[:3]])
def test_equals_reference(pair, name, multi_label, candidates, inputs):
    mine, theirs = pair("zero-shot-classification", name)
    options = {"candidate_labels": candidates, "multi_label": multi_label}
    same(mine(inputs, **options), theirs(inputs, **options))


def test_other_options(pair):
    mine, theirs = pair("zero-shot-classification", "bert-nli")
    same(mine(TEXTS[0], LABELS), theirs(TEXTS[0], LABELS))
    template = {"hypothesis_template": "It is about {}, is it not?"}
    same(mine(TEXTS[0], LABELS, **template), theirs(TEXTS[0], LABELS, **template))
    same(mine(TEXTS[0], LABELS, multi_class=True), theirs(TEXTS[0], LABELS, multi_class=True))
    same(mine(LONG, LABELS), theirs(LONG, LABELS))  # cuts the text, never the hypothesis
    mine, theirs = pair("zero-shot-classification", "bert-nli", candidate_labels=LABELS, multi_label=True)
    same(mine(TEXTS[1]), theirs(TEXTS[1]))


def test_a_hypothesis_that_leaves_no_room_for_the_text(pair):
    """Beyond the tokenizer's limit, but within the model's positions: then nothing is cut, as in 4.57."""
    mine, theirs = pair("zero-shot-classification", "bert-nli")
    label = "the dog and the fox and the sea and the rain and the river"
    template = {"hypothesis_template": "the " * 20 + "{}" + " the" * 10}
    assert 48 < len(mine.tokenizer("dog", template["hypothesis_template"].format(label))["input_ids"]) <= 56
    same(mine("dog", [label, "x"], **template), theirs("dog", [label, "x"], **template))
    with pytest.raises(PipelineError, match="pass a shorter text or hypothesis_template"):
        mine(TEXTS[0], [f"{label} {label}", "x"], **template)


@pytest.mark.parametrize("name", ["bert-nli", "bart-nli"])
def test_labels_of_several_texts_share_batches(pair, name):
    mine, theirs = pair("zero-shot-classification", name)
    expected = theirs(TEXTS, LABELS)
    for size in (3, 64, "auto"):
        same(mine(TEXTS, LABELS, batch_size=size), expected)


def test_contradiction_is_found_by_its_name(pair):
    mine, theirs = pair("zero-shot-classification", "bert-nli", fresh=True)
    names = {0: "neutral", 1: "entailment", 2: "contradiction"}
    mine.model.config = mine.model.config.replace(id2label=names)
    assert (mine.contradiction_id, mine.entailment_id) == (2, 1)
    mine.compat = "transformers"
    theirs.model.config.id2label, theirs.model.config.label2id = names, {v: k for k, v in names.items()}
    same(mine(TEXTS[0], LABELS, multi_label=True), theirs(TEXTS[0], LABELS, multi_label=True))


def test_labels_without_entailment_warn(pair, caplog):
    mine, theirs = pair("zero-shot-classification", "bert-cls")
    assert "starts with 'entail'" in caplog.text
    same(mine(TEXTS[0], LABELS), theirs(TEXTS[0], LABELS))


def test_bad_input(pair):
    mine, _ = pair("zero-shot-classification", "bert-nli")
    with pytest.raises(PipelineError, match="no candidate_labels: pass"):
        mine(TEXTS[0])
    for labels in ([], "", " , "):
        with pytest.raises(PipelineError, match="candidate_labels"):
            mine(TEXTS[0], labels)
    with pytest.raises(PipelineError, match="must be a text or a list of texts"):
        mine(TEXTS[0], [1, 2])
    for template in ("no place for it", "two {} places {}", "a {name}", "half {", 3):
        with pytest.raises(PipelineError, match="with {} for the label"):
            mine(TEXTS[0], LABELS, hypothesis_template=template)
    with pytest.raises(PipelineError, match="the text is empty"):
        mine("", LABELS)
    with pytest.raises(PipelineError, match="empty list"):
        mine([], LABELS)
