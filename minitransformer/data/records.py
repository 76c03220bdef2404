"""Records: the fields of one example under standard names, and where they were read.

Standard names, by task:

    language modelling      text
    classification          text, text_pair (optional), label
    similarity              text, text_pair, score
    token classification    words, labels (lists of one length)
    question answering      id, question, context, answers ([{"text", "answer_start"}])
    sequence to sequence    source, target
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from minitransformer.errors import DataError, did_you_mean

logger = logging.getLogger("minitransformer")

TEXT_FIELDS = frozenset({"text", "text_pair", "source", "target", "question", "context"})
LABEL_FIELDS = ("label", "labels")
Columns = Mapping[str, str | int]


class Record(dict[str, Any]):
    """The fields of one example; it knows where they came from.

    Args:
        fields: values by name.
        file: the file they were read from, or what else to call their source.
        line: the line where they begin, counted from 1; None where lines mean nothing.
        name: what else tells them apart there ("question 56be").
    """

    __slots__ = ("file", "line", "name")

    def __init__(
        self, fields: Mapping[str, Any] | None = None, *, file: str = "", line: int | None = None, name: str = ""
    ) -> None:
        super().__init__(fields or {})
        self.file, self.line, self.name = file, line, name

    def where(self, lines_on: int = 0) -> str:
        """``FILE, line N``, for the beginning of an error message; or so many lines further on."""
        place = self.name if self.line is None else f"line {self.line + lines_on}"
        return ", ".join(part for part in (self.file, place) if part) or "a record"

    def need(self, field: str) -> Any:
        """The value of a field.

        Raises:
            DataError: the record has no such field.
        """
        if field not in self:
            raise DataError(
                f"{self.where()}: there is no {field!r}, only {', '.join(map(repr, self))}; "
                f"say which column it is: columns = {{{field!r}: ...}}"
            )
        return self[field]

    def need_text(self, field: str) -> str:
        """The value of a field that must be a string.

        Raises:
            DataError: the field is missing, or is no string.
        """
        value = self.need(field)
        if not isinstance(value, str):
            raise DataError(f"{self.where()}: {field!r} must be a text, not {type(value).__name__} ({value!r:.60})")
        return value


def as_records(rows: Iterable[Mapping[str, Any]], columns: Columns | None = None, name: str = "data") -> list[Record]:
    """Records from mappings, such as the rows of a data set of the ``datasets`` library.

    Args:
        rows: the mappings.
        columns: see ``read_records``.
        name: what to call the source in errors.

    Raises:
        DataError: a row is no mapping, or lacks a column.
    """
    records = []
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"{name}, row {i}: a row must be a mapping of names to values, not {type(row).__name__}")
        record = row if isinstance(row, Record) else Record(row, file=name, name=f"row {i}")
        records.append(pick_columns(record, columns))
    return records


def pick_columns(record: Record, columns: Columns | None) -> Record:
    """The record with its columns under standard names; those that are not named are left out.

    Args:
        record: values by the names that the file has for them.
        columns: standard name -> the file's name. ``"summaries.0"`` goes into lists and objects of JSON. The
            sentences of a list become one text, joined by blanks.

    Raises:
        DataError: there is no such column.
    """
    fields = dict(record) if columns is None else {name: find_column(record, at) for name, at in columns.items()}
    for name in TEXT_FIELDS & fields.keys():
        value = fields[name]
        if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
            fields[name] = " ".join(value)
    return Record(fields, file=record.file, line=record.line, name=record.name)


def find_column(record: Record, column: str | int) -> Any:
    """One column's value: by its name, its number, or a path into JSON.

    Raises:
        DataError: there is no such column; the message names the nearest one.
    """
    key = str(column)
    if key in record:
        return record[key]
    value: Any
    if isinstance(column, int):
        value, path = list(record.values()), [key]
    else:
        value, path = dict(record), key.split(".")
    for part in path:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, (list, tuple)) and part.lstrip("-").isdigit() and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            raise DataError(
                f"{record.where()}: there is no column {key!r}.{did_you_mean(key, record)} "
                f"It has {', '.join(map(repr, record))}."
            )
    return value


def rename_labels(records: Iterable[Record], names: Mapping[str, Any]) -> Iterator[Record]:
    """The records, with other names for their labels; labels that are not named stay as they are."""
    for record in records:
        for field in LABEL_FIELDS:
            value = record.get(field)
            if isinstance(value, (list, tuple)):
                record[field] = [names.get(str(label), label) for label in value]
            elif value is not None:
                record[field] = names.get(str(value), value)
        yield record


def keep_where(records: Iterable[Record], where: Mapping[str, Collection[Any]], source: str) -> list[Record]:
    """The records whose fields have one of these values; how many were left out is logged.

    Raises:
        DataError: a field is missing, or nothing is left.
    """
    kept: list[Record] = []
    left_out: Counter[str] = Counter()
    wanted = {name: {str(value) for value in values} for name, values in where.items()}
    for record in records:
        misfit = next((name for name in wanted if str(record.need(name)) not in wanted[name]), None)
        if misfit is None:
            kept.append(record)
        else:
            left_out[f"{misfit} = {record[misfit]!r:.40}"] += 1
    if not kept:
        common = "; ".join(f"{what} ({count})" for what, count in left_out.most_common(5))
        raise DataError(f"{source}: no record is left where {dict(where)}. Most common there: {common}")
    if left_out:
        total = left_out.total()
        logger.info("%s: %d of %d records left out by where = %s", source, total, total + len(kept), dict(where))
    return kept
