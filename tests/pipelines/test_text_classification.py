from __future__ import annotations

import pytest
from pipelines.checkpoints import LONG, TEXTS, same

from minitransformer.errors import PipelineError

PAIR = {"text": "I live in New York City.", "text_pair": "The dog was asleep."}


@pytest.mark.parametrize("name", ["bert-cls", "gpt2-cls", "bart-nli"])
@pytest.mark.parametrize("options", [{}, {"top_k": 1}, {"top_k": 2}, {"top_k": None}])
@pytest.mark.parametrize("inputs", [TEXTS[0], TEXTS[:1], TEXTS[:4], PAIR, [PAIR, PAIR]])
def test_equals_reference(pair, name, options, inputs):
    mine, theirs = pair("text-classification", name)
    same(mine(inputs, **options), theirs(inputs, **options))


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none", "SIGMOID"])
def test_function_to_apply(pair, function):
    mine, theirs = pair("sentiment-analysis", "bert-cls")
    options = {"function_to_apply": function, "top_k": None}
    same(mine(TEXTS[0], **options), theirs(TEXTS[0], **options))


def test_default_function_follows_the_config(pair):
    mine, theirs = pair("text-classification", "bert-cls", fresh=True)
    for kind in ("regression", "multi_label_classification", "single_label_classification", None):
        mine.model.config = mine.model.config.replace(problem_type=kind)
        theirs.model.config.problem_type = kind
        same(mine(TEXTS[0], top_k=None), theirs(TEXTS[0], top_k=None))
        same(mine(TEXTS[0], function_to_apply="default"), theirs(TEXTS[0]))


@pytest.mark.filterwarnings("ignore:.return_all_scores. is now deprecated")
@pytest.mark.parametrize("options", [{"top_k": None}, {"return_all_scores": True}, {"return_all_scores": False}])
def test_options_of_the_pipeline_and_old_names(pair, options):
    mine, theirs = pair("text-classification", "bert-cls", **options)
    for inputs in (TEXTS[0], TEXTS[:3], PAIR):
        same(mine(inputs), theirs(inputs))
    mine, theirs = pair("text-classification", "bert-cls")
    for inputs in (TEXTS[0], TEXTS[:3]):
        same(mine(inputs, **options), theirs(inputs, **options))


def test_tokenizer_options_and_old_pairs(pair):
    mine, theirs = pair("text-classification", "bert-cls")
    for options in ({"truncation": True}, {"truncation": True, "max_length": 9}, {"padding": "max_length"}):
        text = LONG if "truncation" in options else TEXTS[0]
        same(mine(text, **options), theirs(text, **options))
    old = [[[PAIR["text"], PAIR["text_pair"]]]]
    same(mine(old), theirs(old))


@pytest.mark.parametrize("name", ["bert-cls", "bart-nli", "gpt2-cls"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_batches(pair, name, side):
    mine, theirs = pair("text-classification", name, fresh=True)
    if mine.tokenizer.pad_token is None:
        mine.tokenizer.pad_token = mine.tokenizer.eos_token
    mine.tokenizer.padding_side = side  # nothing of it may show
    texts = [*TEXTS, "dog", "a brown fox"]
    expected = theirs(texts, top_k=None)
    for size in (2, 9, "auto"):
        same(mine(texts, top_k=None, batch_size=size), expected)


def test_bad_input(pair):
    mine, _ = pair("text-classification", "bert-cls")
    for bad, message in (
        ("", "the text is empty"),
        (None, "the text is None"),
        (3, "of type int"),
        ([TEXTS[0], None], "input 1: the text is None"),
        ([["a", "b"]], 'for a pair of texts pass {"text"'),
        ({"text": "a", "pair": "b"}, "has the key 'pair'"),
        ({"text": "a", "text_pair": ""}, "second text of the pair is empty"),
        ([], "empty list"),
        (LONG, r"the text has \d+ tokens, and the model has positions for 56: pass truncation=True"),
    ):
        with pytest.raises(PipelineError, match=message):
            mine(bad)
    with pytest.raises(PipelineError, match="function_to_apply must be one of"):
        mine("a", function_to_apply="soft")
