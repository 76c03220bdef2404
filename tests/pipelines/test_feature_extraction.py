from __future__ import annotations

import pytest
import torch
from pipelines.checkpoints import LONG, TEXTS, same

from minitransformer.errors import PipelineError


@pytest.mark.parametrize("name", ["bert", "bert-mlm", "gpt2", "bart-base"])
def test_equals_reference(pair, name):
    mine, theirs = pair("feature-extraction", name)
    same(mine(TEXTS[0]), theirs(TEXTS[0]))
    same(mine(TEXTS[:3]), theirs(TEXTS[:3]))
    tensor = mine(TEXTS[1], return_tensors=True)
    same(tensor, theirs(TEXTS[1], return_tensors=True))
    assert tensor.shape == (1, len(mine.tokenizer(TEXTS[1])["input_ids"]), 24)


def test_truncation(pair):
    mine, theirs = pair("feature-extraction", "bert")
    same(mine(LONG, truncation=True), theirs(LONG, truncation=True))
    options = {"truncation": True, "max_length": 7}
    same(mine(LONG, tokenize_kwargs=dict(options)), theirs(LONG, tokenize_kwargs=dict(options)))
    with pytest.raises(PipelineError, match="truncation is given twice"):
        mine(LONG, truncation=True, tokenize_kwargs=options)


def test_padding_is_cut_unless_compatibility_is_asked_for(pair):
    texts = [TEXTS[0], "the dog", TEXTS[3]]
    mine, theirs = pair("feature-extraction", "bert")
    same(mine(texts, batch_size=3), theirs(texts))
    alike, _ = pair("feature-extraction", "bert", compat="transformers")
    same(alike(texts, batch_size=3, return_tensors=True), theirs(texts, batch_size=3, return_tensors=True))


def test_steps_by_hand(pair):
    mine, _ = pair("feature-extraction", "bert")
    by_hand = mine.postprocess(mine.forward(mine.preprocess(TEXTS[0])), return_tensors=True)
    torch.testing.assert_close(by_hand, mine(TEXTS[0], return_tensors=True), atol=0, rtol=0)
