"""Answers that stand in a text, and questions about its one sentence."""

from __future__ import annotations

from typing import Any

from minitransformer.data import Record, answers_of, narrow

CONTEXT = 'She was born in Rome.  "Was it Rome?" asked Dr. Smith, in 1990!\nNobody knew (it was late).'


def question(*answers: str, context: str = CONTEXT) -> Record:
    fields: dict[str, Any] = {"id": "q", "question": "?", "context": context}
    fields["answers"] = [{"text": text, "answer_start": context.index(text)} for text in answers]
    return Record(fields, file="here", line=3)


def test_a_question_is_narrowed_to_the_sentence_of_its_first_answer() -> None:
    for answer, sentence in (
        ("Rome", "She was born in Rome.  "),
        ("She", "She was born in Rome.  "),
        ("1990", "Smith, in 1990!\n"),  # the full stop of an abbreviation ends a sentence too
        ("Dr. Smith", '"Was it Rome?" asked Dr. Smith, in 1990!\n'),  # but never within an answer
        ("late)", "Nobody knew (it was late)."),
        (CONTEXT, CONTEXT),
    ):
        found = narrow(question(answer))
        (told,) = found["answers"]
        assert found["context"] == sentence
        assert sentence[told["answer_start"] :].startswith(answer) and told["text"] == answer
        assert (found["id"], found["question"], found.file, found.line) == ("q", "?", "here", 3)


def test_answers_elsewhere_are_left_out() -> None:
    found = narrow(question("Nobody", "Rome", "late"))
    assert [answer["text"] for answer in found["answers"]] == ["Nobody", "late"]
    assert all(found["context"][a["answer_start"] :].startswith(a["text"]) for a in found["answers"])


def test_a_question_without_answers_stays() -> None:
    assert narrow(question()) == question()


def test_answers_as_the_datasets_library_has_them() -> None:
    record = question("Rome", "1990")
    lists = {"text": ["Rome", "1990"], "answer_start": [a["answer_start"] for a in record["answers"]]}
    assert answers_of(Record({**record, "answers": lists})) == record["answers"] == answers_of(record)
    assert narrow(Record({**record, "answers": lists})) == narrow(record)
