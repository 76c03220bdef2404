"""Where the things are that the server's tests need beyond this interpreter; ``make clients`` fetches them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NODE_FOLDER = Path(__file__).parent / "node"
CLEAN = {
    k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k not in ("HF_HUB_OFFLINE", "HF_TOKEN")
}


def newest_hub() -> str:
    """An interpreter with the newest huggingface_hub."""
    found = os.environ.get("NEWEST_HUB_PYTHON") or str(ROOT / ".venv-hub" / "bin" / "python")
    if not Path(found).is_file():
        pytest.skip("the newest huggingface_hub is not there: make clients")
    return found


def node_modules() -> Path:
    """Where node's packages lie."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (NODE_FOLDER / "node_modules" / "@huggingface" / "inference").is_dir():
        pytest.skip("node's packages are not there: make clients")
    return NODE_FOLDER / "node_modules"


def chromium() -> str:
    """A browser."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed (Debian's package of that name)")
    return found


def run_json(*command: str, cwd: Path | None = None, timeout: float = 300) -> Any:
    """What a program prints, as JSON."""
    done = subprocess.run(command, cwd=cwd, env=CLEAN, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
