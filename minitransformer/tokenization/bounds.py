"""Bounds of what a tokenizer's files may hold, kept before the ``tokenizers`` library sees it.

That library takes time with the square of the length and number of added tokens, and ends the process at a piece of a
million letters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from minitransformer.errors import TokenizerError
from minitransformer.jsons import LARGEST_FILE, JSONError, parse_json

LONGEST_TOKEN = 1000
"""Letters of a special or added token."""
MOST_ADDED = 20_000
"""Added tokens."""
MOST_ADDED_LETTERS = 200_000
"""Letters of all added tokens together."""
LONGEST_PIECE = 4096
"""Bytes of a piece of a SentencePiece model; half of what a string of tokenizer.json may have at least."""
MOST_PIECES = 300_000
"""Of a SentencePiece model; the largest that are published have 256,000."""
MOST_SENTINELS = 10_000
"""Of T5's ``extra_ids``."""

_BLOCK = LONGEST_PIECE
_CHARSMAP = b'"precompiled_charsmap"'

_DECODER = json.JSONDecoder()

T = TypeVar("T")


def call_library(action: Callable[[], T], message: str) -> T:
    """What an action of the ``tokenizers`` library gives, whose exceptions are plain, or even panics.

    Raises:
        TokenizerError: it raised; the message goes on with what.
    """
    try:
        return action()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic is no Exception
        raise TokenizerError(f"{message}: {str(error)[:500]}") from error


def check_token(text: str, what: str) -> str:
    """A token, if it is not too long.

    Raises:
        TokenizerError: it is; or holds half a character.
    """
    if len(text) > LONGEST_TOKEN:
        raise TokenizerError(f"{what} has {len(text):,} letters; a token may have {LONGEST_TOKEN:,}")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise TokenizerError(f"{what} is not valid Unicode: {text!a:.100}")
    return text


def check_added(tokens: Iterable[Any], where: str) -> None:
    """Raise a TokenizerError if these are too many tokens to add, or too long ones."""
    lengths = [len(str(token.get("content", "") if isinstance(token, Mapping) else token)) for token in tokens]
    if len(lengths) > MOST_ADDED or sum(lengths) > MOST_ADDED_LETTERS:
        raise TokenizerError(
            f"{where} has {len(lengths):,} added tokens with {sum(lengths):,} letters; there may be {MOST_ADDED:,} "
            f"with {MOST_ADDED_LETTERS:,}: such words belong into the vocabulary"
        )


def check_backend_file(path: Path) -> None:
    """See that a tokenizer.json holds no string that is too long, and not too many added tokens.

    A file without such things is not parsed for it: every block of it has a quotation mark, but for the table of
    character replacements.

    Raises:
        TokenizerError: it does.
        CheckpointError: the file is no JSON.
    """
    with open(path, "rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise TokenizerError(f"{path} has more than {LARGEST_FILE:,} bytes")
    first = data.find(b'"added_tokens"')
    escapes = data.count(b"\\")
    is_plain = not escapes or not _spells_keys_oddly(data) and (escapes < _BLOCK or data.count(b'\\"') < _BLOCK)
    if is_plain and data.find(b'"added_tokens"', first + 1) < 0 and _has_short_strings(data):
        added = _array_at(data, first) if first >= 0 else []
        if added is not None:
            _check_added_entries(added, path)
            return
    try:
        content = parse_json(data)
    except JSONError:
        return  # the library says that it cannot read it
    _check_strings(content, path)
    if isinstance(content, dict):
        _check_added_entries(content.get("added_tokens"), path)


def _has_short_strings(data: bytes) -> bool:
    begin, end = 0, len(data)
    charsmap = data.find(_CHARSMAP)
    if charsmap >= 0:
        begin = data.find(b'"', charsmap + len(_CHARSMAP))
        end = data.find(b'"', begin + 1)
        return end > 0 and _is_dense(data, 0, begin) and _is_dense(data, end, len(data))
    return _is_dense(data, begin, end)


def _is_dense(data: bytes, begin: int, end: int) -> bool:
    """Whether every block of a part of the file has a quotation mark."""
    return all(data.find(b'"', at, at + _BLOCK) >= 0 for at in range(begin, end - _BLOCK, _BLOCK))


def _spells_keys_oddly(data: bytes) -> bool:
    r"""Whether plain letters are written by number, as in ``added\\u005ftokens``."""
    return b"\\u00" in data and any(b"\\u00%d" % digit in data for digit in (4, 5, 6, 7))


def _array_at(data: bytes, at: int) -> list[Any] | None:
    """The list that follows a key."""
    begin = data.find(b"[", at)
    if begin < 0 or data[at + len(b'"added_tokens"') : begin].strip() != b":":
        return None
    for size in (_BLOCK, LARGEST_FILE):  # most lists are short
        try:
            found, _ = _DECODER.raw_decode(data[begin : begin + size].decode("utf-8", "replace"))
            return found if isinstance(found, list) else None
        except (ValueError, RecursionError):
            continue
    return None


def _check_added_entries(entries: Any, path: Path) -> None:
    if not isinstance(entries, list):
        return  # the library says that it should be one
    tokens = [str(entry.get("content", "")) for entry in entries if isinstance(entry, dict)]
    for token in tokens:
        check_token(token, f"an added token of {path}")
    check_added(tokens, str(path))


def _check_strings(content: Any, path: Path) -> None:
    waiting = [content]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            for name, value in one.items():
                if len(name) > 2 * _BLOCK:
                    raise TokenizerError(f"{path} has a string of {len(name):,} letters, more than a token may have")
                if name != "precompiled_charsmap":
                    waiting.append(value)
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str) and len(one) > 2 * _BLOCK:
            raise TokenizerError(f"{path} has a string of {len(one):,} letters, more than a token may have")
