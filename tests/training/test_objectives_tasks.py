"""Objectives that learn from labels: what becomes an example, and what is said of records that cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from training.objectives import generator, make_model, make_objective, make_tokenizer, records

from minitransformer.data import as_records, read_records
from minitransformer.errors import DataError, TokenizerError, TrainingError
from minitransformer.training.objectives import OBJECTIVES, Classification, Objective, TokenClassification

MOODS = {"id2label": {0: "bad", 1: "good", 2: "so-so"}}
TAGS = {"id2label": {0: "O", 1: "B-PER", 2: "I-PER"}}


def batch_of(objective: Objective, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    examples = objective.examples(as_records(rows))
    return examples, objective.collate(examples, generator())


def test_every_objective_has_a_name():
    expected = {
        "causal_lm", "masked_lm", "span_corruption", "denoising", "gap_sentences", "cloze_questions",
        "replaced_tokens", "seq2seq", "classification", "token_classification", "question_answering",
    }  # fmt: skip
    assert set(OBJECTIVES) == expected


# ------------------------------------------------------------------------------------------------------- classification


def test_labels_are_names_or_numbers_and_pairs_have_types(tmp_path):
    objective = make_objective("classification", "bert", tmp_path, config=MOODS)
    rows = [
        {"text": "the cat sleeps", "text_pair": "is it tired ?", "label": "good"},
        {"text": "paris", "text_pair": "france is france", "label": 2},
        {"text": "who is paris", "text_pair": "a cat", "label": "0"},
    ]
    examples, batch = batch_of(objective, rows)
    assert batch["labels"].tolist() == [1, 2, 0]
    reference = objective.tokenizer(
        [r["text"] for r in rows], [r["text_pair"] for r in rows], padding=True, return_tensors="pt"
    )
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        assert torch.equal(batch[name], reference[name]), name
    assert batch["token_type_ids"].any() and objective.counts(batch) == {"labels": 3}


def test_several_labels(tmp_path):
    objective = make_objective(
        "classification", "bert", tmp_path, config={**MOODS, "problem_type": "multi_label_classification"}
    )
    rows = [{"text": "a", "label": label} for label in ("bad,so-so", ["good"], "1, 2", [], 2)]
    _, batch = batch_of(objective, rows)
    assert batch["labels"].tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]]
    assert objective.counts(batch) == {"labels": 15}


def test_numbers_to_learn(tmp_path):
    objective = make_objective("classification", "bert", tmp_path, config={"id2label": {0: "similarity"}})
    rows = [{"text": "a", "text_pair": "a", "score": "5.000"}, {"text": "a", "text_pair": "cat", "score": 0}]
    _, batch = batch_of(objective, rows)
    assert batch["labels"].tolist() == [5.0, 0.0]
    with pytest.raises(DataError, match=r"data, row 0: 'score' must be a number, not 'high'"):
        objective.examples(as_records([{**rows[0], "score": "high"}]))


def test_labels_that_occur_make_a_new_models_labels():
    rows = as_records([{"label": label} for label in ("b", "a", "b,c", "a")])
    assert Classification.labels_in(rows) == ["a", "b", "b,c"]
    assert Classification.labels_in(rows, several=True) == ["a", "b", "c"]
    tags = as_records([{"labels": ["I-LOC", "O", "B-PER"]}, {"labels": ["B-LOC", "O"]}])
    assert TokenClassification.labels_in(tags) == ["O", "B-LOC", "I-LOC", "B-PER"]


def test_an_unknown_label_is_named_with_its_line_and_the_known_ones(tmp_path):
    file = tmp_path / "train.tsv"
    file.write_text("text\tlabel\nthe cat\tgood\nthe dog\tgoood\n", encoding="utf-8")
    objective = make_objective("classification", "bert", tmp_path, config=MOODS)
    message = (
        r"train.tsv, line 3: the model has no label 'goood'. Did you mean 'good'\? It knows 'bad', 'good', 'so-so'."
    )
    with pytest.raises(DataError, match=message):
        objective.examples(read_records(file))
    for label in ("3", 3, -1, "1.0"):
        with pytest.raises(DataError, match="the model has no label"):
            objective.examples(as_records([{"text": "a", "label": label}]))
    many = make_objective("classification", "bert", tmp_path, config={"id2label": {i: f"l{i}" for i in range(80)}})
    with pytest.raises(DataError, match="'l29' and 50 more"):
        many.examples(as_records([{"text": "a", "label": "x"}]))


def test_a_missing_field_is_named(tmp_path):
    objective = make_objective("classification", "bert", tmp_path, config=MOODS)
    with pytest.raises(DataError, match=r"row 0: there is no 'label', only 'text', 'Label'"):
        objective.examples(as_records([{"text": "a", "Label": 1}]))
    with pytest.raises(DataError, match="row 1: there is no 'text_pair'"):
        objective.examples(as_records([{"text": "a", "text_pair": "b", "label": 1}, {"text": "a", "label": 1}]))
    with pytest.raises(DataError, match="row 0: 'text' must be a text, not float"):
        objective.examples(as_records([{"text": 1.5, "label": 1}]))


def test_long_texts_are_cut_aloud(tmp_path, caplog):
    objective = make_objective("classification", "bert", tmp_path, config=MOODS, max_length=8)
    examples, _ = batch_of(objective, [{"text": "cat " * n, "label": 0} for n in (2, 6, 7, 50)])
    assert [len(e["input_ids"]) for e in examples] == [4, 8, 8, 8]
    assert "2 of 4 texts are longer than 8 tokens" in caplog.text


# ------------------------------------------------------------------------------------------------- token classification


def test_the_first_piece_of_a_word_carries_its_label(tmp_path):
    objective = make_objective("token_classification", "bert", tmp_path, config=TAGS)
    rows = [
        {"words": ["paris", "xyz", "is", "kq"], "labels": ["B-PER", "I-PER", "O", "B-PER"]},
        {"words": ["a"], "labels": ["O"]},
    ]
    examples, batch = batch_of(objective, rows)
    tokens = objective.tokenizer.convert_ids_to_tokens(examples[0]["input_ids"])
    assert tokens == ["[CLS]", "paris", "x", "##y", "##z", "is", "k", "##q", "[SEP]"]
    assert batch["labels"].tolist() == [
        [-100, 1, 2, -100, -100, 0, 1, -100, -100],
        [-100, 0, *[-100] * 7],
    ]
    assert objective.counts(batch) == {"words": 5}


def test_words_of_bytes_keep_their_first_piece_too(tmp_path):
    objective = make_objective("token_classification", "bart", tmp_path, config=TAGS)
    labels = ["B-PER", "I-PER", "O"]
    examples = objective.examples(as_records([{"words": ["Paris", "Hilton", "sleeps"], "labels": labels}]))
    assert [label for label in examples[0]["labels"] if label != -100] == [1, 2, 0]
    assert len(examples[0]["labels"]) == len(examples[0]["input_ids"])
    plain = make_tokenizer(tmp_path, "gpt2")
    with pytest.raises(TokenizerError, match="add_prefix_space"):
        TokenClassification(plain, objective.config).examples(as_records([{"words": ["a"], "labels": ["O"]}]))


def test_an_unknown_tag_is_named_with_its_own_line(tmp_path):
    file = tmp_path / "dev.conll"
    file.write_text("a\tO\n\nthe\tO\nParis\tB-PRE\n", encoding="utf-8")
    objective = make_objective("token_classification", "bert", tmp_path, config=TAGS)
    with pytest.raises(DataError, match=r"dev.conll, line 4: the model has no label 'B-PRE'. Did you mean 'B-PER'\?"):
        objective.examples(read_records(file))
    for row in ({"words": ["a"], "labels": []}, {"words": [], "labels": []}, {"words": "a", "labels": ["O"]}):
        with pytest.raises(DataError, match="two lists of one length"):
            objective.examples(as_records([row]))


# --------------------------------------------------------------------------------------------------- question answering

QA = {"max_question_length": 6, "max_length": 24, "doc_stride": 6}
CONTEXT = " ".join(f"once upon a time there was a cat and {c} " for c in "abcdefgh") + " paris is tired ."


def question(answer: str, context: str = CONTEXT, **more: Any) -> dict[str, Any]:
    at = context.index(answer)
    return {
        "id": "q1", "question": "who is tired ?", "context": context,
        "answers": [{"text": answer, "answer_start": at}], **more,
    }  # fmt: skip


def test_windows_overlap_cover_the_context_and_point_at_the_answer(tmp_path):
    objective = make_objective("question_answering", "bert", tmp_path, keep_offsets=True, **QA)
    windows, batch = batch_of(objective, [question("paris")])
    assert len(windows) > 4 and batch["input_ids"].shape[1] <= 24
    covered = np.zeros(len(CONTEXT), dtype=int)
    found = 0
    for window in windows:
        offsets = window["offsets"]
        assert len(offsets) == len(window["input_ids"]) and window["id"] == "q1"
        assert (offsets[:6] == -1).all() and (offsets[-1] == -1).all()  # [CLS], question, [SEP]; [SEP]
        for start, end in offsets[offsets[:, 0] >= 0]:
            covered[start:end] += 1
        first, last = window["start_positions"], window["end_positions"]
        if first:
            found += 1
            assert CONTEXT[offsets[first][0] : offsets[last][1]] == "paris"
        else:
            assert last == 0
    assert found == 1
    assert covered[[i for i, c in enumerate(CONTEXT) if c != " "]].min() == 1 and covered.max() == 2
    assert objective.counts(batch) == {"windows": len(windows)} and batch["token_type_ids"].any()


def test_windows_without_the_answer_can_be_left_out(tmp_path, caplog):
    caplog.set_level("INFO")
    objective = make_objective("question_answering", "bert", tmp_path, no_answer="drop", **QA)
    windows, _ = batch_of(objective, [question("paris"), {**question("cat"), "answers": []}])
    assert len(windows) == 1 and windows[0]["start_positions"] > 0 and "offsets" not in windows[0]
    assert "windows without the answer left out, 1 kept" in caplog.text
    gpt2 = make_objective("question_answering", "gpt2", tmp_path, no_answer="drop", doc_stride=4)
    assert gpt2.examples(as_records([question("paris")]))[0]["start_positions"] > 0


def test_answers_of_every_form(tmp_path):
    objective = make_objective("question_answering", "bert", tmp_path, keep_offsets=True, max_length=60, doc_stride=2,
                               max_question_length=6)  # fmt: skip
    context = "the café  of paris , ﬁne 😀 cat ."
    rows = [
        question("café", context),
        question("  of paris ", context),  # blanks around it
        question("😀", context),  # unknown, yet at its place
        {**question("cat", context), "answers": {"text": ["cat"], "answer_start": [context.index("cat")]}},  # datasets
        {**question("cat", context), "answers": [{"text": " ", "answer_start": 3}]},
    ]
    windows, _ = batch_of(objective, rows)
    texts = [context[w["offsets"][w["start_positions"]][0] : w["offsets"][w["end_positions"]][1]] for w in windows[:4]]
    assert texts == ["café", "of paris", "😀", "cat"] and windows[4]["start_positions"] == 0


def test_an_answer_that_runs_out_of_the_window_is_not_in_it(tmp_path):
    objective = make_objective("question_answering", "bert", tmp_path, **QA)
    long = " ".join(["cat"] * 12)
    windows, _ = batch_of(objective, [question(long, f"{long} paris {long}")])
    inside = [w for w in windows if w["start_positions"]]
    assert all(w["end_positions"] - w["start_positions"] == 11 for w in inside) and len(inside) < len(windows)


def test_questions_that_are_too_long_are_cut_aloud(tmp_path, caplog):
    objective = make_objective("question_answering", "bert", tmp_path, **QA)
    windows, _ = batch_of(objective, [question("paris", question="who is it " * 20)])
    separator = objective.tokenizer.sep_token_id
    assert all(w["input_ids"].index(separator) == 7 for w in windows)
    assert "1 of 1 questions are longer than 6 tokens" in caplog.text


def test_an_answer_at_another_place_is_an_error(tmp_path):
    objective = make_objective("question_answering", "bert", tmp_path, **QA)
    wrong = {**question("paris"), "answers": [{"text": "paris", "answer_start": 3}]}
    with pytest.raises(DataError, match="row 0: the answer 'paris' should stand at character 3 of the context, where"):
        objective.examples(as_records([wrong]))


# ------------------------------------------------------------------------------------------------- sequence to sequence


def test_targets_end_and_their_padding_does_not_count(tmp_path):
    objective = make_objective("seq2seq", "bart", tmp_path, prefix="translate: ")
    examples, batch = batch_of(objective, [dict(r) for r in records("pairs")])
    end = objective.tokenizer.eos_token_id
    for example, row in zip(examples, records("pairs"), strict=True):
        assert example["input_ids"] == objective.tokenizer("translate: " + row["source"])["input_ids"]
        assert example["labels"] == objective.tokenizer(text_target=row["target"])["input_ids"]
        assert example["labels"][-1] == end
    assert objective.counts(batch) == {"tokens": sum(len(e["labels"]) for e in examples)}
    assert (batch["labels"] == -100).any()
    model = make_model(objective)
    loss = objective.loss(model, batch, objective.counts(batch))
    extra = {**batch, "labels": torch.nn.functional.pad(batch["labels"], (0, 3), value=-100)}
    torch.testing.assert_close(objective.loss(model, extra, objective.counts(extra)), loss)


def test_both_sides_are_cut_aloud(tmp_path, caplog):
    objective = make_objective("seq2seq", "bart", tmp_path, max_length=10, max_target_length=6)
    examples, _ = batch_of(objective, [dict(r) for r in records("pairs")])
    assert max(len(e["input_ids"]) for e in examples) == 10 and max(len(e["labels"]) for e in examples) == 6
    assert all(e["labels"][-1] == objective.tokenizer.eos_token_id for e in examples)
    assert "sources are longer than 10 tokens" in caplog.text and "targets are longer than 6 tokens" in caplog.text


def test_length_is_what_the_model_takes(tmp_path):
    assert make_objective("masked_lm", "bert", tmp_path).max_length == 512
    assert make_objective("masked_lm", "bert", tmp_path, config={"num_positions": 40}).max_length == 40
    assert make_objective("seq2seq", "t5", tmp_path).max_length == 512  # positions without end
    with pytest.raises(TrainingError, match="max_length is 41, but the model has 40 positions"):
        make_objective("masked_lm", "bert", tmp_path, config={"num_positions": 40}, max_length=41)


def test_nothing_to_learn_from_is_an_error(tmp_path):
    for name, architecture in (("masked_lm", "bert"), ("causal_lm", "gpt2"), ("denoising", "bart")):
        objective = make_objective(name, architecture, tmp_path)
        with pytest.raises(DataError, match="there is no text to learn from"):
            objective.examples(as_records([{"text": " \n"}]))
