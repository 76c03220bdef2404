"""How the command begins and ends: the first answer, SIGTERM under load, readers who are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
PROMPT = "The old man opened the door and"


@contextmanager
def command(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``minitransformer serve``, and its address."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "minitransformer", "serve", *words, "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=60, trust_env=False)


def wait_for(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError("the server did not start")


def test_under_load_every_request_that_was_accepted_is_answered() -> None:
    with command("bert-sentiment", "gpt2-stories", "--grace", "20") as (process, url):
        wait_for(url)
        with client(url) as first:
            assert first.post("/models/bert-sentiment", json={"inputs": "good"}).status_code == 200
            assert first.post("/models/gpt2-stories", json={"inputs": "It"}).status_code == 200
        codes: list[int | str] = []
        streams: list[str] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                with client(url) as mine:
                    try:
                        answer = mine.post("/models/bert-sentiment", json={"inputs": "good " * 20})
                        codes.append(answer.status_code)
                        if answer.status_code == 503:
                            assert answer.headers["connection"] == "close"
                            return
                    except httpx.ConnectError:
                        return  # it was never accepted
                    except httpx.TransportError as error:
                        codes.append(type(error).__name__)
                        return

        def read() -> None:
            body = {"inputs": PROMPT, "stream": True, "parameters": {"min_new_tokens": 100, "max_new_tokens": 120}}
            with client(url) as mine:
                streams.append(mine.post("/models/gpt2-stories", json=body).text)

        threads = [threading.Thread(target=ask) for _ in range(12)] + [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 60
        while codes.count(200) < 24 and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        stop.set()
        assert process.wait(30) == 0
        assert set(codes) <= {200, 429, 503}, codes
        assert codes.count(200) >= 24
        assert all('"finish_reason"' in text for text in streams), "running streams came to their end"
        assert len(streams) == 3


def test_what_takes_longer_than_the_grace_is_told_so() -> None:
    with command("gpt2-stories", "--grace", "0.3", "--max-batch", "2") as (process, url):
        wait_for(url)
        body = {"inputs": PROMPT, "stream": True, "parameters": {"min_new_tokens": 240, "max_new_tokens": 240}}
        texts: list[str] = []

        def read() -> None:
            with client(url) as mine:
                texts.append(mine.post("/", json=body).text)

        threads = [threading.Thread(target=read) for _ in range(24)]
        for thread in threads:
            thread.start()
        time.sleep(2.0)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(30)
        assert process.wait(15) == 0
        assert len(texts) == 24
        assert any("incomplete_generation" in text or "shutting down" in text for text in texts)


@pytest.mark.slow
def test_fifty_readers_who_are_killed_leave_nothing_behind() -> None:
    script = (
        "import sys, threading, httpx\n"
        "def read():\n"
        "    body = {'inputs': 'It', 'stream': True, 'parameters': {'min_new_tokens': 245, 'max_new_tokens': 245}}\n"
        "    with httpx.stream('POST', sys.argv[1], json=body, timeout=60, trust_env=False) as r:\n"
        "        for line in r.iter_lines(): pass\n"
        "threads = [threading.Thread(target=read) for _ in range(10)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    psutil = pytest.importorskip("psutil")
    with command("gpt2-stories") as (process, url):
        wait_for(url)
        with client(url) as mine:
            mine.post("/", json={"inputs": "It", "parameters": {"max_new_tokens": 2}})
            threads_before = psutil.Process(process.pid).num_threads()
            readers = [subprocess.Popen([sys.executable, "-c", script, url + "/"]) for _ in range(5)]
            end = time.monotonic() + 60
            while number(mine, "streams") < 32 and time.monotonic() < end:
                time.sleep(0.05)
            for reader in readers:
                reader.send_signal(signal.SIGKILL)
                reader.wait()
            killed = time.monotonic()
            while number(mine, "streams") + number(mine, "waiting") and time.monotonic() < killed + 10:
                time.sleep(0.02)
            assert number(mine, "streams") == number(mine, "waiting") == 0
            written = number(mine, "tokens_total")
            assert written < 50 * 245
            time.sleep(0.5)
            assert number(mine, "tokens_total") == written
            assert psutil.Process(process.pid).num_threads() <= threads_before + 1
            assert mine.post("/", json={"inputs": "It", "parameters": {"max_new_tokens": 2}}).status_code == 200


def number(mine: httpx.Client, name: str) -> float:
    lines = mine.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"minitransformer_{name}"))


@pytest.mark.slow  # a time by the clock is one only where nothing else runs
def test_the_first_answer_comes_soon_after_the_start() -> None:
    if load() > 2:
        pytest.skip("the machine is busy with other work, so that its time says nothing")
    began = time.monotonic()
    with command("bert-books") as (_, url), client(url) as mine:
        while True:
            try:
                answer = mine.post("/", json={"inputs": "She opened the [MASK]."})
                break
            except httpx.ConnectError:
                time.sleep(0.01)
        spent = time.monotonic() - began
    assert answer.status_code == 200
    assert spent < 2.5, spent


def load() -> float:
    """How many processes share a core: a busy machine should not fail what is about this program."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bert-boks"], "bert-boks"),
        (["minitransformer/bert-boks"], "Did you mean"),
        (["bert-books", "minitransformer/bert-books"], "two models"),
        (["bert-books", "--max-batch", "0"], "max-batch"),
        (["bert-books", "--port", "99999"], "port"),
    ],
)
def test_mistakes_are_told_before_anything_is_served(words: list[str], said: str) -> None:
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "minitransformer", "serve", "--port", "0", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
