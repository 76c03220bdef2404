"""JSON from files that nobody vouches for: read within bounds, or refused by name.

Python's own reader fails in many ways at what is no JSON, or is too much of it: deep nesting, integers of thousands of
digits, half characters. Here each is one error, which names the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minitransformer.errors import CheckpointError

DEEPEST = 100
"""Lists and objects inside of each other."""
MOST_DIGITS = 40
"""Of an integer."""
LARGEST_FILE = 2**26
"""Bytes of a JSON file of a checkpoint."""

_HALF = re.compile("[\ud800-\udfff]")


class JSONError(ValueError):
    """What is wrong with a text that should be JSON; its line and column if one is to blame, else 0."""

    def __init__(self, what: str, line: int = 0, column: int = 0) -> None:
        super().__init__(what + (f": line {line} column {column}" if line else ""))
        self.what, self.line, self.column = what, line, column


def parse_json(text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """What a JSON text says.

    Args:
        text: as bytes in UTF-8.
        pairs: makes an object of its keys and values, in order; by default a dictionary.

    Raises:
        JSONError: it is not JSON, or nests deeper than `DEEPEST`, or has integers of more than `MOST_DIGITS`.
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        if text.startswith("\ufeff"):
            raise ValueError("it begins with a byte order mark: save it as UTF-8 without one")
        value = (_DECODER if pairs is None else _decoder(pairs)).decode(text)
    except json.JSONDecodeError as error:
        raise JSONError(error.msg, error.lineno, error.colno) from error
    except RecursionError as error:
        raise JSONError(f"it nests deeper than {DEEPEST} lists and objects") from error
    except ValueError as error:  # not UTF-8, and what _integer says
        raise JSONError(str(error)) from error
    if text.count("[") + text.count("{") > DEEPEST:
        _check_depth(value)
    if "\\ud" in text or "\\uD" in text or _HALF.search(text):
        _check_characters(value)
    return value


def read_json(
    path: Path,
    *,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
    error: type[Exception] = CheckpointError,
    largest: int = LARGEST_FILE,
) -> Any:
    """What a JSON file says.

    Raises:
        CheckpointError: (or ``error``) it is not JSON, or has more than ``largest`` bytes.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise JSONError(f"it has more than {largest:,} bytes")
        return parse_json(content, pairs)
    except OSError as reason:
        raise error(f"{path} cannot be read: {reason.strerror or reason}") from reason
    except JSONError as reason:
        raise error(f"{path} is not valid JSON: {reason}. Fetch or copy it again, or mend it.") from reason
    except ValueError as reason:  # a zero byte in the name
        raise error(f"{str(path)!r} cannot be read: {reason}") from reason


def _decoder(pairs: Callable[[list[tuple[str, Any]]], Any] | None) -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=pairs, parse_int=_integer)


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"it has an integer of {len(digits)} digits, {digits[:MOST_DIGITS]}...")
    return int(digits)


_DECODER = _decoder(None)  # to make one for each line of a file takes as long as reading it


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        inner = [
            one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list | tuple)
        ]
        if not inner:
            return
        level = [one for many in inner for one in many if isinstance(one, dict | list | tuple)]
    raise JSONError(f"it nests deeper than {DEEPEST} lists and objects")


def _check_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise JSONError("it has half a character (a surrogate without its other half)") from error
