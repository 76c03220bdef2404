"""Files appear whole or not at all, and nothing is left of what failed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minitransformer import AutoModel, AutoTokenizer, SavingError, pipeline
from minitransformer.files import draft_of, open_whole, together, write_whole
from minitransformer.hub import embedded_folder

TOYS = ("bert-books", "gpt2-stories", "marian-fr-en")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def limited(action: Callable[[], Any], size: int) -> bool:
    """Whether an action fails by a named error in a process that can write no file longer than ``size``."""
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            action()
            os._exit(0)
        except SavingError:
            os._exit(1)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1)
    return code == 1


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with open_whole(path) as file:
        file.write("é\n")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == "é\n".encode() and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), OSError("no"), ValueError("no")])
def test_whatever_goes_wrong_passes_as_it_is_and_the_old_file_stays(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)) as caught, open_whole(path) as file:
        file.write("new")
        raise error
    assert caught.value is error and everything(tmp_path) == {"a.txt": b"old"}


def test_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o640)
    write_whole(path, "new")
    assert path.stat().st_mode & 0o777 == 0o640
    mask = os.umask(0o027)
    try:
        write_whole(tmp_path / "b.txt", "new")
    finally:
        os.umask(mask)
    assert (tmp_path / "b.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path, dangling: bool) -> None:
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    target.parent.mkdir()
    if not dangling:
        target.write_text("old")
    link.symlink_to("there/target")
    write_whole(link, "new")
    assert link.is_symlink() and target.read_text() == "new" and os.listdir(target.parent) == ["target"]


def test_devices_and_pipes_are_written_to(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "null"
    os.mkfifo(pipe)
    link.symlink_to("/dev/null")
    got: list[str] = []
    thread = threading.Thread(target=lambda: got.append(pipe.read_text()))
    thread.start()
    write_whole(pipe, "hello")
    thread.join()
    write_whole(link, "hello")
    assert got == ["hello"] and link.is_char_device() and pipe.is_fifo()
    with pytest.raises(SavingError, match="/dev/full cannot be written: No space left"):
        write_whole("/dev/full", "hello")
    with pytest.raises(SavingError, match="it is no regular file"), draft_of(link):
        pass


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_in_a_file_is_not_replaced(tmp_path: Path, name: str) -> None:
    code = f"import minitransformer.files as f; print(1, flush=True); f.write_whole({name!r}, 'two '); print(3)"
    (tmp_path / "out").write_text("0 ")
    with open(tmp_path / "out", "a") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    with open(tmp_path / "new", "w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert everything(tmp_path) == {"out": b"0 1\ntwo 3\n", "new": b"1\ntwo 3\n"}


@pytest.mark.parametrize(
    ("name", "message"),
    [("folder", "it is a folder"), ("no/such", "No such file"), ("a\0b", "zero byte"), ("x" * 300, "name too long")],
)
def test_names_that_no_file_can_have(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SavingError, match=message):
        write_whole(tmp_path / name, "new")
    assert os.listdir(tmp_path) == ["folder"] and not os.listdir(tmp_path / "folder")


def test_files_that_belong_together_appear_together(tmp_path: Path) -> None:
    with together(tmp_path / "new" / "folder"):
        write_whole(tmp_path / "new/folder/a", "1")
        with together():
            write_whole(tmp_path / "new/folder/b", "2")
        assert not (tmp_path / "new/folder/b").exists()
    assert everything(tmp_path / "new") == {"folder/a": b"1", "folder/b": b"2"}
    with pytest.raises(ZeroDivisionError), together(tmp_path / "other" / "folder"):
        write_whole(tmp_path / "new/folder/a", "3")
        write_whole(tmp_path / "other/folder/b", "4")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["new"] and everything(tmp_path / "new") == {"folder/a": b"1", "folder/b": b"2"}


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    code = (
        "import os, sys, minitransformer.files as f\n"
        "with f.open_whole(sys.argv[1]) as file: file.write('half'); file.flush(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "a"]).returncode == -9
    assert len(os.listdir(tmp_path)) == 1
    with open_whole(tmp_path / "a"), open_whole(tmp_path / "a"):  # those of a living process stay
        assert len(os.listdir(tmp_path)) == 2
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("name", TOYS)
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    source = embedded_folder(f"minitransformer/{name}")
    assert source is not None
    model, tokenizer = AutoModel.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    old, new = tmp_path / "old", tmp_path / "new"
    model.save_pretrained(old, max_shard_size=10**6)
    tokenizer.save_pretrained(old)
    (old / "mine.txt").write_text("mine")
    before = everything(old)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    for size in (0, 100, 1000, 30_000, 200_000):
        for folder in (old, new):
            assert limited(lambda: model.save_pretrained(folder), size)  # noqa: B023
            assert limited(lambda: tokenizer.save_pretrained(folder), min(size, 1000))  # noqa: B023
        assert everything(old) == before and not new.exists()


def test_a_tokenizer_saved_into_its_own_folder_keeps_its_sources(tmp_path: Path) -> None:
    source = embedded_folder("minitransformer/marian-fr-en")
    assert source is not None
    AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path)
    before = everything(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert limited(lambda: tokenizer.save_pretrained(tmp_path), 100)
    assert everything(tmp_path) == before
    tokenizer.save_pretrained(tmp_path)
    assert everything(tmp_path) == before


def test_a_pipeline_is_saved_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = pipeline("fill-mask", model="minitransformer/bert-books")
    pipe.save_pretrained(tmp_path)
    before = everything(tmp_path)
    with torch.no_grad():
        next(pipe.model.parameters()).add_(1)

    def full(folder: Path) -> list[str]:
        raise SavingError("the disk is full")

    monkeypatch.setattr(pipe.tokenizer, "save_vocabulary", full)
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(SavingError):
            pipe.save_pretrained(folder)
    assert everything(tmp_path) == before
