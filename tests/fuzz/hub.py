"""A Hub on this machine that answers what no Hub would: other statuses, headers that lead elsewhere, spoilt files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import hub_server

from fuzz import Broken, Case
from fuzz.folders import original
from fuzz.mutators import bytes_of
from fuzz.savings import everything
from minitransformer import AutoConfig, AutoModel, AutoTokenizer

PLACES = ("../../outside", "/tmp/fuzz-outside", "..", "a/../../b", "x\0y", "x" * 5000, "", "\u2028", "%2e%2e%2fx")
STATUSES = (200, 206, 301, 302, 307, 400, 401, 403, 404, 416, 429, 500, 503, 999)
HEADERS = """ETag X-Repo-Commit X-Linked-Etag X-Linked-Size Location Content-Length X-Error-Code X-Error-Message
    Content-Range Content-Encoding Content-Disposition Set-Cookie Link""".split()
VALUES = ("-1", "10", str(10**12), '"abc"', "0" * 40, "gzip", "bytes 0-1/2")
CODES = ("GatedRepo", "RepoNotFound", "RevisionNotFound", "EntryNotFound", "DisabledRepo", "\x1b[31m")


def case(draw: Random, folder: Path) -> Case:
    files = {path.name: path.read_bytes() for path in original("gpt2").iterdir()}
    if draw.random() < 0.3:
        name = draw.choice(sorted(files))
        files[name] = bytes_of(draw, files[name], list(files.values()))[1]
    spoilt: dict[str, str] = {}
    for header in draw.sample(HEADERS, draw.choice((0, 1, 1, 2))):
        spoilt[header] = draw.choice((*PLACES, *CODES, *VALUES))
    status = draw.choice(STATUSES) if draw.random() < 0.4 else None
    revision = draw.choice((None, None, "main", "v1", *PLACES))
    name = draw.choice(("ann/gpt2", "gpt2", "ann/gpt2", *PLACES[:6]))
    told = f"{name!r:.40} at {revision!r:.40}, status {status}, headers {spoilt!r:.200}"
    spoils = draw.choice(("all", "weights", "config"))

    class Hostile(hub_server.Handler):
        def send(self, given: int, headers: Mapping[str, str] = {}) -> None:  # noqa: B006  (only read)
            chosen = spoils == "all" or (spoils == "weights") == ("safetensors" in self.path)
            changed = {**headers, **spoilt} if chosen else headers
            clean = {k: v.encode("latin-1", "ignore").decode("latin-1") for k, v in changed.items()}
            super().send(status if chosen and status is not None else given, clean)

        def send_data(self, *arguments: Any) -> None:
            try:
                super().send_data(*arguments)
            except OSError:
                pass  # the client went away

    def attempt() -> Any:
        from huggingface_hub import constants

        home, outside = folder / "inside" / "home", folder / "outside"
        home.mkdir(parents=True)
        outside.mkdir()
        hub = hub_server.FakeHub({n: hub_server.Repository({"main": files, "v1": files}) for n in ("ann/gpt2", "gpt2")})
        old, sleep = hub_server.Handler, time.sleep
        hub_server.Handler = Hostile  # type: ignore[misc]
        try:
            with hub.serve():
                patched = {
                    "ENDPOINT": hub.url,
                    "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
                    "HF_HUB_CACHE": str(home),
                    "HF_HUB_OFFLINE": False,
                }
                before = {key: getattr(constants, key) for key in patched}
                try:
                    for key, value in patched.items():
                        setattr(constants, key, value)
                    time.sleep = lambda seconds: None
                    return use(name, revision)
                finally:
                    time.sleep = sleep
                    for key, value in before.items():
                        setattr(constants, key, value)
        finally:
            hub_server.Handler = old  # type: ignore[misc]
            strange = [p for p in folder.iterdir() if p.name not in ("inside", "outside")]
            if strange or list(outside.iterdir()) or [p.name for p in (folder / "inside").iterdir()] != ["home"]:
                raise Broken("wrote elsewhere", str(sorted(everything(folder))[:20]))

    return told, attempt


def use(name: str, revision: str | None) -> Any:
    AutoConfig.from_pretrained(name, revision=revision)
    AutoTokenizer.from_pretrained(name, revision=revision)("a b")
    return AutoModel.from_pretrained(name, revision=revision)
