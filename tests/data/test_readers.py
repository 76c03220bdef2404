"""Every format of file, what becomes of its columns, and what is said of files that are wrong."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minitransformer.data import Record, as_records, read_records
from minitransformer.errors import DataError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def read(folder: Path, name: str, content: str | bytes, **options: Any) -> list[dict[str, Any]]:
    return [dict(record) for record in read_records(write(folder, name, content), **options)]


# ---------------------------------------------------------------------------------------------------------------- texts

TEXT = "\n A line\nand another. \n\n\nSecond\r\nparagraph\n \nThird"


def test_texts_are_paragraphs_lines_or_the_whole_file(tmp_path):
    assert read(tmp_path, "a.txt", TEXT) == [
        {"text": " A line\nand another. "},
        {"text": "Second\nparagraph"},
        {"text": "Third"},
    ]
    unwrapped = ["A line and another.", "Second paragraph", "Third"]
    assert [r["text"] for r in read(tmp_path, "a.raw", TEXT, unwrap=True)] == unwrapped
    lines = ["A line", "and another.", "Second", "paragraph", "Third"]
    assert [r["text"] for r in read(tmp_path, "a.txt", TEXT, format="lines")] == lines
    assert read(tmp_path, "a.txt", TEXT, format="document", unwrap=True) == [{"text": "\n\n".join(unwrapped)}]


def test_records_know_their_place(tmp_path):
    path = write(tmp_path, "a.txt", TEXT)
    assert [record.line for record in read_records(path)] == [2, 6, 9]
    assert [record.line for record in read_records(path, format="lines")] == [2, 3, 6, 7, 9]
    assert read_records(path)[1].where() == f"{path}, line 6"
    assert read_records(path)[1].where(2) == f"{path}, line 8"
    copy = pickle.loads(pickle.dumps(read_records(path)[1]))
    assert copy.where() == f"{path}, line 6" and dict(copy) == {"text": "Second\nparagraph"}


def test_several_files_patterns_and_packed_files(tmp_path):
    write(tmp_path, "b.txt.gz", "two")
    write(tmp_path, "a.txt", "one")
    write(tmp_path, "c.md", "three")
    assert [r["text"] for r in read_records(tmp_path / "*.txt*")] == ["one", "two"]
    both = read_records([tmp_path / "b.txt.gz", str(tmp_path / "a.txt")])
    assert [Path(r.file).name for r in both] == ["b.txt.gz", "a.txt"]


# --------------------------------------------------------------------------------------------------------------- tables


def test_tables_with_and_without_names(tmp_path):
    content = 'text\tlabel\n"Stop," she said\tgood\nplain\t\n'
    expected = [{"text": '"Stop," she said', "label": "good"}, {"text": "plain", "label": ""}]
    assert read(tmp_path, "a.tsv", content) == expected
    swapped = [{"source": r["label"], "target": r["text"]} for r in expected]
    assert read(tmp_path, "a.tsv", content, columns={"source": "label", "target": "text"}) == swapped
    bare = content.partition("\n")[2]
    assert read(tmp_path, "b.tsv", bare, columns={"text": 0, "label": 1}) == expected
    assert read(tmp_path, "b.tsv", content, columns={"text": 0, "label": 1}, header=True) == expected
    assert read(tmp_path, "b.tsv", bare, header=False)[0] == {"0": '"Stop," she said', "1": "good"}
    extra = "train\t5.0\ta\tb\nx\t1.0\tc\td\tsource\turl\n"  # rows may be longer where nothing is named
    assert [r["score"] for r in read(tmp_path, "c.tsv", extra, columns={"score": 1, "text": 2})] == ["5.0", "1.0"]


def test_csv_has_quotes_and_lines_inside_of_them(tmp_path):
    content = 'text,category\n"one\ntwo, three",a\nfour,"b ""c"""\n'
    path = write(tmp_path, "a.csv", content)
    records = read_records(path, columns={"text": "text", "label": "category"})
    assert [dict(r) for r in records] == [{"text": "one\ntwo, three", "label": "a"}, {"text": "four", "label": 'b "c"'}]
    assert [r.line for r in records] == [2, 4]


def test_a_missing_column_is_named_with_the_nearest(tmp_path):
    path = write(tmp_path, "a.tsv", "sentence1\tlabel\na\tb\n")
    with pytest.raises(DataError, match=r"a.tsv, line 2: there is no column 'sentense1'. Did you mean 'sentence1'\?"):
        read_records(path, columns={"text": "sentense1"})
    with pytest.raises(DataError, match=r"a.tsv, line 1: there is no column '2'. It has '0', '1'"):
        read_records(path, columns={"text": 2})


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.tsv", "a\tb\n1\t2\n3\n", {}, "a.tsv, line 3: 1 cells, but line 1 names 2 columns"),
        ("a.tsv", "a\ta\n1\t2\n", {}, "a.tsv, line 1: two columns have one name"),
        ("a.tsv", "a\tb\n", {}, "a.tsv: there are no records"),
        ("a.csv", 'a,b\n1,2\n"3,4\n', {}, "a.csv, line 3: unexpected end of data"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', {}, "a.jsonl, line 2, column 7: this is not JSON"),
        ("a.jsonl", "[1]\n", {}, r"a.jsonl, line 1: a record must be an object .*not '\[1\]'"),
        ("a.json", '{"a": 1}', {}, "a list of objects, or"),
        ("a.json", '{"data": [{"paragraphs": [{"qas": [{"id": 1}]}]}]}', {}, "not SQuAD's form"),
        ("a.conll", "a O\nb\n", {}, "a.conll, line 2: 1 columns, not 2"),
        ("a.conll", "x\tO\n\na\tb\tO\nb\tO\n", {}, "a.conll, line 4: 2 columns, not 3"),
        ("a.conll", "word\n", {}, "a.conll, line 1: 1 columns, not 2"),
        ("a.txt", "", {}, "there are no records"),
        ("a.txt", b"good\n\nbad \xe9\n", {}, r"a.txt, line 3: this is not UTF-8 \(byte 0xe9\)"),
        ("a.dat", "x", {}, "does not tell the format; say format = one of text, lines"),
        ("a.txt", "x", {"format": "line"}, "unknown format 'line'. Did you mean 'lines'"),
    ],
)
def test_damaged_files(tmp_path, name, content, options, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, name, content, **options)


def test_missing_files(tmp_path):
    write(tmp_path, "train.tsv", "a\tb\n1\t2\n")
    with pytest.raises(DataError, match=r"there is no file .*trainn.tsv. Did you mean 'train.tsv'\?"):
        read_records(tmp_path / "trainn.tsv")
    with pytest.raises(DataError, match="there is no file"):
        read_records(tmp_path / "nowhere" / "*.txt")
    with pytest.raises(DataError, match="is a folder: name its files"):
        read_records(tmp_path)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"hello" * 99)[:-9])
    with pytest.raises(DataError, match=r"a.txt.gz cannot be read"):
        read_records(tmp_path / "a.txt.gz")


# ----------------------------------------------------------------------------------------------------------------- JSON


def test_lines_of_json_with_lists_inside(tmp_path):
    rows = [{"source": ["One.", "Two."], "summaries": ["short", "other"], "n": 1, "meta": {"tags": ["x"]}}]
    content = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    columns = {"source": "source", "target": "summaries.0", "label": "meta.tags.-1", "n": "n"}
    assert read(tmp_path, "a.jsonl", content, columns=columns) == [
        {"source": "One. Two.", "target": "short", "label": "x", "n": 1}
    ]
    assert read(tmp_path, "a.json", json.dumps(rows))[0]["n"] == 1
    with pytest.raises(DataError, match="line 1: there is no column 'summaries.2'"):
        read(tmp_path, "a.jsonl", content, columns={"target": "summaries.2"})


def squad(**question: Any) -> str:
    question = {"id": 7, "question": "who?", "answers": [{"text": "b", "answer_start": 2, "worker": 1}], **question}
    return json.dumps({"version": "x", "data": [{"title": "t", "paragraphs": [{"context": "a b", "qas": [question]}]}]})


def test_squad(tmp_path):
    answers = [{"text": "b", "answer_start": 2}]
    expected = {"id": "7", "question": "who?", "context": "a b", "answers": answers}
    assert read(tmp_path, "a.json.gz", squad()) == [expected]
    none = squad(is_impossible=True, answers=[], plausible_answers=answers)
    assert read(tmp_path, "b.txt", none, format="squad") == [{**expected, "answers": []}]
    assert read_records(tmp_path / "a.json.gz")[0].where() == f"{tmp_path / 'a.json.gz'}, question '7'"


# --------------------------------------------------------------------------------------------------------- tagged words


def test_tagged_words(tmp_path):
    content = "-DOCSTART- O\n\nParis\tNNP\tB-LOC\nis\tVBZ\tO\n\n\n#\tSYM\tO\n"
    path = write(tmp_path, "a.conll", content)
    assert [dict(r) for r in read_records(path, columns={"words": "words", "labels": "labels"})] == [
        {"words": ["Paris", "is"], "labels": ["B-LOC", "O"]},
        {"words": ["#"], "labels": ["O"]},
    ]
    assert [r.line for r in read_records(path)] == [3, 7]
    second = read_records(path, columns={"words": 0, "labels": 1})
    assert second[0]["labels"] == ["NNP", "VBZ"]
    assert read(tmp_path, "b.tsv", "a b\tO\n", format="conll") == [{"words": ["a b"], "labels": ["O"]}]
    assert read(tmp_path, "c.bio", "a O\n\nb O\n")[1] == {"words": ["b"], "labels": ["O"]}


# ---------------------------------------------------------------------------------------- choosing and renaming records

EMOTIONS = "nice\t3\nbad\t1\nboth\t1,3\nwell\t2\n"
NUMBERED = {"columns": {"text": 0, "label": 1}}


def test_labels_are_renamed_and_then_chosen(tmp_path, caplog):
    caplog.set_level("INFO")
    names = {"1": "negative", "3": "positive"}
    where = {"label": ["positive", "negative"]}
    rows = read(tmp_path, "a.tsv", EMOTIONS, **NUMBERED, rename_labels=names, where=where)
    assert rows == [{"text": "nice", "label": "positive"}, {"text": "bad", "label": "negative"}]
    assert "2 of 4 records left out by where" in caplog.text
    tags = read(tmp_path, "a.conll", "a B-ORG\nb O\n", rename_labels={"B-ORG": "O"})
    assert tags == [{"words": ["a", "b"], "labels": ["O", "O"]}]


def test_nothing_left_is_an_error(tmp_path):
    path = write(tmp_path, "a.tsv", EMOTIONS)
    with pytest.raises(DataError, match=r"no record is left where .*Most common there: label = '3' \(1\)"):
        read_records(path, **NUMBERED, where={"label": ["positive"]})
    with pytest.raises(DataError, match="line 1: there is no 'labell'"):
        read_records(path, **NUMBERED, where={"labell": ["1"]})


def test_rows_of_other_libraries():
    rows = [{"sentence": "a", "label": 1}, {"sentence": "b", "label": 0}]
    records = as_records(rows, {"text": "sentence", "label": "label"}, name="sst2")
    assert records == [{"text": "a", "label": 1}, {"text": "b", "label": 0}]
    assert records[1].where() == "sst2, row 1"
    kept = Record({"text": "a"}, file="f", line=3)
    assert as_records([kept])[0].where() == "f, line 3"
    with pytest.raises(DataError, match="data, row 0: a row must be a mapping"):
        as_records(["text"])  # type: ignore[list-item]
    with pytest.raises(DataError, match="sst2, row 0: there is no column 'text'"):
        as_records(rows, {"text": "text"}, name="sst2")


class Dataset:
    """What the ``datasets`` library's class of this name offers: columns inside, a new dictionary for each row."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __getitem__(self, key: int | slice | str) -> Any:
        if isinstance(key, str):
            return self._columns[key]
        return {name: values[key] for name, values in self._columns.items()}  # of a slice: lists

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))


def test_data_sets_of_the_datasets_library():
    answers = {"text": ["Paris"], "answer_start": [0]}
    squad = Dataset({"question": ["Where?"], "context": ["Paris."], "answers": [answers]})
    assert as_records(squad)[0]["answers"] == answers  # which objectives and metrics understand
    tags = Dataset({"tokens": [["a", "b"], ["c"]], "ner_tags": [[0, 3], [0]], "id": ["0", "1"]})
    found = as_records(tags, {"words": "tokens", "labels": "ner_tags"}, name="conll2003")
    assert found == [{"words": ["a", "b"], "labels": [0, 3]}, {"words": ["c"], "labels": [0]}]
    pairs = Dataset({"translation": [{"en": "cat", "fr": "chat"}]})
    assert as_records(pairs, {"source": "translation.en", "target": "translation.fr"})[0]["target"] == "chat"
    with pytest.raises(DataError, match=r"conll2003, row 0: there is no column 'token'. Did you mean 'tokens'\?"):
        as_records(tags, {"words": "token"}, name="conll2003")
    with pytest.raises(DataError, match="data, row 0: a row must be a mapping .*not str"):
        as_records({"train": tags, "test": tags})  # type: ignore[arg-type]  # a DatasetDict: all its parts at once


def test_reading_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, minitransformer.data; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
