"""One model's failure is its own, and one request's too."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from serve.conftest import Live, pipe, same

GOOD = "She opened the [MASK]."


@pytest.fixture
def two(start: Any) -> Live:
    server: Live = start(models=("bert-books", "bert-sentiment"))
    server.ask("/models/bert-books", inputs=GOOD)
    server.ask("/models/bert-sentiment", inputs="good")
    return server


def nan(pipeline: Any, chunk: Any) -> Any:
    logits = pipeline.score_places(chunk, *chunk["input_ids"].eq(pipeline.mask_token_id).nonzero(as_tuple=True))
    return {**chunk, "logits": [torch.full_like(logits, float("nan"))]}


def out_of_memory(pipeline: Any, chunk: Any) -> Any:
    raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB")


def broken(pipeline: Any, chunk: Any) -> Any:
    raise RuntimeError("secret of /home/somebody/model")


def memory(pipeline: Any, chunk: Any) -> Any:
    raise MemoryError


@pytest.mark.parametrize("failure", [nan, out_of_memory, broken, memory])
def test_callers_of_a_failing_model_get_424_and_others_do_not_notice(
    two: Live, failure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = two.ours.shelf.find("bert-books").pipe("fill-mask")
    with monkeypatch.context() as patch:
        patch.setitem(vars(books), "forward", lambda chunk, **options: failure(books, chunk))
        with ThreadPoolExecutor(16) as pool:
            bad = [pool.submit(two.post, "/models/bert-books", inputs=GOOD) for _ in range(8)]
            good = [pool.submit(two.post, "/models/bert-sentiment", inputs=f"good {i}") for i in range(8)]
        for future in bad:
            response = future.result()
            assert response.status_code == 424, response.text
            assert response.json()["error_type"] == "generation"
            assert "secret" not in response.text
        for i, future in enumerate(good):
            expected = pipe("text-classification", "bert-sentiment")(f"good {i}", top_k=None)
            assert same(future.result().json(), [expected])
    assert two.post("/models/bert-books", inputs=GOOD).status_code == 200, "it lives on"


def test_in_a_batch_only_the_guilty_fails(two: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    sentiment = two.ours.shelf.find("bert-sentiment").pipe("text-classification")
    real = sentiment.forward
    (poison,) = sentiment.tokenizer("!", add_special_tokens=False)["input_ids"]

    def forward(batch: Any, **options: Any) -> Any:
        time.sleep(0.05)
        if (batch["input_ids"] == poison).any():
            raise RuntimeError
        return real(batch, **options)

    monkeypatch.setitem(vars(sentiment), "forward", forward)
    texts = [f"good film {i}" for i in range(12)] + ["!"]
    with ThreadPoolExecutor(13) as pool:
        answers = list(pool.map(lambda text: two.post("/models/bert-sentiment", inputs=text), texts))
    assert [answer.status_code for answer in answers] == [200] * 12 + [424]


def test_a_full_queue_is_told_at_once_and_nothing_else_is_lost(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(models=("bert-sentiment",), max_waiting=3, max_batch=1)
    server.ask("/", inputs="good")
    sentiment = server.ours.shelf.first().pipe("text-classification")
    real, gate = sentiment.forward, threading.Event()

    def forward(batch: Any, **options: Any) -> Any:
        gate.wait(30)
        return real(batch, **options)

    monkeypatch.setitem(vars(sentiment), "forward", forward)
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(server.post, "/", inputs="good") for _ in range(20)]
        while sum(answer.done() for answer in answers) < 16:
            time.sleep(0.01)
        gate.set()
    codes = sorted(answer.result().status_code for answer in answers)
    assert codes == [200] * 4 + [429] * 16, "one runs, three wait"
    full = next(answer.result() for answer in answers if answer.result().status_code == 429)
    assert full.headers["retry-after"] == "1"
    assert full.json() == {"error": "Model is overloaded", "error_type": "overloaded"}


def test_who_waits_too_long_is_told(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(models=("bert-sentiment",), deadline=0.3, max_batch=1)
    server.ask("/", inputs="good")
    sentiment = server.ours.shelf.first().pipe("text-classification")
    real = sentiment.forward
    monkeypatch.setitem(vars(sentiment), "forward", lambda batch: time.sleep(0.5) or real(batch))
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: server.post("/", inputs="good"), range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 504, 504]
    assert next(a for a in answers if a.status_code == 504).json()["error_type"] == "timeout"


def test_who_left_is_dropped_before_the_model_runs(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    server = start(models=("bert-sentiment",))
    server.ask("/", inputs="good")
    sentiment = server.ours.shelf.first().pipe("text-classification")
    real, rows, gate = sentiment.forward, [], threading.Event()

    def forward(batch: Any, **options: Any) -> Any:
        rows.append(len(batch["input_ids"]))
        gate.wait(60)
        return real(batch, **options)

    def until(condition: Any) -> None:
        end = time.monotonic() + 60
        while not condition() and time.monotonic() < end:
            time.sleep(0.01)

    monkeypatch.setitem(vars(sentiment), "forward", forward)
    worker = server.ours.shelf.first().worker
    first = threading.Thread(target=lambda: server.post("/", inputs="good"))
    first.start()
    until(lambda: rows)
    with httpx.Client(base_url=server.url, timeout=httpx.Timeout(60, read=0.3), trust_env=False) as client:
        for number in range(3):
            with pytest.raises(httpx.ReadTimeout):
                client.post("/", json={"inputs": "good"})
            until(lambda number=number: worker.waiting > number)
    until(lambda: server.ours.running == 1)
    gate.set()
    first.join()
    assert server.post("/", inputs="good").status_code == 200
    assert rows == [1, 1]


def test_a_generation_that_nobody_waits_for_stops(start: Any) -> None:
    import httpx

    server = start(models=("marian-en-de",))
    server.ask("/", inputs="Good.")
    worker = server.ours.shelf.first().worker
    options = {"min_new_tokens": 120, "max_new_tokens": 126, "num_beams": 16}
    with httpx.Client(base_url=server.url, timeout=0.2, trust_env=False) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/", json={"inputs": ["This is a house."] * 16, "parameters": options})
    end = time.monotonic() + 2.0
    while worker.busy and time.monotonic() < end:
        time.sleep(0.01)
    assert not worker.busy
