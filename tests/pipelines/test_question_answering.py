from __future__ import annotations

import pytest
import torch
from pipelines.checkpoints import LONG, TEXTS, same

from minitransformer.errors import PipelineError

QUESTION, CONTEXT = "Where do I live?", TEXTS[0]
MANY = ["Where do I live?", "Who is a fox?", "What is the capital of France?"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:Passing .* to the pipeline is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:topk parameter is deprecated"),
]


@pytest.mark.parametrize("name", ["bert-qa", "bart-qa"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 3},
        {"top_k": 20},
        {"max_answer_len": 2},
        {"max_answer_len": 2, "top_k": 4, "align_to_words": False},
        {"handle_impossible_answer": True},
        {"handle_impossible_answer": True, "top_k": 5},
        {"align_to_words": False},
        {"max_seq_len": 46},
        {"max_seq_len": 24, "doc_stride": 5, "top_k": 6},
        {"max_seq_len": 24, "doc_stride": 5, "handle_impossible_answer": True, "top_k": 2},
        {"padding": "max_length", "max_seq_len": 40},
        {"max_question_len": 3},
    ],
)
def test_equals_reference(pair, name, options):
    mine, theirs = pair("question-answering", name)
    for context in (CONTEXT, LONG):
        same(mine(question=QUESTION, context=context, **options), theirs(question=QUESTION, context=context, **options))


def test_scores_of_tokens(pair):
    mine, _ = pair("question-answering", "bert-qa")
    options = {"question": QUESTION, "context": CONTEXT, "align_to_words": False}
    answer = mine(return_token_scores=True, **options)
    tokens = answer.pop("token_scores")
    same(answer, mine(**options))  # nothing else changes
    encoded = mine.tokenizer(QUESTION, CONTEXT, return_tensors="pt", return_offsets_mapping=True)
    sides, offsets = encoded.sequence_ids(0), encoded.pop("offset_mapping")[0].tolist()
    hidden = torch.tensor([side != 1 for side in sides])
    hidden[0] = False  # [CLS] stands for no answer
    with torch.no_grad():
        output = mine.model(**encoded)
    start = output.start_logits[0].masked_fill(hidden, -10000.0).softmax(dim=-1).tolist()
    end = output.end_logits[0].masked_fill(hidden, -10000.0).softmax(dim=-1).tolist()
    first = next(i for i, side in enumerate(sides) if side == 1 and offsets[i][0] == answer["start"])
    for i, token in enumerate(tokens, first):
        assert token["token_id"] == int(encoded["input_ids"][0, i])
        same([token["start_score"], token["end_score"]], [start[i], end[i]])
    assert offsets[first + len(tokens) - 1][1] == answer["end"]
    same(start[first] * end[first + len(tokens) - 1], answer["score"])


def test_scores_of_the_best_span(pair):
    mine, _ = pair("question-answering", "bert-qa")
    for top_k in (1, 4):
        options = {"question": QUESTION, "context": LONG, "max_seq_len": 30, "top_k": top_k}
        answers = mine(return_token_scores=True, handle_impossible_answer=True, **options)
        for answer in answers if isinstance(answers, list) else [answers]:
            tokens = answer["token_scores"]
            if not answer["answer"]:
                assert tokens == []
                continue
            span = tokens[0]["start_score"] * tokens[-1]["end_score"]
            assert 0 < span <= answer["score"] + 1e-12  # equal answers are added up
            assert all(token["token"].removeprefix("##") in answer["answer"].lower() for token in tokens)


def test_ways_to_ask(pair):
    mine, theirs = pair("question-answering", "bert-qa")
    example = {"question": QUESTION, "context": CONTEXT}
    same(mine(question=MANY, context=LONG), theirs(question=MANY, context=LONG))
    same(mine(question=MANY, context=TEXTS[:3]), theirs(question=MANY, context=TEXTS[:3]))
    same(mine(question=MANY[:1], context=LONG), theirs(question=MANY[:1], context=LONG))
    same(mine(example), theirs(example))
    same(mine([example]), theirs([example]))
    same(mine([example, example]), theirs([example, example]))
    same(mine(QUESTION, CONTEXT), theirs(QUESTION, CONTEXT))
    same(mine(data=[example, example]), theirs(data=[example, example]))
    squad = theirs.create_sample(question=QUESTION, context=CONTEXT)
    same(mine([squad]), theirs([squad]))
    same(list(mine(example for _ in range(2))), list(theirs(example for _ in range(2))))


def test_equal_answers_are_added_up(pair):
    mine, theirs = pair("question-answering", "bert-qa")
    context = " ".join(["Paris paris PARIS"] * 8)
    options = {"question": QUESTION, "context": context, "top_k": 12, "max_answer_len": 1}
    same(mine(**options), theirs(**options))
    assert isinstance(mine(**options), dict)  # only one answer is left


def test_special_tokens_in_the_question_are_no_answers(pair):
    options = {"question": "where is [CLS] now", "context": "the dog", "top_k": 40}
    mine, theirs = pair("question-answering", "bert-qa")
    assert all(answer["answer"] for answer in mine(**options))
    alike, _ = pair("question-answering", "bert-qa", compat="transformers")
    same(alike(**options), theirs(**options))


def test_short_context_has_no_empty_answers_with_probability_zero(pair):
    options = {"question": QUESTION, "context": "the dog", "top_k": 30}
    mine, theirs = pair("question-answering", "bert-qa")
    assert all(answer["answer"] and answer["score"] > 0 for answer in mine(**options))
    alike, _ = pair("question-answering", "bert-qa", compat="transformers")
    same(alike(**options), theirs(**options))


@pytest.mark.parametrize("name", ["bert-qa", "bart-qa"])
def test_batches(pair, name):
    mine, theirs = pair("question-answering", name)
    options = {"question": MANY, "context": [LONG, TEXTS[0], TEXTS[3]], "max_seq_len": 40, "top_k": 3}
    expected = theirs(**options)
    for size in (2, 5, "auto"):
        same(mine(batch_size=size, **options), expected)


def test_left_padding_tokenizer_puts_the_context_first(pair):
    alike, theirs = pair("question-answering", "bert-qa", compat="transformers", fresh=True)
    alike.tokenizer.padding_side = theirs.tokenizer.padding_side = "left"
    options = {"question": QUESTION, "context": LONG, "max_seq_len": 30, "top_k": 4}
    same(alike(**options), theirs(**options))
    mine, _ = pair("question-answering", "bert-qa", fresh=True)
    mine.tokenizer.padding_side = "left"
    for answer in mine(**options):  # answers never come from the question, as 4.57's may
        assert answer["answer"] == LONG[answer["start"] : answer["end"]] != ""


def test_options_of_the_pipeline(pair):
    mine, theirs = pair("question-answering", "bert-qa", top_k=2, max_answer_len=3)
    same(mine(question=QUESTION, context=LONG), theirs(question=QUESTION, context=LONG))
    same(mine(question=QUESTION, context=LONG, topk=4), theirs(question=QUESTION, context=LONG, topk=4))


def test_bad_input(pair):
    mine, _ = pair("question-answering", "bert-qa")
    for options, message in (
        ({"question": QUESTION}, "context is missing"),
        ({"context": CONTEXT}, "question is missing"),
        ({"question": "", "context": CONTEXT}, "the question is empty"),
        ({"question": QUESTION, "context": ""}, "the context is empty"),
        ({"question": QUESTION, "context": "   "}, "the context has no tokens"),
        ({"question": MANY, "context": TEXTS[:2]}, "lists of one length"),
        ({"question": QUESTION, "context": 3}, "the context is of type int"),
        ({"question": " ".join(MANY * 9), "context": CONTEXT}, "leaves no room for the context"),
        ({"question": QUESTION, "context": CONTEXT, "doc_stride": 45}, "doc_stride must be 0 to"),
        ({"question": QUESTION, "context": CONTEXT, "top_k": 0}, "top_k must be"),
        ({"question": QUESTION, "context": LONG, "max_seq_len": 80}, "pass a smaller max_seq_len"),
    ):
        with pytest.raises(PipelineError, match=message):
            mine(**options)
    with pytest.raises(PipelineError, match="an input has no 'context'"):
        mine({"question": QUESTION})
    with pytest.raises(PipelineError, match="empty list"):
        mine([])
