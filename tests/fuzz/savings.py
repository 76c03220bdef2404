"""Savings on a disk that has no room: what was there stays as it was, and nothing is left lying around."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import torch
import typer

from fuzz import Broken, Case
from fuzz.folders import FOLDERS, original
from fuzz.worker import allow_starts
from minitransformer import AutoTokenizer, pipeline
from minitransformer.cli.run import _writing
from minitransformer.files import open_whole, together, write_whole
from minitransformer.models import auto
from minitransformer.weights import open_checkpoint, save_checkpoint

libc = ctypes.CDLL(None, use_errno=True)
TASKS = {"bert": "fill-mask", "distilbert": "question-answering", "gpt2": "text-generation"}


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """A small disk, where this user may have one; else a folder in which no file can be longer."""
    path = folder / "disk"
    path.mkdir(exist_ok=True)
    if libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, b"size=%d" % max(size, 4096)) == 0:
        try:
            yield path
        finally:
            libc.umount2(os.fsencode(path), 2)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield path
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def squeeze(path: Path, room: int) -> None:
    """Fill a small disk up, but for some bytes."""
    free = os.statvfs(path)
    fill = free.f_bavail * free.f_frsize - room
    if fill > 0:
        with open(path / "full", "wb") as file:
            file.write(bytes(min(fill, 2**26)))


def everything(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def load(name: str) -> Any:
    model_type, head = FOLDERS[name][1:3]
    return auto.architecture(model_type).heads[head].from_pretrained(original(name))


def saving(draw: Random, name: str, target: Path) -> tuple[str, Callable[[], Any]]:
    """Something to save, in a folder or a file."""
    file = target / "answers.jsonl"
    lines = [f"line {i}\n" * draw.randrange(1, 50) for i in range(draw.choice((1, 100, 3000)))]
    shard = draw.choice((None, None, 5000, 20_000))

    def weights() -> None:
        source = open_checkpoint(original(name))
        with together(target):
            save_checkpoint({key: source.read(key) for key in source.names()}, target, max_shard_size=shard)

    def stream(opened: Callable[[Path], Any]) -> Callable[[], None]:
        def write() -> None:
            with together(target), opened(file) as out:
                for line in lines:
                    out.write(line)

        return write

    def several() -> None:
        with together(target):
            for i in range(5):
                write_whole(target / f"part {i}", "".join(lines))

    def whole_pipeline() -> None:
        with torch.inference_mode():
            pipeline(TASKS[name], model=str(original(name))).save_pretrained(target)

    ways: dict[str, Callable[[], Any]] = {
        "model": lambda: load(name).save_pretrained(target, max_shard_size=shard),
        "tokenizer": lambda: AutoTokenizer.from_pretrained(original(name)).save_pretrained(target),
        "config": lambda: load(name).config.save_pretrained(target),
        "weights": weights,
        "answers": stream(open_whole),
        "output": stream(_writing),
        "several": several,
    }
    if name in TASKS:
        ways["pipeline"] = whole_pipeline
    way = draw.choice(sorted(ways))
    return f"{way} of {name}", ways[way]


def case(draw: Random, folder: Path) -> Case:
    name = draw.choice(sorted(FOLDERS))
    original(name)
    place = draw.choice(("new", "old", "old", "itself"))
    size, room = draw.choice((4096, 40_000, 400_000, 2**23)), draw.choice((0, 4096, 8192, 20_000, 60_000, 200_000))
    link = draw.random() < 0.2
    told, action = saving(draw, name, folder / "disk" / "target")

    def attempt() -> Any:
        with disk(folder, size) as path:
            target = path / "target"
            try:
                if place != "new":
                    target.mkdir()
                    for file in original(name).iterdir():
                        (target / file.name).write_bytes(file.read_bytes() if place == "itself" else b"old")
                    if link:
                        (path / "elsewhere").write_bytes(b"old")
                        (target / "config.json").unlink()
                        (target / "config.json").symlink_to("../elsewhere")
                squeeze(path, room)
            except OSError:
                pass  # full even before
            return check(path, action)

    return f"{told}, {place}, a disk of {size} with {room} free", attempt


def check(path: Path, action: Callable[[], Any]) -> Any:
    """Try a saving; whatever comes of it, the disk holds only whole things."""
    before = everything(path)
    try:
        action()
    except BaseException as error:
        error = error.__cause__ if isinstance(error, typer.BadParameter) and error.__cause__ else error
        if everything(path) != before:
            changed = {n for n in everything(path).keys() | before.keys() if everything(path).get(n) != before.get(n)}
            raise Broken("half-written", f"{sorted(changed)} after {error!r:.300}") from error
        raise error
    left = [name for name in everything(path) if name.endswith(".part")]
    if left:
        raise Broken("left over", str(left))
    return None


def forked(action: Callable[[], Any]) -> int:
    """The number of a process that does something."""
    allow_starts()
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    return child
