"""Writing files: each appears whole or not at all, and several together if they belong together.

A file is written beside its target, flushed, and takes the target's name in one step; whatever goes wrong before, what
was there stays and nothing is left lying around. A link stays a link: what it points to is replaced. Only regular files
can be replaced: a device or a pipe (``/dev/stdout``) is written to as it comes.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import IO, Any

from minitransformer.errors import MinitransformerError, SavingError

LONGEST_NAME = 150
"""Letters of a target's name that its draft takes over."""

_number = count()
_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/dev/std(?:out|err)|/(?:dev|proc/self)/fd/(\d+)", re.ASCII)


class _Group:
    """Files that take their names together."""

    def __init__(self) -> None:
        self.drafts: list[tuple[Path, Path]] = []
        self.folders: list[Path] = []
        self.outdated: list[Path] = []

    def finish(self) -> None:
        for draft, target in self.drafts:  # together, which takes little more time than one
            with _naming(target):
                _flush(draft)
        while self.drafts:
            draft, target = self.drafts[0]
            with _naming(target):
                os.replace(draft, target)
            self.drafts.pop(0)
        for path in self.outdated:
            with _naming(path):
                path.unlink(missing_ok=True)

    def give_up(self) -> None:
        for draft, _ in self.drafts:
            draft.unlink(missing_ok=True)
        for folder in reversed(self.folders):
            try:
                folder.rmdir()
            except OSError:  # somebody else has put something there
                break


_group: ContextVar[_Group | None] = ContextVar("_group", default=None)


@contextmanager
def together(folder: str | Path | None = None) -> Iterator[None]:
    """Files that are written inside of this block take their names at its end, or none of them does.

    Args:
        folder: is made if it is not there; and goes again if the block fails.

    Raises:
        SavingError: the folder cannot be made, or a file cannot take its name.
    """
    outer = _group.get()
    group = outer or _Group()
    token = _group.set(group)
    try:
        if folder is not None:
            _make_folder(Path(folder), group)
        yield
        if outer is None:
            group.finish()
    except BaseException:
        if outer is None:
            group.give_up()
        raise
    finally:
        _group.reset(token)


def _make_folder(folder: Path, group: _Group) -> None:
    missing = []
    with _naming(folder):
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            group.folders.append(path)


def remove_outdated(path: Path) -> None:
    """Remove a file that others replace, once they are there."""
    group = _group.get()
    if group is None:
        path.unlink(missing_ok=True)
    else:
        group.outdated.append(path)


@contextmanager
def draft_of(path: str | Path) -> Iterator[Path]:
    """A new file, to be filled by whatever writes to a path; it takes the name ``path`` at the end of the block.

    Raises:
        SavingError: it cannot be written, or ``path`` is no name that a regular file can take.
    """
    with _draft(Path(path)) as draft, _naming(path):
        yield draft


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    with together():
        group = _group.get()
        assert group is not None
        with _naming(path):
            target, known = _resolve(path)
            draft = _new_draft(target)
        try:
            yield draft
            if known is not None:
                with _naming(path):
                    os.chmod(draft, stat.S_IMODE(known.st_mode))
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        group.drafts.append((draft, target))


class Writer:
    """A file that is being written; its errors name it."""

    def __init__(self, file: IO[Any], path: Path) -> None:
        self._file, self._path = file, path

    def write(self, content: Any) -> int:
        with _naming(self._path):
            return self._file.write(content)

    def flush(self) -> None:
        with _naming(self._path):
            self._file.flush()


@contextmanager
def open_whole(path: str | Path, mode: str = "w") -> Iterator[Writer]:
    """A file open for writing, text ("w", in UTF-8) or bytes ("wb"), that takes its name at the end of the block.

    Raises:
        SavingError: it cannot be written.
    """
    path = Path(path)
    how: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    if not _is_stream(path):
        with _draft(path) as draft:
            with _naming(path):
                file = draft.open(mode, **how)
            try:
                yield Writer(file, path)
            finally:
                with _naming(path):
                    file.close()
        return
    with _naming(path):
        named = _DESCRIPTOR.fullmatch(os.path.abspath(path))
        number = os.dup(_STANDARD.get(named[0], -1) if named[1] is None else int(named[1])) if named else path
        file = open(number, mode.replace("w", "a"), **how)
    try:
        yield Writer(file, path)
    finally:
        with _naming(path):
            file.close()


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file, text in UTF-8.

    Raises:
        SavingError: it cannot be written.
    """
    with open_whole(path, "wb") as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Turn an error of the system into one that names the file."""
    try:
        yield
    except MinitransformerError:
        raise
    except (OSError, ValueError) as error:  # a ValueError: a zero byte or half a character in the name
        reason = getattr(error, "strerror", None) or error
        raise SavingError(f"{path} cannot be written: {reason}. What was there before is as it was") from error


def _is_stream(path: Path) -> bool:
    """Whether a path leads to something that has no contents to replace: a device, a pipe, an open file's number."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    opened = os.path.abspath(path).startswith(("/dev/", "/proc/"))
    return opened and not stat.S_ISDIR(mode) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _resolve(path: Path) -> tuple[Path, os.stat_result | None]:
    """Where a link leads, and what is there, if anything is."""
    if "\0" in str(path):
        raise OSError("a name cannot hold a zero byte")
    target = Path(os.path.realpath(path))
    try:
        known = target.stat()
    except FileNotFoundError:
        return target, None
    if not stat.S_ISREG(known.st_mode):
        raise OSError("it is a folder" if stat.S_ISDIR(known.st_mode) else "it is no regular file")
    return target, known


def _new_draft(target: Path) -> Path:
    """An empty file beside the target; what killed processes have left of earlier ones goes."""
    host = zlib.crc32(os.uname().nodename.encode()) if hasattr(os, "uname") else 0
    name = target.name.encode()[:LONGEST_NAME].decode(errors="ignore")
    start = f".{name}.{host:08x}-"
    for left in os.listdir(target.parent):
        if left.startswith(start) and left.endswith(".part") and not _is_alive(left[len(start) :].split("-")[0]):
            (target.parent / left).unlink(missing_ok=True)
    draft = target.parent / f"{start}{os.getpid()}-{next(_number)}.part"
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    return draft


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, OverflowError):
        pass
    return True


def _flush(draft: Path) -> None:
    """Have the disk hold a draft."""
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
