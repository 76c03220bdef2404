"""The command line and what it is connected to: full disks, other encodings, terminals, signals."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_folders
from processes import ROOT

from minitransformer.cli.run import _lines
from minitransformer.errors import PipelineError
from minitransformer.options import harmless

TEXT = "paris — the [MASK] of žluťoučký 東京 𝄞 ."


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folders.bert(tmp_path_factory.mktemp("bert")))


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "0", **more}


def start(*words: str, **more: Any) -> subprocess.Popen[bytes]:
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment(), **more}
    return subprocess.Popen([sys.executable, "-m", "minitransformer", *words], **how)


def listen_to_interrupts() -> None:
    """What runs in the background of a shell is started deaf to Ctrl-C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finished(*words: str, **more: Any) -> tuple[int, bytes, str]:
    process = start(*words, **more)
    out, err = process.communicate(timeout=120)
    return process.returncode, out or b"", (err or b"").decode(errors="replace")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "cp437"])
def test_every_text_is_answered_whatever_the_output_can_hold(encoding: str, bert: str, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text(f"{TEXT}\nthe [MASK] sleeps .\n", encoding="utf-8")
    words = ("run", "fill-mask", "-f", str(file), "-m", bert, "-o", "top_k=1")
    code, out, err = finished(*words, env=environment(PYTHONIOENCODING=encoding))
    assert code == 0, err
    lines = [json.loads(line) for line in out.decode(encoding).splitlines()]
    assert len(lines) == 2 and all(answer[0]["score"] > 0 for answer in lines)


@pytest.mark.parametrize(("encoding", "data"), [("utf-16", b"abc\n"), ("utf-32", b"abcd\n"), ("utf-8", b"\xff\n")])
def test_lines_of_another_encoding_are_named(encoding: str, data: bytes) -> None:
    with pytest.raises(PipelineError, match=f"standard input, after line 0: it is not {encoding} .* PYTHONIOENCODING"):
        list(_lines(io.TextIOWrapper(io.BytesIO(data), encoding=encoding), "standard input"))


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437"])
def test_the_demo_has_no_letter_too_many(encoding: str) -> None:
    """Its first part only: what follows prints by the same means."""
    script = (
        "from rich.console import Console\n"
        "from minitransformer.cli.streams import prepare\n"
        "from minitransformer.demo import tasks\n"
        "from minitransformer.demo.inside import show_similarities\n"
        "import torch\n"
        "prepare()\n"
        "tasks.EXAMPLES = tasks.EXAMPLES[:1]\n"
        "tasks.show_tasks(Console())\n"
        "show_similarities(Console(), torch.eye(6))\n"
        "Console().print('älter — 東京')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(PYTHONIOENCODING=encoding), capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b"POSITIVE" in done.stdout or b"label" in done.stdout
    done.stdout.decode(encoding)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
@pytest.mark.parametrize("words", [["run", "fill-mask", "a [MASK] .", "-m"], ["inspect"], ["--help"]])
def test_a_full_disk_is_one_line(words: list[str], bert: str) -> None:
    with open("/dev/full", "wb") as full:
        code, _, err = finished(*words, *([bert] if words != ["--help"] else []), stdout=full)
    assert code == 2
    assert "No space left" in err and "Traceback" not in err and "Exception ignored" not in err


def test_who_reads_the_output_may_leave(bert: str) -> None:
    reader, writer = os.pipe()
    process = start("run", "fill-mask", "a [MASK] .", "-m", bert, stdout=writer)
    os.close(reader)
    os.close(writer)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and err == b""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_being_told_to_end_leaves_nothing_behind(bert: str, tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    process = start("run", "fill-mask", "-m", bert, "--output", str(output), stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"a [MASK] .\n" * 100)
    process.stdin.flush()
    for _ in range(600):
        if list(tmp_path.iterdir()):
            break
        time.sleep(0.1)
    assert list(tmp_path.iterdir())  # the draft
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and b"Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("seconds", [0.15, 0.5, 1.5, 3.0])
def test_an_interrupted_start_says_nothing(seconds: float, bert: str) -> None:
    process = start("run", "fill-mask", "-m", bert, stdin=subprocess.PIPE, preexec_fn=listen_to_interrupts)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT, 1)
    if seconds > 0.4:  # before, Python itself may still be on its way
        assert b"Traceback" not in err


def test_a_device_and_a_link_stay_what_they_are(bert: str, tmp_path: Path) -> None:
    (tmp_path / "real.jsonl").write_text("old")
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    words = ("run", "fill-mask", "a [MASK] .", "-m", bert, "-o", "top_k=1", "--output")
    assert finished(*words, str(tmp_path / "link.jsonl"))[0] == 0
    assert (tmp_path / "link.jsonl").is_symlink() and json.loads((tmp_path / "real.jsonl").read_text())
    code, out, err = finished(*words, "/dev/stdout")
    assert code == 0 and json.loads(out), err
    assert finished(*words, os.devnull)[0] == 0 and not Path(os.devnull).is_file()


def test_a_files_text_does_not_steer_the_terminal() -> None:
    wild = "a\x1b]0;title\x07b\x9b31mc\u202ed\udc80e"
    assert harmless(wild) == r"a\u001b]0;title\u0007b\u009b31mc\u202ed\udc80e"
    assert json.loads(harmless(json.dumps(wild, ensure_ascii=False))) == wild
    assert harmless("two\nlines\tand — 東京 𝄞") == "two\nlines\tand — 東京 𝄞"


def test_inspect_shows_what_a_config_holds_as_text(tmp_path: Path) -> None:
    folder = tiny_folders.bert(tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    config["[/bold]\x1b[2J"] = "\x1b]0;owned\x07 [/red]"
    (folder / "config.json").write_text(json.dumps(config))
    code, out, err = finished("inspect", str(folder))
    assert code == 0, err
    assert b"\x1b]" not in out and b"\x1b[2J" not in out and b"owned" in out
