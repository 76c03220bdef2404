"""One training at a time in a folder: the lock says whose it is, and ends with its process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minitransformer.errors import TrainingError
from minitransformer.training.alone import LOCK, alone

fcntl: Any = pytest.importorskip("fcntl")

HOLD = """
import fcntl, os, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def held(path: Path, content: str) -> Iterator[None]:
    """Somebody else's lock."""
    path.write_text(content)
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_the_lock_says_whose_it_is_and_goes_again(tmp_path: Path) -> None:
    with alone(tmp_path):
        told = json.loads((tmp_path / LOCK).read_text())
        assert told["process"] == os.getpid()
        with (tmp_path / LOCK).open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with alone(tmp_path):  # the same run, from within
            assert (tmp_path / LOCK).exists()
        assert (tmp_path / LOCK).exists()
    assert list(tmp_path.iterdir()) == []


def test_who_trains_already_is_named(tmp_path: Path) -> None:
    content = json.dumps({"process": 4711, "computer": "a\x1b[31m" + "a" * 300, "since": "2020-01-01 10:00:00"})
    with held(tmp_path / LOCK, content), pytest.raises(TrainingError) as said, alone(tmp_path):
        pass
    assert "process 4711 on a\\u001b[31maaa" in str(said.value)
    assert "since 2020-01-01 10:00:00: wait for its end, or stop it" in str(said.value)
    assert len(str(said.value)) < 500
    with alone(tmp_path):
        pass


@pytest.mark.parametrize(
    "content", ["", "[", "{}", "[1]", '{"process": "x"}', "[" * 900, '{"process": 1e999}', "\0\udcff"]
)
def test_a_lock_that_says_nothing_is_one_all_the_same(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK).write_bytes(content.encode(errors="surrogateescape"))
    with (tmp_path / LOCK).open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TrainingError, match="is being trained in by another process"), alone(tmp_path):
            pass
    with alone(tmp_path):  # nobody holds it: what it says means nothing
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(TrainingError, match="is being trained in by"), alone(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with alone(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


def test_folders_that_were_made_for_nothing_go_again(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), alone(tmp_path / "a" / "b"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with alone(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "weights").write_text("")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["weights"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="could not be written"), alone(tmp_path / "file" / "x"):
        pass
    (tmp_path / LOCK).mkdir()
    with pytest.raises(TrainingError, match="could not be written"), alone(tmp_path):
        pass
