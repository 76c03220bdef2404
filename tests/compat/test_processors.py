"""Processors and criteria by transformers' names give what they give there, alone and within ``generate``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

import minitransformer
from minitransformer import AutoModelForCausalLM, AutoTokenizer, GenerationError

IDS = torch.tensor([[3, 4, 5, 3, 4], [6, 7, 6, 7, 8]])
SCORES = torch.randn(2, 20, generator=torch.Generator().manual_seed(0))
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("RepetitionPenaltyLogitsProcessor", {"penalty": 1.3}),
    ("NoRepeatNGramLogitsProcessor", {"ngram_size": 2}),
    ("NoBadWordsLogitsProcessor", {"bad_words_ids": [[4, 9], [2]], "eos_token_id": 2}),
    ("MinLengthLogitsProcessor", {"min_length": 6, "eos_token_id": 2}),
    ("MinNewTokensLengthLogitsProcessor", {"prompt_length_to_skip": 3, "min_new_tokens": 3, "eos_token_id": [2, 5]}),
    ("SuppressTokensLogitsProcessor", {"suppress_tokens": [1, 2]}),
    ("ForcedBOSTokenLogitsProcessor", {"bos_token_id": 4}),
    ("ForcedEOSTokenLogitsProcessor", {"max_length": 6, "eos_token_id": 2}),
    ("InfNanRemoveLogitsProcessor", {}),
    ("TemperatureLogitsWarper", {"temperature": 0.7}),
    ("TopKLogitsWarper", {"top_k": 3}),
    ("TopKLogitsWarper", {"top_k": 300, "min_tokens_to_keep": 2}),
    ("TopPLogitsWarper", {"top_p": 0.6, "min_tokens_to_keep": 2}),
    ("MinPLogitsWarper", {"min_p": 0.3}),
    ("TypicalLogitsWarper", {"mass": 0.5}),
    ("EpsilonLogitsWarper", {"epsilon": 0.05}),
    ("EtaLogitsWarper", {"epsilon": 0.05}),
]


@pytest.mark.parametrize(("name", "options"), CALLS, ids=lambda value: str(value))
def test_processors_give_the_same_scores(name: str, options: dict[str, Any]) -> None:
    ours, theirs = (getattr(library, name)(**options) for library in (minitransformer, transformers))
    for ids in (IDS, IDS[:, :1]):
        torch.testing.assert_close(ours(ids, SCORES.clone()), theirs(ids, SCORES.clone()), rtol=0, atol=1e-6)
    assert isinstance(ours, minitransformer.LogitsProcessor)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("TemperatureLogitsWarper", {"temperature": 0}, "temperature must be a number"),
        ("TopKLogitsWarper", {"top_k": 1.5}, "top_k must be a whole number"),
        ("TopPLogitsWarper", {"top_p": 1.5}, "at most 1"),
        ("TopPLogitsWarper", {"top_p": 0.5, "filter_value": 0.0}, "filter_value"),
        ("NoRepeatNGramLogitsProcessor", {"ngram_size": 0}, "ngram_size"),
        ("RepetitionPenaltyLogitsProcessor", {"penalty": True}, "penalty"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(GenerationError, match=match):
        getattr(minitransformer, name)(**options)


def test_criteria_end_a_text() -> None:
    name = "minitransformer/gpt2-stories"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    inputs = tokenizer("The old man", return_tensors="pt")
    plain = {"do_sample": False, "max_new_tokens": 30, "pad_token_id": 0}
    whole = tokenizer.decode(model.generate(**inputs, **plain)[0])
    word = max(whole.split(), key=len)
    stop = minitransformer.StoppingCriteriaList([minitransformer.StopStringCriteria(tokenizer, word)])
    found = tokenizer.decode(model.generate(**inputs, **plain, stopping_criteria=stop)[0])
    assert whole.startswith(found) and found.endswith(word) and len(found) < len(whole)
    over = [minitransformer.MaxTimeCriteria(0.0, initial_timestamp=0.0)]
    assert model.generate(**inputs, **plain, stopping_criteria=over).shape[1] == inputs["input_ids"].shape[1] + 1
