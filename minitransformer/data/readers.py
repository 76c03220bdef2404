"""File formats: each reader turns a file into rows, each with the line where it begins."""

from __future__ import annotations

import csv
import glob
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from minitransformer.data.records import Columns, Record, keep_where, pick_columns, rename_labels
from minitransformer.data.streams import PER_RECORD, PER_VALUE, Budget, Lines
from minitransformer.errors import DataError, did_you_mean
from minitransformer.jsons import JSONError, parse_json
from minitransformer.options import shown

Rows: TypeAlias = Iterator[tuple[int | None, dict[str, Any]]]
"""The line where a row begins, and its columns in order; those of a table without names are called "0", "1", ..."""

SUFFIXES = {
    ".txt": "text",
    ".raw": "text",
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".json": "json",
}


def read_records(
    path: str | Path | Sequence[str | Path],
    *,
    format: str | None = None,
    columns: Columns | None = None,
    header: bool | None = None,
    unwrap: bool = False,
    where: Mapping[str, Collection[Any]] | None = None,
    rename_labels: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> list[Record]:
    """Read files of examples.

    ======== ==================================================== ==============================
    format   a record is                                          columns
    ======== ==================================================== ==============================
    text     a block of lines (blank lines between)               text
    lines    a line; empty ones are skipped                       text
    document the whole file                                       text
    tsv, csv a row; TSV has no quotes                             as the first line names them
    jsonl    a line, an object of JSON                            its keys
    json     an object of a list, or a question as in squad       its keys
    conll    a block of lines with a word and its tags            words (first), labels (last)
    squad    a question (https://arxiv.org/abs/1606.05250; v2.0)  id, question, context, answers
    ======== ==================================================== ==============================

    Args:
        path: a file, a pattern such as ``books/*.txt``, or a list of them; with ``.gz`` at the end they are unpacked.
        format: one of the above; by default told from the name.
        columns: standard name -> the file's: its name, its number (from 0) in a table without names, a path into
            JSON (``"summaries.0"``). By default all columns, under their own names.
        header: whether a table's first line names the columns; by default it does unless ``columns`` has numbers.
        unwrap: text, document: join the lines of a paragraph with blanks.
        where: field -> the values to keep, for example ``{"label": ["positive", "negative"]}``, after renaming.
        rename_labels: label in the file -> label for the model.
        limit: bytes of memory, roughly, that the records may take; by default the environment variable
            MINITRANSFORMER_DATA_LIMIT, or 3 GiB.

    Raises:
        DataError: a file is missing or damaged, a column is missing, or nothing is left; says where.
    """
    records: list[Record] = []
    budget = Budget(limit)
    files = [file for name in _listed(path) for file in _find_files(name)]
    for file in files:
        reader = _choose_reader(file, format)
        if header is None:
            header = columns is None or not any(isinstance(column, int) for column in columns.values())
        read = reader(file, Lines(file, budget), header=header, unwrap=unwrap)
        for line, row in read:
            budget.spend(PER_RECORD + PER_VALUE * len(row), file)
            name = f"question {row['id']!r}" if line is None and "id" in row else ""
            records.append(pick_columns(Record(row, file=str(file), line=line, name=name), columns))
    source = str(files[0]) if len(files) == 1 else f"{len(files)} files"
    if not records:
        raise DataError(f"{source}: there are no records")
    if rename_labels:
        records = list(_rename(records, rename_labels))
    return keep_where(records, where, source) if where else records


_rename = rename_labels  # an argument has the same name


def _listed(path: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [path] if isinstance(path, (str, Path)) else list(path)


def _find_files(name: str | Path) -> list[Path]:
    """The file of this name, or those that fit the pattern."""
    path = Path(name)
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            raise DataError(f"{path} is a folder: name its files, for example {path / '*.txt'}")
        found = sorted(Path(found) for found in glob.glob(str(path)))
    except DataError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{shown(str(name))} is no name of a file: {reason}") from error
    if not found:
        near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise DataError(f"there is no file {path}.{near}")
    return found


def _choose_reader(file: Path, format: str | None) -> Callable[..., Rows]:
    if format is None:
        suffix = Path(file.name.removesuffix(".gz")).suffix.lower()
        if suffix not in SUFFIXES:
            raise DataError(f"{file}: the name does not tell the format; say format = one of {', '.join(FORMATS)}")
        format = SUFFIXES[suffix]
    if format not in FORMATS:
        raise DataError(f"unknown format {format!r}.{did_you_mean(format, FORMATS)} Known: {', '.join(FORMATS)}.")
    return FORMATS[format]


def _blocks(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    """Lines between blank lines, and the number of the first of them."""
    block: list[str] = []
    number = 0
    for number, line in lines:
        if line.strip():
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []
    if block:
        yield number + 1 - len(block), block


def read_text(file: Path, lines: Lines, *, unwrap: bool, **_: Any) -> Rows:
    """Paragraphs."""
    for number, block in _blocks(lines):
        yield number, {"text": _joined(block, unwrap)}


def read_document(file: Path, lines: Lines, *, unwrap: bool, **_: Any) -> Rows:
    """The whole file."""
    paragraphs = [_joined(block, unwrap) for _, block in _blocks(lines)]
    if paragraphs:
        yield 1, {"text": "\n\n".join(paragraphs)}


def _joined(block: list[str], unwrap: bool) -> str:
    return " ".join(line.strip() for line in block) if unwrap else "\n".join(block)


def read_lines(file: Path, lines: Lines, **_: Any) -> Rows:
    """Lines."""
    for number, line in lines:
        if line.strip():
            yield number, {"text": line.strip()}


def read_tsv(file: Path, lines: Lines, *, header: bool, **_: Any) -> Rows:
    """Cells between tabs; a quotation mark is a letter like any other."""
    return _table(file, ((number, line.split("\t")) for number, line in lines if line), header)


def read_csv(file: Path, lines: Lines, *, header: bool, **_: Any) -> Rows:
    """Cells between commas; quoted ones may hold commas and ends of lines."""

    def rows() -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader((f"{line}\n" for _, line in lines), strict=True)
        before = 0
        try:
            for cells in reader:
                if cells:
                    yield before + 1, cells
                before = reader.line_num
        except csv.Error as error:
            raise DataError(f"{file}, line {before + 1}: {error}") from error

    return _table(file, rows(), header)


def _table(file: Path, lines: Iterator[tuple[int, list[str]]], header: bool) -> Rows:
    names = next(lines, (0, []))[1] if header else None
    if names is not None and len(set(names)) < len(names):
        raise DataError(f"{file}, line 1: two columns have one name, among {', '.join(map(repr, names))}")
    for number, cells in lines:
        if names is None:
            yield number, {str(i): cell for i, cell in enumerate(cells)}
        elif len(cells) == len(names):
            yield number, dict(zip(names, cells, strict=True))
        else:
            raise DataError(
                f"{file}, line {number}: {len(cells)} cells, but line 1 names {len(names)} columns "
                f"({', '.join(map(repr, names))})"
            )


def read_jsonl(file: Path, lines: Lines, **_: Any) -> Rows:
    """An object of JSON in each line."""
    for number, line in lines:
        if line.strip():
            row = _parse(file, line, number)
            if not isinstance(row, dict):
                raise DataError(f"{file}, line {number}: a record must be an object {{...}}, not {line[:40]!r}")
            yield number, row


def read_json(file: Path, lines: Lines, **options: Any) -> Rows:
    """A list of objects, or SQuAD's form."""
    content = _parse_whole(file, lines)
    if isinstance(content, dict) and "data" in content:
        yield from _questions(file, content)
        return
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise DataError(f'{file}: a .json file must hold a list of objects, or {{"data": [...]}} as SQuAD has it')
    for row in content:
        yield None, row


def _parse_whole(file: Path, lines: Lines) -> Any:
    """What a file of JSON says; lists and objects take more memory than they have letters."""
    text = lines.text()
    lines.budget.spend(PER_VALUE * sum(map(text.count, "[{,:")), file)
    return _parse(file, text)


def _parse(file: Path, text: str, line: int = 1) -> Any:
    try:
        return parse_json(text)
    except JSONError as error:
        at = f"line {line + max(error.line - 1, 0)}" + (f", column {error.column}" if error.column else "")
        raise DataError(f"{file}, {at}: this is not JSON: {error.what}") from error


def read_conll(file: Path, lines: Lines, **_: Any) -> Rows:
    """A word and its tags in each line, between tabs or else blanks; sentences are blocks of lines."""
    for number, block in _blocks(lines):
        rows = [line.rstrip("\n").split("\t") if "\t" in line else line.split() for line in block]
        if rows[0][0] == "-DOCSTART-":
            continue
        for i, row in enumerate(rows):
            if len(row) < 2 or len(row) != len(rows[0]):
                wanted = max(2, len(rows[0]))
                raise DataError(f"{file}, line {number + i}: {len(row)} columns, not {wanted} (a word and its tags)")
        words, *others, labels = (list(column) for column in zip(*rows, strict=True))
        yield number, {"words": words, **{str(i): column for i, column in enumerate(others, start=1)}, "labels": labels}


def read_squad(file: Path, lines: Lines, **_: Any) -> Rows:
    """Questions about the paragraphs of articles; those of version 2.0 that have no answer get an empty list."""
    yield from _questions(file, _parse_whole(file, lines))


def _questions(file: Path, content: Any) -> Rows:
    try:
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = [] if question.get("is_impossible") else question["answers"]
                    yield (
                        None,
                        {
                            "id": str(question["id"]),
                            "question": question["question"],
                            "context": paragraph["context"],
                            "answers": [{"text": a["text"], "answer_start": a["answer_start"]} for a in answers],
                        },
                    )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: this is not SQuAD's form (data, paragraphs, qas, answers): {error!r}") from error


FORMATS: dict[str, Callable[..., Rows]] = {
    "text": read_text,
    "lines": read_lines,
    "document": read_document,
    "tsv": read_tsv,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "json": read_json,
    "conll": read_conll,
    "squad": read_squad,
}
