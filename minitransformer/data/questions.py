"""Questions with answers that stand in a text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from minitransformer.data.records import Record

BETWEEN_SENTENCES = re.compile(r"(?<=[.!?])\s+")
"""Blanks behind full stops, question and exclamation marks."""


def answers_of(record: Record) -> list[dict[str, Any]]:
    """The answers, each with its ``text`` and ``answer_start``; also from the lists that ``datasets`` has for them."""
    answers = record.need("answers")
    if isinstance(answers, Mapping):
        pairs = zip(answers["text"], answers["answer_start"], strict=True)
        return [{"text": text, "answer_start": start} for text, start in pairs]
    return list(answers)


def narrow(record: Record) -> Record:
    """A question with the sentence that holds its first answer for a context, and the answers that lie in it.

    An abbreviation cuts a sentence short, but no border lies in an answer.

    Args:
        record: with the fields ``context`` and ``answers``; one without answers stays as it is.
    """
    context: str = record.need_text("context")
    answers = answers_of(record)
    if not answers:
        return record
    first = answers[0]["answer_start"]
    last = first + len(answers[0]["text"])
    borders = [match.end() for match in BETWEEN_SENTENCES.finditer(context)]
    start = max((at for at in borders if at <= first), default=0)
    stop = min((at for at in borders if at >= last), default=len(context))
    inside = [
        {"text": answer["text"], "answer_start": answer["answer_start"] - start}
        for answer in answers
        if start <= answer["answer_start"] and answer["answer_start"] + len(answer["text"]) <= stop
    ]
    fields = {**record, "context": context[start:stop], "answers": inside}
    return Record(fields, file=record.file, line=record.line, name=record.name)
