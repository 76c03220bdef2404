"""The process that tries cases, with what it may use bounded and what it does watched.

It reads ``attack seed`` from its standard input, a line for each case, and answers with two lines: the description once
the case is made, then what came of it, as JSON.
"""

from __future__ import annotations

import collections
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from fuzz import Broken, find_attack
from minitransformer.errors import MinitransformerError

MEMORY = 4 * 2**30
"""Bytes that a case may use beyond what the process uses anyway."""
FILES = 2 * 2**30
"""Bytes of the longest file that may be written."""
STARTS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
    "subprocess.Popen",
)
"""Events of ``sys.addaudithook`` that no case has a reason for, unless it says so by `allow_starts`."""


class Watch:
    """Sees what Python does while a case is tried: programs started, files written or removed outside its folder."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen: list[str] = []
        self.starts_allowed = False
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in STARTS and not self.starts_allowed:
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path, mode, flags = arguments
            writes = set(mode or "") & set("wax+") if mode else (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not self._is_inside(path):
                self.seen.append(f"writes {path!r}")
        elif event in ("os.link", "os.symlink"):
            if not self._is_inside(arguments[1]):
                self.seen.append(f"{event} {arguments!r:.200}")
        elif event in ("os.remove", "os.rename", "os.rmdir", "os.truncate", "shutil.rmtree"):
            if not all(self._is_inside(path) for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)):
                self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "socket.connect" and not _is_local(arguments[1]):
            self.seen.append(f"connects to {arguments[1]!r}")

    def _is_inside(self, path: Any) -> bool:
        where = os.path.abspath(os.fsdecode(path))
        return where.startswith((self.folder or "", tempfile.gettempdir() + "/tmp", "/dev/", "/proc/self/"))


def _is_local(address: Any) -> bool:
    return not isinstance(address, tuple) or address[0] in ("127.0.0.1", "::1", "localhost")


watch: Watch | None = None


def allow_starts() -> None:
    """Called by a case that starts processes itself."""
    if watch is not None:
        watch.starts_allowed = True


def attempt(attack: str, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Try one case: its outcome, details of the outcome, seconds and megabytes. ``tell`` is given its name at first."""
    assert watch is not None
    folder = Path(tempfile.mkdtemp(prefix="fuzz-")).resolve()
    before, inside = _landmarks(), os.getcwd()
    outcome, detail = "answer", ""
    try:
        os.chdir(folder)
        name, tried = find_attack(attack)(Random(f"{attack} {seed}"), folder)
        tell(name)
        watch.folder, watch.seen, watch.starts_allowed = str(folder), [], False
        _forget_peak()
        clock, at_first = time.perf_counter(), _memory("VmRSS")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tried()
        except MinitransformerError as error:
            outcome, detail = "named error", f"{type(error).__name__}: {error}"
        except Broken as error:
            outcome, detail = error.outcome, str(error)
        except MemoryError as error:
            outcome, detail = "out of memory", repr(error)
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
            outcome, detail = (
                "out of memory" if "allocate memory" in text else "raw exception",
                _with_place(text, error),
            )
        finally:
            watch.folder = None
        seconds, used = time.perf_counter() - clock, _memory("VmHWM") - at_first
        if watch.seen:
            outcome, detail = "code ran", "; ".join(watch.seen[:5])
        elif used > MEMORY:
            outcome, detail = "out of memory", f"{used / 2**20:.0f} MiB. {detail}"
        elif (after := _landmarks()) != before:
            outcome, detail = "changed the process", str([k for k in after if after[k] != before[k]])
    finally:
        os.chdir(inside)
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "outcome": outcome,
        "detail": detail[:2000],
        "seconds": round(seconds, 3),
        "mebibytes": used // 2**20,
    }


def _landmarks() -> dict[str, int]:
    """Numbers that change if a case patches what the whole process uses."""
    import builtins
    import pickle

    classes: list[Any] = [collections.Counter, collections.OrderedDict, collections.defaultdict, builtins, os, pickle]
    if torch := sys.modules.get("torch"):
        classes += [torch.nn.Module, torch.storage.UntypedStorage]
    return {
        one.__name__: hash(tuple((name, id(value)) for name, value in vars(one).items() if name != "_"))
        for one in classes
    }


def _with_place(text: str, error: BaseException) -> str:
    """The exception, and the innermost place in the library where it passed."""
    place, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "minitransformer" in code.co_filename:
            place = f" [{Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}]"
        trace = trace.tb_next
    return text[:1000] + place


def _memory(field: str) -> int:
    """A line of /proc/self/status in bytes; 0 where there is none."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(field)), 0)
    except OSError:
        return 0


def _forget_peak() -> None:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILES, FILES))
    limit = _memory("VmData") + MEMORY + 2**29
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main() -> None:
    """Answer cases until standard input ends."""
    global watch
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a case prints is no answer of ours
    import torch

    import minitransformer  # noqa: F401  (before memory is bounded)

    torch.set_num_threads(1)
    _bound()
    watch = Watch()

    def answer(content: Any) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    for line in sys.stdin:
        attack, seed = line.split()
        answer(attempt(attack, int(seed), answer))


if __name__ == "__main__":
    from fuzz import worker  # the module that cases import, not this copy of it

    worker.main()
