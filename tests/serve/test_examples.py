"""The files that put the server to use elsewhere: a container, a system service, several copies behind Ray Serve."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from serve.conftest import pipe, same
from serve.tools import ROOT

DOCKERFILE = ROOT / "examples" / "serving" / "Dockerfile"
UNIT = ROOT / "examples" / "serving" / "minitransformer.service"


def test_the_dockerfile_passes_a_linter() -> None:
    linter = shutil.which("hadolint") or str(ROOT / ".venv-clients" / "bin" / "hadolint")
    linter = os.environ.get("HADOLINT", linter)
    if not Path(linter).is_file():
        pytest.skip("hadolint is not there: make clients")
    done = subprocess.run([linter, "--no-color", str(DOCKERFILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_container_holds_what_it_copies_and_runs_as_nobody_special() -> None:
    lines = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    words = [shlex.split(line) for line in lines if line and not line.startswith("#")]
    for command in (line for line in words if line[0] == "COPY"):
        for source in command[1:-1]:
            assert (ROOT / source).exists(), source
    assert [line[1] for line in words if line[0] == "USER"][-1] != "root"
    assert ":latest" not in words[0][1]
    assert ":" in words[0][1]


def test_the_service_starts_a_command_that_exists() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT, encoding="utf-8")
    command = shlex.split(unit["Service"]["ExecStart"])
    from typer.testing import CliRunner

    from minitransformer.cli import app

    told = CliRunner().invoke(app, [command[1], "--help"], env={"COLUMNS": "200"}).output
    for word in command:
        assert not word.startswith("--") or word in told, word
    assert float(unit["Service"]["TimeoutStopSec"]) > float(command[command.index("--grace") + 1])
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True)
        complaints = [line for line in done.stderr.splitlines() if "minitransformer.service" in line]
        assert not [line for line in complaints if "not executable" not in line], done.stderr


@pytest.mark.slow
def test_two_copies_behind_ray_serve_answer_alike() -> None:
    python = os.environ.get("RAY_PYTHON") or str(ROOT / ".venv-ray" / "bin" / "python")
    if not Path(python).is_file():
        pytest.skip("there is no environment with Ray Serve: make ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [python, str(ROOT / "examples" / "ray_serve.py"), "--replicas", "2", "--port", port, "bert-sentiment"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            end = time.monotonic() + 180
            while True:
                try:
                    if client.get("/health").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                assert process.poll() is None, process.communicate()[0][-3000:]
                assert time.monotonic() < end, "it did not start"
                time.sleep(0.5)
            for i in range(20):
                answer = client.post("/models/bert-sentiment", json={"inputs": f"good film {i}"})
                assert answer.status_code == 200, answer.text
                expected = pipe("text-classification", "bert-sentiment")(f"good film {i}", top_k=None)
                assert same(answer.json(), [expected])
            uptimes = {client.get("/metrics").text.split("uptime_seconds ")[-1].split()[0] for _ in range(20)}
            assert len(uptimes) >= 2, "both copies answered"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
