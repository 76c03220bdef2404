"""Giving freed memory back to the system, which the C library keeps for later, in pieces that grow with every burst."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


def give_back() -> None:
    """Give back what is free; takes a millisecond. Nothing happens where the C library has no such function."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    """``malloc_trim`` of glibc (https://man7.org/linux/man-pages/man3/malloc_trim.3.html)."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
