"""Cloze questions: what is asked, where the answer is, and how texts are cut to fit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from training.objectives import generator, make_objective, near, records

from minitransformer.data import as_records
from minitransformer.errors import DataError, TrainingError

ASK = {"max_length": 40, "max_question_length": 16}


@pytest.fixture(scope="module", params=["bert", "distilbert", "bart"])
def cloze(request, tmp_path_factory) -> Any:
    return make_objective("cloze_questions", request.param, tmp_path_factory.mktemp(request.param), **ASK)


def parts(objective: Any, example: dict[str, Any], text: dict[str, Any]) -> tuple[list[int], int]:
    """The question, and where the text begins; the frame is what the tokenizer puts around a pair."""
    ids, frame = example["input_ids"], objective.frame
    length = len(ids) - len(frame) - len(text["input_ids"])
    question = ids[len(frame.before) : len(frame.before) + length]
    assert ids == [*frame.before, *question, *frame.between, *text["input_ids"], *frame.after]
    return question, len(ids) - len(frame.after) - len(text["input_ids"])


def is_part(few: list[int], many: list[int]) -> bool:
    """Whether all of the few are among the many, in their order."""
    rest = iter(many)
    return all(i in rest for i in few)


def test_the_frame_is_the_tokenizers(cloze):
    tokenizer = cloze.tokenizer
    first, second = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("the cat", "it sleeps ."))
    expected = tokenizer("the cat", "it sleeps .")
    example, at = cloze.frame.join(first, second)
    assert example["input_ids"] == expected["input_ids"] and expected["input_ids"][at : at + len(second)] == second
    assert example.get("token_type_ids") == expected.get("token_type_ids")


def test_a_sentence_asks_for_words_that_it_lost(cloze):
    chance = generator()
    for text in cloze.examples(records("text")) * 20:
        example = cloze.ask(text, chance)
        question, at = parts(cloze, example, text)
        first, last = example["start_positions"] - at, example["end_positions"] - at
        assert 0 <= first <= last < len(text["input_ids"])
        assert question.count(cloze.mask_id) == 1 and len(question) <= 16 and len(example["input_ids"]) <= 40
        begin, end = cloze.sentence_around(first, text["input_ids"])
        assert begin <= first <= last < end  # the answer does not leave its sentence
        mask, sentence = question.index(cloze.mask_id), text["input_ids"][begin:end]
        assert is_part(question[:mask], sentence[: first - begin])
        assert is_part(question[mask + 1 :], sentence[last + 1 - begin :])
        assert text["word_starts"][first] and {text["input_ids"][first], text["input_ids"][last]} & cloze.spoken


def test_whole_words_are_asked_for_and_dropped(tmp_path):
    objective = make_objective("cloze_questions", "bert", tmp_path, drop=0.4, **ASK)
    chance, kept, total = generator(), 0, 0
    (text,) = objective.examples(as_records([{"text": "once upon a time there was a cat that sleeps"}]))
    for _ in range(400):
        example = objective.ask(text, chance)
        question, at = parts(objective, example, text)
        starts = [*text["word_starts"], 1]
        assert starts[example["start_positions"] - at] and starts[example["end_positions"] + 1 - at]
        answer = example["end_positions"] - example["start_positions"] + 1
        kept, total = kept + len(question) - 1, total + len(text["input_ids"]) - answer
    assert near(kept, total, 0.6)


def test_answers_have_from_one_to_so_many_words(tmp_path):
    objective = make_objective("cloze_questions", "bert", tmp_path, max_answer_words=3, drop=0.0, **ASK)
    text = {"input_ids": (ids := objective.tokenizer("the cat " * 10, add_special_tokens=False)["input_ids"]),
            "word_starts": [1] * len(ids)}  # fmt: skip
    chance, sizes, firsts = generator(), Counter(), Counter()
    for _ in range(1000):
        example = objective.ask(text, chance)
        sizes[example["end_positions"] - example["start_positions"] + 1] += 1
        firsts[example["start_positions"]] += 1
    assert set(sizes) == {1, 2, 3} and len(firsts) == len(ids)
    assert near(sizes[3], 1000, 18 / 20 / 3)  # the last two words have no room for three


def test_long_sentences_keep_what_is_around_the_mask(tmp_path):
    objective = make_objective("cloze_questions", "bert", tmp_path, max_length=40, max_question_length=8)
    around = objective.around_mask
    mask = objective.mask_id
    left, right = list(range(100, 120)), list(range(200, 220))
    assert around(left, right) == [117, 118, 119, mask, 200, 201, 202, 203]
    assert around(left, right[:1]) == [*range(114, 120), mask, 200]
    assert around(left[:2], right) == [100, 101, mask, *range(200, 205)]
    assert around(left[:2], right[:2]) == [100, 101, mask, 200, 201] and around([], []) == [mask]


def test_texts_are_cut_between_sentences_and_nothing_is_lost(cloze):
    rows = as_records([{"text": " ".join(record["text"] for record in records("text"))}])
    whole = cloze.tokenizer(rows[0]["text"], add_special_tokens=False)["input_ids"]
    texts = cloze.examples(rows)
    assert [i for text in texts for i in text["input_ids"]] == whole and len(texts) > 3
    room = 40 - 16 - len(cloze.frame)
    assert all(len(text["input_ids"]) <= room for text in texts)
    for text, following in zip(texts, texts[1:], strict=False):
        at_end = text["input_ids"][-1] in cloze.ends
        assert at_end or len(text["input_ids"]) == room or len(following["input_ids"]) == room


def test_texts_without_words_ask_nothing(tmp_path):
    objective = make_objective("cloze_questions", "bert", tmp_path, **ASK)
    rows = as_records([{"text": ". , ."}, {"text": "cat"}, {"text": "the cat ."}])
    assert len(objective.examples(rows)) == 1
    with pytest.raises(DataError, match="no text of two words"):
        objective.examples(rows[:2])


def test_every_text_asks_another_question_each_time(cloze):
    examples = cloze.examples(records("text"))
    chance = generator()
    first, second = cloze.collate(examples, chance), cloze.collate(examples, chance)
    assert not torch.equal(first["start_positions"], second["start_positions"])
    assert ("token_type_ids" in first) == (cloze.frame.types is not None)


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("gpt2", {}, "mask token"),
        ("bert", {"drop": 2}, "drop must be a number from 0 to 1"),
        ("bert", {"max_answer_words": 0}, "max_answer_words must be a whole number of at least 1"),
        ("bert", {"max_length": 30, "max_question_length": 26}, "max_length must be a whole number of at least 31"),
    ],
)
def test_options_that_cannot_be(architecture, options, message, tmp_path):
    with pytest.raises(TrainingError, match=message):
        make_objective("cloze_questions", architecture, tmp_path, **options)
