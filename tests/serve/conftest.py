"""A server on the loopback, in a thread of the tests, and the pipelines that its answers are compared with."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra 'serve' is not installed")

import httpx
import uvicorn

from minitransformer.pipelines import pipeline
from minitransformer.pipelines.base import Pipeline
from minitransformer.serve import Settings, create_app

TOYS = "minitransformer/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a pipeline warns of would be an error in the thread of its model; how it warns is tested elsewhere."""
    for item in items:
        if "serve" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("ignore::UserWarning"))


class Live:
    """A server that runs while the tests of a file do."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)
        self.server = uvicorn.Server(
            uvicorn.Config(self.app, host="127.0.0.1", port=0, log_level="error", lifespan="on", ws="none")
        )
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        end = time.monotonic() + 60
        while not self.server.started and time.monotonic() < end:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    @property
    def ours(self) -> Any:
        return self.app.state.server

    def post(self, path: str, *, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        return self.client.post(path, json=body, headers=headers)

    def ask(self, path: str, **body: Any) -> Any:
        response = self.post(path, **body)
        assert response.status_code == 200, response.text
        return response.json()

    def events(self, path: str, **body: Any) -> list[dict[str, Any]]:
        with self.client.stream("POST", path, json=body) as response:
            assert response.status_code == 200, response.read()
            lines = list(response.iter_lines())
        data = [line[5:].strip() for line in lines if line.startswith("data:")]
        return [json.loads(text) for text in data if text != "[DONE]"]

    def close(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    server = Live(Settings())
    yield server
    server.close()


@pytest.fixture
def start() -> Iterator[Any]:
    """Starts servers with other settings; they end with the test."""
    started: list[Live] = []

    def begin(**settings: Any) -> Live:
        started.append(Live(Settings(**settings)))
        return started[-1]

    yield begin
    for server in started:
        server.close()


@lru_cache
def pipe(task: str, model: str) -> Pipeline:
    return pipeline(task, model=TOYS + model)


def same(ours: Any, theirs: Any, within: float = 1e-6) -> bool:
    """Whether two answers are equal, their numbers within a tolerance."""
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, (list, tuple)):
        return isinstance(ours, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, float):
        return isinstance(ours, (int, float)) and abs(ours - theirs) <= within
    return bool(ours == theirs)
