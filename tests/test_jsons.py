"""JSON is read within bounds, and refused with the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from minitransformer.errors import CheckpointError
from minitransformer.jsons import DEEPEST, MOST_DIGITS, JSONError, parse_json, read_json


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nests deeper"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "nests deeper"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nests deeper"),
        ("1" * (MOST_DIGITS + 1), "integer of 41 digits"),
        ("9" * 5000, "integer of 5000 digits"),
        ('{"a": "\\ud800"}', "half a character"),
        ('"\ud800"', "half a character"),
        ('{"a": 1,\n "b": }', "line 2 column 7"),
        (b"\xff\xfe", "decode"),
        ("", "line 1 column 1"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
    ],
)
def test_what_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(JSONError, match=message):
        parse_json(text)


def test_what_is_read() -> None:
    deep = "[" * DEEPEST + "]" * DEEPEST
    assert parse_json(deep) == eval(deep)
    assert parse_json("9" * MOST_DIGITS) == 10**MOST_DIGITS - 1
    assert parse_json('["\\ud83d\\ude00", 1e3, -0.5, null, true]') == ["😀", 1000.0, -0.5, None, True]
    assert parse_json("[" + ",".join(["[]"] * 500) + "]") == [[]] * 500
    assert parse_json(b'{"a": 1, "a": 2}', pairs=list) == [("a", 1), ("a", 2)]


def test_a_file_may_be_only_so_large(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" + "1," * 100 + "1]")
    assert read_json(tmp_path / "a.json") == [1] * 101
    with pytest.raises(CheckpointError, match="a.json is not valid JSON: it has more than 50 bytes"):
        read_json(tmp_path / "a.json", largest=50)
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        read_json(tmp_path / "b.json")
