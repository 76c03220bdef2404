"""Inputs and options off the beaten track, beside transformers' answers."""

from __future__ import annotations

import pytest
from pipelines.checkpoints import LONG, TEXTS, same

M = "The [MASK] brown fox [MASK] over."
GREEDY = {"do_sample": False, "max_new_tokens": 4}

CASES = [
    ("fill-mask", "bert-mlm", "a [MASK]", {"tokenizer_kwargs": {"padding": "max_length", "max_length": 20}}),
    (
        "fill-mask",
        "bert-mlm",
        [M, "a [MASK]"],
        {"tokenizer_kwargs": {"padding": "max_length", "max_length": 20}, "targets": ["fox", "dog"]},
    ),
    ("fill-mask", "bert-mlm", (M,), {}),
    ("fill-mask", "bert-mlm", M, {"tokenizer_kwargs": {"add_special_tokens": False}}),
    (
        "feature-extraction",
        "bert",
        TEXTS[:2],
        {"tokenize_kwargs": {"padding": "max_length", "max_length": 30, "truncation": True}},
    ),
    ("ner", "bert-ner", ["a"], {"aggregation_strategy": "simple", "ignore_labels": []}),
    ("ner", "bert-ner", "  lead  and  trail  ", {"ignore_labels": []}),
    ("ner", "bert-ner", "[CLS] in text [SEP]", {"ignore_labels": []}),
    ("ner", "bert-ner", "Ünïcödé naïve café Straße İstanbul", {"ignore_labels": [], "aggregation_strategy": "first"}),
    ("text-classification", "bert-cls", ["a"], {"top_k": None}),
    ("text-classification", "bert-cls", "a", {"top_k": None, "function_to_apply": "none"}),
    ("text-classification", "bert-cls", LONG, {"truncation": True, "max_length": 20, "stride": 0}),
    ("text-classification", "bert-cls", {"text": TEXTS[0], "text_pair": LONG}, {"truncation": "only_second"}),
    ("text-classification", "bert-cls", {"text": LONG, "text_pair": LONG}, {"truncation": True, "max_length": 21}),
    ("zero-shot-classification", "bert-nli", [TEXTS[0]], {"candidate_labels": "one"}),
    ("zero-shot-classification", "bert-nli", TEXTS[0], {"candidate_labels": ["a", "a", "b"]}),
    ("zero-shot-classification", "bert-nli", TEXTS[0], {"candidate_labels": ("a", "c")}),
    (
        "question-answering",
        "bert-qa",
        {"question": "who?", "context": LONG},
        {"top_k": 3, "max_seq_len": 20, "doc_stride": 0},
    ),
    (
        "question-answering",
        "bert-qa",
        {"question": "who?", "context": "x y"},
        {"top_k": 3, "handle_impossible_answer": True},
    ),
    ("question-answering", "bert-qa", {"question": "who? [SEP]", "context": "x [CLS] y"}, {"top_k": 3}),
    ("question-answering", "bart-qa", {"question": "who?", "context": "Ünïcödé naïve ☃ café"}, {"top_k": 3}),
    ("text-generation", "gpt2", ["a b"], {**GREEDY, "num_return_sequences": 2, "num_beams": 2}),
    ("text-generation", "gpt2", "a b ", {**GREEDY, "prefix": "x y", "return_full_text": False}),
    ("text-generation", "gpt2", "a <|endoftext|> b", {**GREEDY}),
    ("text-generation", "gpt2", "a <|endoftext|> b", {**GREEDY, "return_full_text": False}),
    ("text-generation", "gpt2", "Ünï ☃", {**GREEDY, "skip_special_tokens": False}),
    (
        "text-generation",
        "gpt2-prefix",
        "a",
        {"do_sample": False, "min_length": 12, "max_new_tokens": 20, "eos_token_id": list(range(0, 340, 7))},
    ),
    ("text2text-generation", "bart", "a", {"max_new_tokens": 3, "return_text": True}),
    ("text-generation", "gpt2", "a", {"do_sample": False, "max_new_tokens": 3, "return_text": True}),
    ("text-generation", "gpt2", "a", {"do_sample": False, "max_new_tokens": 3, "return_text": False}),
]

pytestmark = pytest.mark.filterwarnings("ignore:.generation flags:UserWarning", "ignore:Tokenizer does not support")


@pytest.mark.filterwarnings("ignore:Passing .* to the pipeline is deprecated:FutureWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]!s:.20}-{case[3]!s:.30}")
def test_equals_reference(pair, case):
    task, name, inputs, options = case
    mine, theirs = pair(task, name)
    same(mine(inputs, **options), theirs(inputs, **options))


@pytest.mark.filterwarnings("ignore:.do_sample. is set to:UserWarning")
def test_token_ids_that_were_declined(pair):
    """return_tensors=False gives token ids in 4.57."""
    alike, theirs = pair("text-generation", "gpt2", compat="transformers")
    mine, _ = pair("text-generation", "gpt2")
    same(alike("a", return_tensors=False, **GREEDY), theirs("a", return_tensors=False, **GREEDY))
    same(mine("a", return_tensors=False, **GREEDY), theirs("a", **GREEDY))
