"""How a value or a foreign text stands in a message: short, on one line, and without power over a terminal."""

from __future__ import annotations

import re
import reprlib
from typing import Any

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, what turns the direction of writing, and halves of characters."""

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 120
_REPR.maxlong = 60
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = _REPR.maxfrozenset = 8
_REPR.maxlevel = 4


def shown(value: Any) -> str:
    """A value in a message: short, on one line, and never an error of its own."""
    try:
        text = _REPR.repr(value)
    except Exception:  # integers of thousands of digits, objects whose repr fails
        text = f"a value of type {type(value).__name__}"
    return " ".join(text.split()) if "\n" in text else text


def harmless(text: str) -> str:
    r"""Text without anything that steers a terminal: ``\u001b`` in the place of an escape character."""
    return STEERING.sub(lambda found: escaped(found[0]), text)


def escaped(character: str) -> str:
    """A character as JSON writes it."""
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else "\\u{:04x}\\u{:04x}".format(*_pair(number))


def _pair(number: int) -> tuple[int, int]:
    """The surrogates that JSON writes a character beyond the first 65,536 with."""
    return 0xD800 + (number - 0x10000 >> 10), 0xDC00 + (number - 0x10000 & 0x3FF)
