"""What is refused, with which code and one sentence; and who is let in."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from serve.conftest import TOYS, Live

BOOKS, STORIES, QA = (f"/models/{TOYS}{name}" for name in ("bert-books", "gpt2-stories", "bert-qa"))
VECTORS, COMPLETIONS = f"{BOOKS}/pipeline/feature-extraction", f"{STORIES}/v1/completions"
MASKED = "She opened the [MASK]."


def refused(response: Any, code: int, *words: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert response.status_code == code, response.text
    assert isinstance(body["error"], str)
    for word in words:
        assert word in body["error"], body
    assert response.headers["x-request-id"]
    return body


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["not valid JSON"]),
        (b"{", ["not valid JSON"]),
        (b"[]", ["JSON object"]),
        (b'"text"', ["JSON object"]),
        (b"\xff\xfe", ["not valid JSON"]),
        (b'{"inputs": NaN}', ["inputs", "text"]),
        (b'{"inputs": ' + b"[" * 100_000, ["not valid JSON"]),
        (b'{"inputs": ' + b"1" * 10_000 + b"}", ["not valid JSON"]),
        (rb'{"inputs": "\ud800 [MASK]"}', ["not valid JSON"]),
        (b"{}", ["inputs", "missing"]),
        (b'{"inputs": null}', ["inputs", "missing"]),
        (b'{"inputs": 5}', ["inputs", "text"]),
        (b'{"inputs": true}', ["inputs", "text"]),
        (b'{"inputs": ""}', ["empty"]),
        (b'{"inputs": []}', ["empty list"]),
        (b'{"inputs": [["[MASK]"]]}', ["inputs[0]"]),
        (b'{"inputs": "no mask"}', ["no mask token", "[MASK]"]),
        (b'{"inputs": ["[MASK]", "none"]}', ["no mask token"]),
        (b'{"inputs": "[MASK]", "parameters": []}', ["parameters", "object"]),
        (b'{"inputs": "[MASK]", "options": 3}', ["options", "object"]),
        (b'{"inputs": "[MASK]", "stream": "yes"}', ["stream", "true or false"]),
        (b'{"inputs": "[MASK]", "stream": {}}', ["stream", "true or false"]),
        (b'{"inputs": "[MASK]", "stream": 0}', ["stream", "true or false"]),
        (b'{"inputs": "[MASK]", "parameters": {"stream": ""}}', ["stream", "true or false"]),
        (b'{"inputs": "[MASK]", "model": {}}', ["model", "a text"]),
        (json.dumps({"inputs": ["[MASK]"] * 33}).encode(), ["33", "32"]),
    ],
)
def test_bodies_that_make_no_sense(live: Live, data: bytes, words: list[str]) -> None:
    response = live.client.post(BOOKS, content=data, headers={"content-type": "application/json"})
    refused(response, 400, *words)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (BOOKS, {"inputs": MASKED, "parameters": {"topk": 3}}, ["'topk'", "'top_k'"]),
        (BOOKS, {"inputs": MASKED, "parameters": {"top_k": 0}}, ["top_k"]),
        (BOOKS, {"inputs": MASKED, "parameters": {"top_k": "3"}}, ["top_k", "integer"]),
        (BOOKS, {"inputs": MASKED, "parameters": {"top_k": True}}, ["top_k", "integer"]),
        (BOOKS, {"inputs": MASKED, "parameters": {"targets": [1]}}, ["targets"]),
        (BOOKS, {"inputs": MASKED, "stream": True}, ["stream"]),
        (BOOKS, {"inputs": MASKED, "parameterz": {}}, ["'parameterz'", "'parameters'"]),
        (BOOKS, {"inputs": MASKED, "options": {"wait": True}}, ["'wait'"]),
        (BOOKS, {"inputs": "[MASK] " * 300}, ["302", "256"]),
        (
            QA,
            {"inputs": {"question": "why?", "context": "so"}, "parameters": {"max_answer_len": 0}},
            ["max_answer_len"],
        ),
        (QA, {"inputs": {"question": "a", "context": "b"}, "parameters": {"doc_stride": 999}}, ["doc_stride"]),
        (STORIES, {"inputs": "It", "parameters": {"watermark": True}}, ["watermark"]),
        (STORIES, {"inputs": "It", "parameters": {"grammar": {"type": "regex", "value": "a"}}}, ["grammar"]),
        (STORIES, {"inputs": "It", "parameters": {"adapter_id": "x"}}, ["adapter_id"]),
        (STORIES, {"inputs": "It", "parameters": {"temperature": 0.0, "do_sample": True}}, ["temperature"]),
        (STORIES, {"inputs": "It", "parameters": {"max_new_tokens": 10**9}}, ["max_new_tokens"]),
        (STORIES, {"inputs": "It", "parameters": {"num_beams": 1000}}, ["num_beams"]),
        (STORIES, {"inputs": "It", "parameters": {"stop": ["a"] * 17}}, ["stop"]),
        (STORIES, {"inputs": "word " * 400}, ["positions"]),
        (STORIES, {"inputs": ["a", "b"], "stream": True}, ["stream"]),
        (STORIES, {"inputs": "It", "stream": True, "parameters": {"num_beams": 2, "do_sample": False}}, ["beams"]),
        (STORIES, {"inputs": "It", "parameters": {"watermark": 0}}, ["watermark"]),
        (STORIES, {"inputs": "It", "parameters": {"stop": [""]}}, ["stop", "none empty"]),
        (VECTORS, {"inputs": "a", "normalize": True, "parameters": {"normalize": {}}}, ["normalize"]),
        (COMPLETIONS, {"prompt": "It", "suffix": {}}, ["suffix"]),
        (COMPLETIONS, {"prompt": "It", "logprobs": 1}, ["logprobs"]),
        (COMPLETIONS, {"prompt": "It", "max_tokens": 3, "max_new_tokens": {}}, ["max_tokens and max_new_tokens"]),
    ],
)
def test_values_that_cannot_be(live: Live, path: str, body: dict[str, Any], words: list[str]) -> None:
    assert refused(live.client.post(path, json=body), 422, *words)["error_type"] == "validation"


@pytest.mark.parametrize("name", ["assistant_model", "generation_config", "streamer", "logits_processor", "generator"])
def test_nothing_is_loaded_or_called_from_outside(live: Live, name: str) -> None:
    refused(live.post(STORIES, inputs="It", parameters={name: "facebook/opt-125m"}), 422, name)


@pytest.mark.parametrize("kwargs", [{"padding": "max_length", "max_length": 10**9}, {"pad_to_multiple_of": 10**8}])
def test_no_parameter_takes_the_memory(live: Live, kwargs: dict[str, Any]) -> None:
    refused(live.post(BOOKS, inputs=MASKED, parameters={"tokenizer_kwargs": kwargs}), 422)
    refused(live.post(f"/models/{TOYS}bert-sentiment", inputs="a", parameters=kwargs), 422)


def test_inputs_of_questions_and_labels(live: Live) -> None:
    refused(live.post(QA, inputs="why?"), 400, "question")
    refused(live.post(QA, inputs={"question": "why?"}), 400, "'context'")
    refused(live.post(QA, inputs={"question": "why?", "context": ""}), 400, "empty")
    refused(live.post(QA, inputs={"question": "a", "context": "b", "title": "c"}), 400, "'title'")
    nli = f"/models/{TOYS}bert-nli"
    refused(live.post(nli, inputs="a text"), 400, "candidate_labels")
    refused(live.post(nli, inputs="a text", parameters={"candidate_labels": []}), 400, "candidate_labels")
    refused(live.post(nli, inputs="a", parameters={"candidate_labels": ["a"], "hypothesis_template": "x"}), 422, "{}")
    refused(live.post(nli, inputs="a", parameters={"candidate_labels": ",".join("ab" * 200)}), 422)
    similarity = f"{BOOKS}/pipeline/sentence-similarity"
    refused(live.post(similarity, inputs={"source_sentence": "a"}), 400, "sentences")
    refused(live.post(similarity, inputs={"source_sentence": "a", "sentences": [3]}), 400, "sentences[0]")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", {"GET", "HEAD", "POST"}),
        ("/health", {"GET", "HEAD"}),
        ("/predict", {"POST"}),
        (BOOKS, {"POST"}),
        (f"{BOOKS}/health", {"GET", "HEAD"}),
        (f"{BOOKS}/info", {"GET", "HEAD"}),
        (f"{BOOKS}/pipeline/fill-mask", {"POST"}),
        (COMPLETIONS, {"POST"}),
    ],
)
def test_a_route_of_another_method_says_which_it_takes(live: Live, path: str, allowed: set[str]) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed:
        response = live.client.request(method, path)
        refused(response, 405, "another method")
        assert set(response.headers["allow"].split(", ")) == allowed


def test_routes_and_models_that_are_not_there(live: Live) -> None:
    response = live.post(f"/models/{TOYS}bert-boks", inputs="a")
    refused(response, 404, "not served here", "Did you mean 'minitransformer/bert-books'?")
    assert "Did you mean" in response.headers["x-error-message"]
    refused(live.post(f"{BOOKS}/pipeline/fil-mask", inputs="a"), 404, "Did you mean 'fill-mask'?")
    refused(live.post(f"{BOOKS}/pipeline/question-answering", inputs="a"), 400, "fill-mask")
    refused(live.post(f"{BOOKS}/v1/completions", prompt="a"), 400, "no model for text-generation")
    for path in ("/nothing", "/page/secret.js", "/page/..%2F..%2Fapp.py"):
        refused(live.client.get(path), 404)
    refused(live.client.get(BOOKS), 405)
    refused(live.client.put(BOOKS, json={}), 405)
    for path in ("/v1/chat/completions", f"{BOOKS}/v1/chat/completions"):
        refused(live.post(path, messages=[]), 400, "no chat models")


@pytest.mark.parametrize(
    "name", ["facebook/bart-base", "/etc", "../../etc", "gpt2", "~", "minitransformer/../x", "a" * 500]
)
def test_a_name_in_an_address_loads_nothing_else(live: Live, name: str) -> None:
    import urllib.parse

    before = set(live.ours.shelf.models)
    response = live.post(f"/models/{urllib.parse.quote(name, safe='')}", inputs="a")
    assert response.status_code == 404
    refused(live.post("/v1/completions", model=name, prompt="a"), 404, "not served here")
    assert set(live.ours.shelf.models) == before


def test_only_json_of_a_bounded_size(live: Live, start: Any) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        response = live.client.post(BOOKS, content=b'{"inputs": "[MASK]"}', headers={"content-type": kind})
        refused(response, 415, "application/json")
    small = start(models=("bert-books",), max_body=1000)
    refused(small.post("/", inputs="a" * 2000), 413, "1000")

    def parts() -> Any:
        for _ in range(50):
            yield b" " * 100

    response = small.client.post("/", content=parts(), headers={"content-type": "application/json"})
    refused(response, 413, "1000")
    assert small.post("/", inputs=MASKED).status_code == 200


@pytest.mark.parametrize(
    ("host", "let_in"),
    [
        ("127.0.0.1:1", True),
        ("localhost", True),
        ("LOCALHOST:80", True),
        ("[::1]:8000", True),
        ("my.name:80", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_the_host_header_must_name_this_server(start: Any, host: str, let_in: bool) -> None:
    server = start(models=("bert-books",), hosts=("my.name",))
    response = server.client.get("/health", headers={"host": host})
    assert response.status_code == (200 if let_in else 400)


def test_without_cors_no_other_origin_is_answered(live: Live) -> None:
    for headers in ({"origin": "https://evil.example"}, {}):
        response = live.post(BOOKS, headers=headers, inputs=MASKED)
        assert not any(name.startswith("access-control-allow") for name in response.headers)
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert live.client.options(BOOKS, headers=asked).status_code == 403


def test_cors_is_for_the_named_origins(start: Any) -> None:
    server = start(models=("bert-books",), cors=("https://good.example",))
    asked = {"origin": "https://good.example", "access-control-request-method": "POST"}
    response = server.client.options("/", headers=asked)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "https://good.example"
    assert "content-type" in response.headers["access-control-allow-headers"]
    answer = server.post("/", headers={"origin": "https://good.example"}, inputs=MASKED)
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    assert "x-compute-time" in answer.headers["access-control-expose-headers"]
    assert server.client.options("/", headers={**asked, "origin": "https://good.example.evil"}).status_code == 403


def test_the_token_is_wanted_everywhere_but_for_health_and_the_page(start: Any) -> None:
    server = start(models=("bert-books",), token="sécret")
    for headers in (
        {},
        {"authorization": "Bearer secret"},
        {"authorization": "sécret".encode()},
        {"authorization": "Bearer"},
    ):
        response = server.client.post("/", json={"inputs": MASKED}, headers=headers)
        refused(response, 401, "Bearer")
        assert response.headers["www-authenticate"] == "Bearer"
    right = {"authorization": "Bearer sécret".encode()}
    assert server.client.post("/", json={"inputs": MASKED}, headers=right).status_code == 200
    for path in ("/models", "/info", "/metrics", "/openapi.json", "/status/bert-books", "/inside"):
        assert server.client.get(path).status_code == 401, path
    for path in ("/health", "/", "/page/page.js", "/page/style.css"):
        assert server.client.get(path).status_code == 200, path


def test_answers_say_how_they_came_about(live: Live) -> None:
    response = live.post(BOOKS, headers={"x-request-id": "my-id-1"}, inputs=MASKED)
    headers = response.headers
    assert headers["x-request-id"] == "my-id-1"
    assert (
        0
        <= float(headers["x-queue-time"]) + float(headers["x-inference-time"])
        <= float(headers["x-compute-time"]) + 0.01
    )
    assert headers["x-compute-type"] in ("cpu", "gpu")
    assert headers["x-compute-characters"] == str(len(MASKED))
    assert headers["x-batch-size"] == "1"
    assert headers["x-content-type-options"] == "nosniff"
    odd = live.post(BOOKS, headers={"x-request-id": "a b\tc"}, inputs=MASKED).headers["x-request-id"]
    assert odd != "a b\tc"


def test_warnings_go_to_the_caller(live: Live) -> None:
    response = live.post(STORIES, inputs="It", parameters={"do_sample": False, "temperature": 2.0, "max_new_tokens": 2})
    topic, _, message = response.headers["x-hf-warning"].partition("; ")
    assert topic == "parameters"
    assert "temperature" in message
    long = live.post(f"/models/{TOYS}bert-ner", inputs="Sarah lives in London. " * 100)
    assert long.headers["x-hf-warning"].startswith("inputs; a text is longer than")
    assert "x-hf-warning" not in live.post(BOOKS, inputs=MASKED).headers


def test_lists_and_state(live: Live) -> None:
    models = live.client.get("/models").json()
    assert len(models) == 9
    assert {model["id"] for model in models} >= {f"{TOYS}bert-books"}
    info = live.client.get(f"{BOOKS}/info").json()
    names = "model_id model_sha model_dtype model_device_type model_pipeline_tag max_concurrent_requests"
    assert {*names.split(), "max_client_batch_size", "max_input_tokens", "max_total_tokens", "version"} <= info.keys()
    hub = live.client.get(f"/api/models/{TOYS}bert-books").json()
    assert hub["pipeline_tag"] == "fill-mask"
    assert "feature-extraction" in hub["tags"]
    assert live.client.get("/v1/models").json()["data"][0]["object"] == "model"
    assert live.client.get(f"{BOOKS}/health").json() == {"status": "ok"}
    live.ask(BOOKS, inputs=MASKED)
    state = live.client.get(f"/status/{TOYS}bert-books").json()
    assert state == {"loaded": True, "state": "Loaded", "compute_type": "cpu", "framework": "minitransformer"}
    assert live.client.get("/").json() == {"ok": "ok"}
    expected = {"fill-mask", "translation", "feature-extraction"}
    assert expected <= live.client.get("/api/tasks").json().keys()


def test_metrics_are_readable_for_prometheus(live: Live) -> None:
    import re

    live.ask(BOOKS, inputs=MASKED)
    live.post(BOOKS, inputs=5)
    text = live.client.get("/metrics").text
    line = re.compile(r'^(# (HELP|TYPE) \w+ .+|\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [0-9.e+-]+)$')
    assert all(line.match(each) for each in text.splitlines()), text
    counted = {each.rpartition(" ")[0]: float(each.rpartition(" ")[2]) for each in text.splitlines() if each[0] != "#"}
    assert counted[f'minitransformer_requests_total{{model="{TOYS}bert-books",task="fill-mask",code="200"}}'] >= 1
    assert counted['minitransformer_batch_rows_bucket{le="+Inf"}'] == counted["minitransformer_batch_rows_count"] >= 1
    assert counted[f'minitransformer_loaded{{model="{TOYS}bert-books"}}'] == 1


def test_loading_is_told_or_waited_for(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from minitransformer.serve import models

    real = models.pipeline

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(0.7)
        return real(*args, **options)

    monkeypatch.setattr(models, "pipeline", slow)
    server = start(models=("bert-books",), load_wait=0.1)
    refused(server.post("/", headers={"x-load-model": "0"}, inputs=MASKED), 503, "not loaded yet")
    assert server.client.get("/status/bert-books").json()["state"] == "Loadable"
    body = refused(server.post("/", inputs=MASKED), 503, "is currently loading")
    assert 0 < body["estimated_time"] < 60
    refused(server.post("/", inputs=MASKED, options={"wait_for_model": False}), 503, "is currently loading")
    assert server.post("/", headers={"x-wait-for-model": "true"}, inputs=MASKED).status_code == 200
    assert server.post("/", headers={"x-load-model": "0"}, inputs=MASKED).status_code == 200


def test_the_model_used_least_lately_makes_room(start: Any) -> None:
    server = start(models=("bert-books", "bert-sentiment", "bert-ner"), max_models=2)
    for name in ("bert-books", "bert-sentiment", "bert-books", "bert-ner"):
        assert server.post(f"/models/{name}", inputs=MASKED).status_code == 200
    states = {model["id"]: model["state"] for model in server.client.get("/models").json()}
    assert states == {f"{TOYS}bert-books": "Loaded", f"{TOYS}bert-sentiment": "Loadable", f"{TOYS}bert-ner": "Loaded"}
    assert server.post("/models/bert-sentiment", inputs=MASKED).status_code == 200


def test_a_model_that_cannot_be_loaded_fails_alone(start: Any, tmp_path: Any) -> None:
    from tiny_folders import bert

    folder = bert(tmp_path / "broken")
    server = start(models=(str(folder), "bert-sentiment"))
    (folder / "model.safetensors").write_bytes(b"rubbish")
    body = refused(server.post("/models/broken", inputs=MASKED), 424, "could not be loaded")
    assert str(tmp_path) not in json.dumps(body)
    assert server.post("/models/bert-sentiment", inputs="good").status_code == 200
    assert server.client.get("/status/broken").json()["state"] == "error"
    refused(server.client.get("/models/broken/health"), 503, "unhealthy")


def test_logs_hold_no_texts_unless_asked(live: Live, start: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="minitransformer.serve")
    live.post(BOOKS, inputs="my secret diary has no mask")
    live.client.get("/?text=secret")
    live.post(
        f"/models/{TOYS}bert-nli",
        inputs="secret",
        parameters={"candidate_labels": ["secret"], "hypothesis_template": "secret"},
    )
    assert any("POST" in record.getMessage() for record in caplog.records)
    assert "secret" not in caplog.text


def test_what_is_no_http_does_no_harm(live: Live) -> None:
    host, port = live.url.removeprefix("http://").split(":")
    for rubbish in (
        b"\x16\x03\x01\x00\xa5\x01",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST\r\n\r\n",
    ):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(rubbish)
            connection.settimeout(2)
            try:
                connection.recv(1000)
            except TimeoutError:
                pass
    assert live.client.get("/health").status_code == 200
