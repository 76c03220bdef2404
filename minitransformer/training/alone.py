"""One training at a time in a folder: a lock that says whose it is, and that ends with its process, however it ends."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from minitransformer.errors import TrainingError
from minitransformer.jsons import parse_json
from minitransformer.options import harmless
from minitransformer.training.distributed import from_first, rank

LOCK = "training.lock"
_held: set[Path] = set()
"""Folders of this process."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else trains in this folder before the end of the block. All processes of a training have to call it.

    Raises:
        TrainingError: somebody else does already; says who, and since when.
    """
    place = folder.absolute()
    if place in _held:
        yield
        return
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    descriptor, refusal = _take(folder / LOCK) if rank() == 0 else (None, None)
    refusal = from_first(refusal)
    if refusal is not None:
        raise TrainingError(refusal)
    _held.add(place)
    try:
        yield
    finally:
        _held.discard(place)
        if descriptor is not None:
            (folder / LOCK).unlink(missing_ok=True)
            os.close(descriptor)
            with suppress(OSError):  # there is something in it
                for each in new:
                    each.rmdir()


def _take(path: Path) -> tuple[int | None, str | None]:
    """The open lock; or why there is none."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return None, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.read(descriptor, 1000).decode(errors="replace")
                os.close(descriptor)
                return None, f"{path.parent} is being trained in by {_told(owner)}: wait for its end, or stop it"
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                break
            os.close(descriptor)  # whoever had it has just removed it
        us = {"process": os.getpid(), "computer": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(us).encode())
    except OSError as error:
        return None, f"the output folder {path.parent} could not be written: {error.strerror or error}"
    return descriptor, None


def _told(owner: str) -> str:
    """What the lock says of its owner."""
    try:
        said: Any = parse_json(owner)
        told = f"process {int(said['process'])} on {said['computer']!s:.100}, since {said['since']!s:.30}"
    except (ValueError, KeyError, TypeError, OverflowError):
        return "another process"
    return harmless(told)
