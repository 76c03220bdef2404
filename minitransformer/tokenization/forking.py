"""Locks that are free in a forked child, whatever other threads were doing in the parent.

A child has only the thread that forked. A lock that another thread held would stay locked in it for ever, and what that
thread was changing would stay half-changed. So a process is forked between two uses of every tokenizer, not in one.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet

PATIENCE = 10.0
"""Seconds to wait for a thread that uses a tokenizer; it might itself be waiting for the thread that forks."""

_owners: WeakSet[Any] = WeakSet()
_held: list[Any] = []


def fork_safe_lock(owner: Any) -> threading.RLock:
    """A lock that ``owner`` keeps as ``_lock``; a forked child gets a new one."""
    _owners.add(owner)
    return threading.RLock()


def _before() -> None:
    for owner in list(_owners):
        lock = owner._lock
        if lock.acquire(timeout=PATIENCE):
            _held.append(lock)


def _after_in_parent() -> None:
    while _held:
        _held.pop().release()


def _after_in_child() -> None:
    _held.clear()
    for owner in list(_owners):
        owner._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
