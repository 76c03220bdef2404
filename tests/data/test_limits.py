"""Data take no more memory than they may, whatever their files promise."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from random import Random

import pytest

from minitransformer.data import read_records, streams
from minitransformer.data.streams import PIECE, VARIABLE
from minitransformer.errors import DataError


def test_a_line_over_the_end_of_a_piece_is_one_line(tmp_path: Path) -> None:
    lines = [f"{'é' * (PIECE // 3)} {i}" for i in range(5)]
    (tmp_path / "a.txt").write_bytes("\r\n".join(lines).encode())
    records = read_records(tmp_path / "a.txt", format="lines")
    assert [record["text"] for record in records] == lines and [record.line for record in records] == [1, 2, 3, 4, 5]


def test_what_is_not_utf8_is_named_by_its_line_in_a_later_piece(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"0123456789\n" * (PIECE // 5) + b"\xff\n")
    with pytest.raises(DataError, match=f"line {PIECE // 5 + 1}: this is not UTF-8 \\(byte 0xff\\)"):
        read_records(tmp_path / "a.txt")


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl", "a.json"])
def test_the_limit_can_be_raised(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"a.txt": "x\n\n", "a.tsv": "x\ty\n", "a.csv": "x,y\n", "a.jsonl": '{"x": 1}\n', "a.json": '{"x": 1},'}[name]
    text = f"[{rows * 99}{rows[:-1]}]" if name == "a.json" else rows * 100
    (tmp_path / name).write_text(text)
    options = {"header": False} if name in ("a.tsv", "a.csv") else {}
    assert len(read_records(tmp_path / name, **options)) == 100
    with pytest.raises(DataError, match="limit=..., or the environment variable MINITRANSFORMER_DATA_LIMIT"):
        read_records(tmp_path / name, limit=20_000, **options)
    monkeypatch.setenv(VARIABLE, "20000")
    with pytest.raises(DataError, match="more than 20,000 bytes"):
        read_records(tmp_path / name, **options)
    assert len(read_records(tmp_path / name, limit=10**6, **options)) == 100
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(DataError, match="must be a number of bytes, not 'much'"):
        read_records(tmp_path / name, **options)


def test_devices_and_bombs_end(tmp_path: Path) -> None:
    for kind in ("text", "lines", "document", "json", "tsv", "csv"):
        with pytest.raises(DataError, match="a quarter of the limit|more than 100,000,000 bytes|NUL|field larger"):
            read_records("/dev/zero", format=kind, limit=10**8)
    with gzip.open(tmp_path / "a.txt.gz", "wb", compresslevel=1) as file:
        for _ in range(30):
            file.write(b"a\n" * PIECE)
    with pytest.raises(DataError, match="unpacks to more than 40 times its size"):
        read_records(tmp_path / "a.txt.gz")


@pytest.mark.parametrize("piece", [1, 2, 7, 64])
def test_lines_are_the_same_in_pieces_of_any_size(piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = Random(piece)
    for _ in range(40):
        text = "".join(draw.choices(["a", "é", "漢", " ", "\n", "\r\n", "b" * 20], k=draw.randrange(1, 40)))
        (tmp_path / "a.txt").write_bytes(text.encode())
        monkeypatch.setattr(streams, "PIECE", piece)
        found = list(streams.Lines(tmp_path / "a.txt", streams.Budget()))
        assert found == list(enumerate(text.replace("\r\n", "\n").removesuffix("\n").split("\n"), 1)), repr(text)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="Linux has a file without end")
def test_a_line_without_end_is_given_up_before_the_memory_is() -> None:
    began = time.process_time()
    with pytest.raises(DataError, match="line 1 has more than 50,000,000 letters"):
        read_records("/dev/zero", format="lines", limit=200_000_000)
    assert time.process_time() - began < 2
