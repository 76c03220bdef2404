"""A small server on this machine that speaks the part of the Hub's protocol by which files are resolved.

``GET`` and ``HEAD /{model id}/resolve/{revision}/{file}`` answer with the file (an ETag and the commit beside it), or,
for weights, with a redirect to another address, as the Hub does with large files. Errors carry the Hub's error codes.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Repository:
    """A model's revisions: branch -> file -> contents."""

    revisions: Mapping[str, Mapping[str, bytes]]
    token: str | None = None
    """Without this token the repository cannot be seen."""
    gated: bool = False

    def commit(self, revision: str) -> str:
        return digest(repr(sorted(self.revisions[revision].items())).encode())[:40]

    def branch(self, revision: str) -> str | None:
        return next((name for name in self.revisions if revision in (name, self.commit(name))), None)


@dataclass
class FakeHub:
    """What the server holds, and what it was asked."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    url: str = ""
    broken: Counter[str] = field(default_factory=Counter)
    """File -> how many times its contents are cut off in the middle."""
    down: bool = False
    """Answer everything with 503."""
    lies: dict[str, str] = field(default_factory=dict)
    """Headers that the answers have instead of the true ones."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each."""

    @contextmanager
    def serve(self) -> Iterator[FakeHub]:
        hub = self

        class BoundHandler(Handler):
            pass

        BoundHandler.hub = hub
        server = ThreadingHTTPServer(("127.0.0.1", 0), BoundHandler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""

    def answer(self) -> None:
        self.hub.requests.append((self.command, self.path))
        if self.hub.down:
            return self.send(503)
        if self.path.startswith("/api/") and "/tree/" in self.path:  # a folder of further files: there is none
            return self.send(404, {"X-Error-Code": "EntryNotFound"})
        repo_id, _, rest = self.path.strip("/").removeprefix("large/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        repository, given = self.hub.repositories.get(repo_id), self.headers.get("Authorization")
        if given == "Bearer rubbish":
            message = {"X-Error-Message": "Invalid credentials in Authorization header"}
            return self.send(401, message)
        if repository is None or (repository.token and given != f"Bearer {repository.token}"):
            if repository is not None and repository.gated:
                return self.send(401 if given is None else 403, {"X-Error-Code": "GatedRepo"})
            return self.send(401 if given is None else 404, {"X-Error-Code": "RepoNotFound"})
        branch = repository.branch(revision)
        if branch is None:
            return self.send(404, {"X-Error-Code": "RevisionNotFound"})
        headers = {"X-Repo-Commit": repository.commit(branch)}
        data = repository.revisions[branch].get(name)
        if data is None:
            return self.send(404, headers | {"X-Error-Code": "EntryNotFound"})
        if name.endswith(".safetensors") and not self.path.startswith("/large/"):
            headers |= {"X-Linked-Etag": f'"{digest(data)}"', "X-Linked-Size": str(len(data))}
            return self.send(302, headers | {"Location": f"{self.hub.url}/large{self.path}"})
        self.send_data(name, data, headers | {"ETag": f'"{digest(data)}"', "Accept-Ranges": "bytes"})

    def send_data(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        start, status = 0, 200
        if wanted := self.headers.get("Range"):
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        self.send(status, headers | {"Content-Length": str(len(body))})
        if self.command == "GET":
            if self.hub.broken[name] > 0:
                self.hub.broken[name] -= 1
                body = body[: len(body) // 2]
                self.close_connection = True
            self.wfile.write(body)

    def send(self, status: int, headers: Mapping[str, str] = {}) -> None:  # noqa: B006  (only read)
        self.send_response(status)
        true = {"Content-Length": "0"} | dict(headers)
        for key, value in {key: self.hub.lies.get(key, value) for key, value in true.items()}.items():
            self.send_header(key, value)
        self.end_headers()
