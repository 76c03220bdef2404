"""Text that comes token by token: the same text, final pieces, and an end when nobody reads."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest
import torch

from minitransformer.serve import generating
from serve.conftest import TOYS, Live, pipe

STORIES = f"/models/{TOYS}gpt2-stories"
PROMPT = "The old man opened the door and"
GREEDY = {"do_sample": False, "max_new_tokens": 20}


@pytest.mark.parametrize("prompt", [PROMPT, "", "It's — “quoted”, isn't it ?", "Ünïcödé 漢字 🙂"])
@pytest.mark.parametrize("options", [GREEDY, {"seed": 3, "max_new_tokens": 40, "temperature": 1.5}])
def test_the_pieces_are_the_text_of_the_pipeline(live: Live, prompt: str, options: dict[str, Any]) -> None:
    events = live.events(STORIES, inputs=prompt, stream=True, parameters=options)
    if "seed" in options:
        torch.manual_seed(options["seed"])
    said = {name: value for name, value in options.items() if name != "seed"}
    expected = pipe("text-generation", "gpt2-stories")(prompt, return_full_text=False, **said)[0]["generated_text"]
    assert "".join(event["token"]["text"] for event in events) == expected
    *others, last = events
    assert last["generated_text"] == expected
    assert all(event["generated_text"] is event["details"] is None for event in others)
    assert [event["index"] for event in events] == list(range(1, len(events) + 1))
    details = last["details"]
    assert details["generated_tokens"] == len(events)
    assert details["seed"] == options.get("seed")
    assert details["finish_reason"] in ("length", "eos_token")
    assert all(event["token"]["logprob"] <= 0 for event in events)


def test_log_probabilities_are_those_of_the_pipeline(live: Live) -> None:
    (expected,) = pipe("text-generation", "gpt2-stories")(PROMPT, return_token_scores=True, **GREEDY)
    details = live.ask(STORIES, inputs=PROMPT, parameters={**GREEDY, "details": True})["details"]
    assert [token["id"] for token in details["tokens"]] == [token["token_id"] for token in expected["token_scores"]]
    ours = [token["logprob"] for token in details["tokens"]]
    assert ours == pytest.approx([token["logprob"] for token in expected["token_scores"]], abs=1e-5)


def test_prefill_has_the_log_probabilities_of_the_prompt(live: Live) -> None:
    options = {**GREEDY, "details": True, "decoder_input_details": True}
    prefill = live.ask(STORIES, inputs=PROMPT, parameters=options)["details"]["prefill"]
    write = pipe("text-generation", "gpt2-stories")
    ids = torch.tensor([write.tokenizer(PROMPT)["input_ids"]])
    logprobs = write.model(ids).logits[0].log_softmax(dim=-1)
    expected = [float(logprobs[i, token]) for i, token in enumerate(ids[0, 1:])]
    assert prefill[0]["logprob"] is None
    assert [token["logprob"] for token in prefill[1:]] == pytest.approx(expected, abs=1e-4)


def test_a_text_ends_at_a_stop(live: Live) -> None:
    whole = live.ask(STORIES, inputs=PROMPT, parameters={**GREEDY, "return_full_text": False})[0]["generated_text"]
    stop = whole.split()[3]
    for body in ({"stop": [stop]}, {"stop": stop}):
        answer = live.ask(STORIES, inputs=PROMPT, parameters={**GREEDY, **body, "details": True})
        assert answer["details"]["finish_reason"] == "stop_sequence"
        assert answer["generated_text"] == whole[: whole.index(stop) + len(stop)]


def test_completions_in_the_words_of_openai(live: Live) -> None:
    text = pipe("text-generation", "gpt2-stories")(PROMPT, return_full_text=False, **GREEDY)[0]["generated_text"]
    body = {"prompt": PROMPT, "max_tokens": 20, "temperature": 0, "model": f"{TOYS}gpt2-stories"}
    for path in ("/v1/completions", f"{STORIES}/v1/completions"):
        answer = live.ask(path, **body)
        assert [choice["text"] for choice in answer["choices"]] == [text]
        assert answer["object"] == "text_completion"
        assert answer["usage"]["completion_tokens"] <= 20
        assert answer["usage"]["total_tokens"] == sum(list(answer["usage"].values())[:2])
    assert answer["choices"][0]["finish_reason"] == "length"
    several = live.ask("/v1/completions", prompt=[PROMPT, "It"], max_tokens=4, n=2, seed=1)
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2, 3]
    echo = live.ask("/v1/completions", **body, echo=True)
    assert echo["choices"][0]["text"] == PROMPT + text
    events = live.events("/v1/completions", **body, stream=True)
    assert "".join(event["choices"][0]["text"] for event in events) == text
    with live.client.stream("POST", "/v1/completions", json={**body, "stream": True}) as response:
        assert list(response.iter_lines())[-2] == "data: [DONE]"
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"


def test_generate_as_text_generation_inference_has_it(live: Live) -> None:
    text = pipe("text-generation", "gpt2-stories")(PROMPT, return_full_text=False, **GREEDY)[0]["generated_text"]
    assert live.ask(f"{STORIES}/generate", inputs=PROMPT, parameters=GREEDY) == {"generated_text": text}
    detailed = live.ask("/generate", inputs=PROMPT, parameters={**GREEDY, "details": True})
    assert detailed["generated_text"] == text
    events = live.events(f"{STORIES}/generate_stream", inputs=PROMPT, parameters=GREEDY)
    assert events[-1]["generated_text"] == text


def test_truncate_reads_the_end_of_the_prompt(live: Live) -> None:
    long = "A word. " * 200 + PROMPT
    answer = live.ask(STORIES, inputs=long, parameters={**GREEDY, "truncate": 7, "details": True})
    short = live.ask(STORIES, inputs=" " + PROMPT, parameters={**GREEDY, "truncate": 7, "details": True})
    assert answer["generated_text"] == short["generated_text"]


def test_penalties_and_best_of(live: Live) -> None:
    plain = live.ask(STORIES, inputs=PROMPT, parameters={**GREEDY, "details": True})["details"]["tokens"]
    options = {**GREEDY, "details": True, "frequency_penalty": 2.0, "presence_penalty": 2.0}
    varied = live.ask(STORIES, inputs=PROMPT, parameters=options)["details"]["tokens"]
    assert len({token["id"] for token in varied}) >= len({token["id"] for token in plain})
    assert varied != plain

    def likelihood(**options: Any) -> float:
        answer = live.ask(STORIES, inputs=PROMPT, parameters={"max_new_tokens": 8, "details": True, **options})
        return float(sum(token["logprob"] for token in answer["details"]["tokens"]))

    best = likelihood(seed=5, best_of=4)
    assert best == pytest.approx(max(likelihood(seed=5 + i) for i in range(4)), abs=1e-4)


def test_other_work_goes_on_beside_streams(live: Live) -> None:
    with live.client.stream(
        "POST",
        STORIES,
        json={"inputs": PROMPT, "stream": True, "parameters": {"min_new_tokens": 200, "max_new_tokens": 220}},
    ) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data:")
        began = time.monotonic()
        live.ask(STORIES, inputs="It", parameters={**GREEDY, "max_new_tokens": 2})
        spent = time.monotonic() - began
        rest = [line for line in lines if line.startswith("data:")]
    assert len(rest) > 100
    assert spent < 5


def test_a_stream_stops_when_its_reader_leaves(start: Any) -> None:
    server = start(models=("gpt2-stories",))
    server.ask("/", inputs="It", parameters={**GREEDY, "max_new_tokens": 1})
    host, port = server.url.removeprefix("http://").split(":")
    options = {"min_new_tokens": 245, "max_new_tokens": 245}
    content = json.dumps({"inputs": "It", "stream": True, "parameters": options}).encode()
    headers = (
        "POST / HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    )
    head = "\r\n".join(headers) + "\r\n\r\n"
    connections = []
    for _ in range(8):
        connection = socket.create_connection((host, int(port)), timeout=30)
        connection.sendall(head.encode() + content)
        connections.append(connection)
    for connection in connections:
        assert b"200" in connection.recv(200)
    worker = server.ours.shelf.first().worker
    assert worker.writing > 0
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, as after kill -9
        connection.close()
    end = time.monotonic() + 5
    while (worker.busy or server.ours.running) and time.monotonic() < end:
        time.sleep(0.01)
    assert not worker.busy
    assert server.ours.running == 0
    assert server.ours.metrics.tokens < 8 * 245, "they did not write to their end"


def test_an_error_in_the_middle_of_a_stream_is_its_last_event(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(models=("gpt2-stories",))
    server.ask("/", inputs="It", parameters={**GREEDY, "max_new_tokens": 1})
    model = server.ours.shelf.first().pipe("text-generation").model
    real, calls = type(model).forward, []

    def failing(self: Any, *args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("CUDA out of memory, tried to allocate /secret/path")
        return real(self, *args, **options)

    monkeypatch.setattr(type(model), "forward", failing)
    events = server.events("/", inputs=PROMPT, stream=True, parameters=GREEDY)
    assert len(events) == 5
    assert events[-1]["error_type"] == "generation"
    assert "out of memory" in events[-1]["error"]
    assert "/secret" not in events[-1]["error"]


@pytest.mark.parametrize("more", [{"stream": True}, {"details": True}, {"stream": True, "decoder_input_details": True}])
def test_a_token_whose_probability_is_no_number_is_a_failure(live: Live, more: dict[str, Any]) -> None:
    beyond = {"repetition_penalty": 5e-324, "do_sample": False, "max_new_tokens": 5, **more}
    response = live.post(STORIES, inputs=PROMPT, parameters=beyond)
    assert response.status_code == 424, response.text
    assert response.json()["error_type"] == "generation"


def test_an_event_that_is_no_json_is_the_last_and_says_so(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([-1.0, -2.0])
    monkeypatch.setattr(generating, "finite", lambda logprob: next(values, float("nan")))
    events = live.events(STORIES, inputs=PROMPT, stream=True, parameters=GREEDY)
    assert [event["token"]["logprob"] for event in events[:-1]] == [-1.0, -2.0]
    assert events[-1] == {"error": events[-1]["error"], "error_type": "generation"}
    assert "not finite" in events[-1]["error"]
