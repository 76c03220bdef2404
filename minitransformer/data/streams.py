"""Data files as they come: a piece at a time, unpacked if need be, and no more than the machine is meant to hold."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from minitransformer.errors import DataError

DEFAULT_LIMIT = 3 * 2**30
"""Bytes of memory, roughly, that the records of one call may take."""
VARIABLE = "MINITRANSFORMER_DATA_LIMIT"
"""The environment variable that sets another limit, in bytes."""
PIECE = 2**20
"""Bytes that are read at a time."""
PER_LINE, PER_RECORD, PER_VALUE = 60, 400, 60
"""Bytes that Python takes for each, beside the letters."""
BOMB = 40
"""Times its size that a packed file may unpack to, beyond the first piece; texts pack to a third."""


class Budget:
    """What may still be read.

    Args:
        limit: bytes; by default what `VARIABLE` says, else `DEFAULT_LIMIT`.

    Raises:
        DataError: the limit is no number of bytes.
    """

    def __init__(self, limit: int | None = None) -> None:
        given: Any = os.environ.get(VARIABLE) if limit is None else limit
        try:
            self.limit = DEFAULT_LIMIT if given is None else int(given)
        except (TypeError, ValueError, OverflowError):
            self.limit = 0
        if self.limit < 1:
            raise DataError(f"the limit of data must be a number of bytes, not {given!r:.60} (limit=, or {VARIABLE})")
        self.spent = 0

    def spend(self, size: int, file: Path) -> None:
        """Count what has been read.

        Raises:
            DataError: it is more than the limit.
        """
        self.spent += size
        if self.spent > self.limit:
            raise DataError(
                f"{file}: the data take more than {self.limit:,} bytes of memory. If they are meant to, raise the "
                f"limit: limit=..., or the environment variable {VARIABLE}; or read a part of them"
            )


class Lines:
    """The lines of a file, numbered from 1, without their ends; ``text()`` is all of it.

    A line, or a text, may have a quarter of the budget's limit.

    Raises:
        DataError: the file cannot be read, is not UTF-8, or is larger than it may be; names the line.
    """

    def __init__(self, file: Path, budget: Budget) -> None:
        self.file, self.budget = file, budget
        self.count = 0

    def __iter__(self) -> Iterator[tuple[int, str]]:
        begun: list[str] = []  # of a line; put together once, however many pieces it has
        letters = 0
        for piece in self._pieces():
            lines = piece.split("\n")
            if len(lines) > 1:
                lines[0], begun, letters = "".join([*begun, lines[0]]), [], 0
                rest = lines.pop()
                self.budget.spend(PER_LINE * len(lines), self.file)
                yield from enumerate(lines, self.count + 1)
                self.count += len(lines)
            else:
                rest = lines[0]
            begun.append(rest)
            letters += len(rest)
            if letters > self.budget.limit // 4:
                raise self._too_long(f"line {self.count + 1}")
        if letters:
            self.count += 1
            yield self.count, "".join(begun)

    def text(self) -> str:
        pieces, size = [], 0
        for piece in self._pieces():
            pieces.append(piece)
            size += len(piece)
            self.count += piece.count("\n")
            if size > self.budget.limit // 4:
                raise self._too_long("the file, which is read as a whole")
        return "".join(pieces)

    def _too_long(self, what: str) -> DataError:
        return DataError(
            f"{self.file}: {what} has more than {self.budget.limit // 4:,} letters, a quarter of the limit of "
            f"{self.budget.limit:,} bytes. If it is meant to, raise the limit: limit=..., or {VARIABLE}"
        )

    def _pieces(self) -> Iterator[str]:
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
        piece = b""
        try:
            with open(self.file, "rb") as packed:
                is_packed = self.file.name.endswith(".gz")
                stream = cast(IO[bytes], gzip.GzipFile(fileobj=packed)) if is_packed else packed
                unpacked = 0
                while piece := stream.read(PIECE):
                    unpacked += len(piece)
                    if is_packed and unpacked > PIECE and unpacked > BOMB * packed.tell():
                        raise DataError(
                            f"{self.file} unpacks to more than {BOMB} times its size: unpack it yourself, if it is "
                            "meant to"
                        )
                    self.budget.spend(len(piece), self.file)
                    yield decoder.decode(piece)
                piece = b""
                yield decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            line = self.count + piece.count(b"\n", 0, error.start) + 1
            raise DataError(
                f"{self.file}, line {line}: this is not UTF-8 (byte {error.object[error.start]:#04x}); convert it"
            ) from error
        except DataError:
            raise
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{self.file} cannot be read: {error}") from error
