"""The course's cells, run once with each library: two processes, and a loopback Hub between them and the network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from course.repositories import PINNED, make_all
from hub_server import FakeHub, Repository

import minitransformer

HERE = Path(__file__).parent
ROOT = Path(minitransformer.__file__).parents[1]
LIBRARIES = ("transformers", "minitransformer")


@dataclass
class Classroom:
    """Where the cells run, and what came out: library -> section -> cells."""

    hub: FakeHub
    home: Path
    results: dict[str, dict[str, list[dict[str, Any]]]]
    run: Callable[..., dict[str, list[dict[str, Any]]]]


class PinnedRepository(Repository):
    """A repository whose only commit begins as the pinned revision does."""

    pinned = ""

    def commit(self, revision: str) -> str:
        return (self.pinned + super().commit(revision))[:40]

    def branch(self, revision: str) -> str | None:
        is_pinned = bool(self.pinned) and revision.startswith(self.pinned)
        return "main" if is_pinned else super().branch(revision)


@pytest.fixture(scope="session")
def classroom(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Classroom]:
    repositories: dict[str, Repository] = {}
    for name, files in make_all(tmp_path_factory.mktemp("hub")).items():
        repositories[name] = PinnedRepository({"main": files})
        repositories[name].pinned = PINNED.get(name, "")
    home = tmp_path_factory.mktemp("home")
    with FakeHub(repositories).serve() as hub:

        def run(library: str, sections: list[Path], **environment: str) -> dict[str, list[dict[str, Any]]]:
            out = home / f"{library}.json"
            clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
            settings = {
                "HF_HOME": str(home / library),
                "HF_ENDPOINT": hub.url,
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE), str(HERE.parent)]),
                "CUDA_VISIBLE_DEVICES": "",
                "DISABLE_SAFETENSORS_CONVERSION": "1",
                "OMP_NUM_THREADS": "1",
            }
            command = [sys.executable, str(HERE / "cells.py"), library, str(out), *map(str, sections)]
            env = clean | settings | environment
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
            assert done.returncode == 0, done.stderr[-4000:]
            found: dict[str, list[dict[str, Any]]] = json.loads(out.read_text(encoding="utf-8"))
            return found

        calls = [getattr(item, "callspec", None) for item in request.session.items]
        asked = {call.params["section"] for call in calls if call is not None and "section" in call.params}
        sections = [path for path in sorted((HERE / "sections").glob("*.py")) if path.stem in asked]
        with ThreadPoolExecutor(len(LIBRARIES)) as both:
            results = dict(zip(LIBRARIES, both.map(lambda library: run(library, sections), LIBRARIES), strict=True))
        yield Classroom(hub, home, results, run)
