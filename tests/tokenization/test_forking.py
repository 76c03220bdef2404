"""A process may be forked while other threads tokenize: its children do, too."""

from __future__ import annotations

import os
import threading
import time
import warnings

import pytest

from minitransformer import AutoTokenizer
from minitransformer.tokenization import Tokenizer

TEXTS = ["The cat sat on the mat. " * 200] * 4


def in_child(tokenizer: Tokenizer, seconds: float = 20.0) -> bool:
    """Whether a forked child tokenizes as the parent does, in time."""
    expected = tokenizer("a cat", padding="max_length", max_length=9)["input_ids"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forking with threads
        child = os.fork()
    if child == 0:
        os._exit(0 if tokenizer("a cat", padding="max_length", max_length=9)["input_ids"] == expected else 1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


@pytest.mark.parametrize("name", ["bert-books", "marian-fr-en"])
def test_children_do_not_wait_for_a_lock_that_nobody_holds(name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(f"minitransformer/{name}")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            tokenizer(TEXTS, padding=True, truncation=True, max_length=50)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert all(in_child(tokenizer) for _ in range(5))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert tokenizer("a cat")["input_ids"]


def test_a_fork_inside_of_a_block_that_holds_the_lock() -> None:
    tokenizer = AutoTokenizer.from_pretrained("minitransformer/bert-books")
    with tokenizer._lock:
        assert in_child(tokenizer)
    assert in_child(tokenizer)
