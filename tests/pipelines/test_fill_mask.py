from __future__ import annotations

import pytest
from pipelines.checkpoints import LONG, same

from minitransformer.errors import PipelineError

ONE = "The little brown [MASK] jumped over the lazy dog."
TWO = "The [MASK] brown fox jumped over the [MASK] dog."


@pytest.mark.parametrize("text", [ONE, TWO, [ONE], [ONE, TWO], [TWO]])
@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"targets": ["fox", "the"]}, {"targets": "dog", "top_k": 9}])
def test_equals_reference(pair, text, options):
    mine, theirs = pair("fill-mask", "bert-mlm")
    same(mine(text, **options), theirs(text, **options))


def test_options_of_the_pipeline(pair):
    mine, theirs = pair("fill-mask", "bert-mlm", top_k=1)
    same(mine(ONE), theirs(ONE))
    same(mine(ONE, top_k=3), theirs(ONE, top_k=3))


def test_targets_of_several_tokens_warn(pair, caplog):
    mine, theirs = pair("fill-mask", "bert-mlm")
    same(mine(ONE, targets=["foxjumped", "dog"]), theirs(ONE, targets=["foxjumped", "dog"]))
    assert "'foxjumped' is not in the vocabulary; its first token" in caplog.text


def test_truncation(pair):
    mine, theirs = pair("fill-mask", "bert-mlm")
    options = {"tokenizer_kwargs": {"truncation": True}}
    same(mine(ONE + " " + LONG, **options), theirs(ONE + " " + LONG, **options))
    with pytest.raises(PipelineError, match=r'pass tokenizer_kwargs=\{"truncation": True\}'):
        mine(ONE + " " + LONG)


def test_batches(pair):
    texts = [ONE, TWO, "a [MASK]", ONE.replace(".", "!")]
    mine, theirs = pair("fill-mask", "bert-mlm")
    for size in (2, 4, "auto"):
        same(mine(texts, batch_size=size), theirs(texts))


def test_bad_input(pair):
    mine, _ = pair("fill-mask", "bert-mlm")
    with pytest.raises(PipelineError, match=r"no mask token: write \[MASK\]"):
        mine("no mask here")
    with pytest.raises(PipelineError, match=r"input 1: the text has no mask token"):
        mine([ONE, "no mask here"])
    with pytest.raises(PipelineError, match="top_k must be an integer of at least 1"):
        mine(ONE, top_k=0)
    with pytest.raises(PipelineError, match="targets has no word"):
        mine(ONE, targets=[""])
    assert len(mine(ONE, top_k=10_000)) == 160  # the whole vocabulary
