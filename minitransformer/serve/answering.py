"""The way of a call to its answer: the model is loaded, it works or writes, and the caller is told how it went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from minitransformer import __version__
from minitransformer.serve.answers import (
    answer_for,
    completion,
    completion_head,
    finish_with_reason,
    reads_old_form,
    with_details,
)
from minitransformer.serve.batching import CLOSING
from minitransformer.serve.calls import Call
from minitransformer.serve.checks import to_json
from minitransformer.serve.errors import ApiError, invalid
from minitransformer.serve.event_stream import EventStream
from minitransformer.serve.generating import Event, Writing, likeliest
from minitransformer.serve.metrics import Metrics
from minitransformer.serve.models import Served, Shelf, compute_type
from minitransformer.serve.settings import Settings
from minitransformer.serve.work import Work

if TYPE_CHECKING:
    from starlette.types import Receive


class Answering:
    """What all answers share: the models, the counts, and whether the server is closing.

    Args:
        settings: how to serve.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shelf = Shelf(settings)
        self.metrics = Metrics()
        self.closing = False

    @property
    def running(self) -> int:
        """How many requests are being answered."""
        return self.metrics.running

    async def answer(
        self, request: Request, served: Served, call: Call, *, unwrap: bool = False, completing: bool = False
    ) -> Response:
        """The answer to a call: as the task has it; one text alone (``unwrap``); or as /v1/completions has it."""
        request.state.task = call.task
        self.metrics.running += 1
        try:
            await self._ready(request, served, call)
            if call.stream:
                return await self._stream(request, served, call, completing)
            if call.extra.get("details") or call.extra.get("best_of", 1) > 1 or _wants_writing(call):
                return await self._write(request, served, call, unwrap, completing)
            return await self._work(request, served, call, unwrap, completing)
        finally:
            self.metrics.running -= 1

    async def _ready(self, request: Request, served: Served, call: Call) -> None:
        """Wait until the model is loaded, as long as the caller wants."""
        if self.closing:
            raise ApiError(503, CLOSING, headers={"connection": "close"})
        asked = request.headers.get("x-wait-for-model", "").lower()
        wait = {"true": True, "1": True, "false": False, "0": False}.get(asked, call.wait)
        task = "feature-extraction" if call.task == "sentence-similarity" else call.task
        if task not in served.pipes and request.headers.get("x-load-model") == "0":
            raise ApiError(503, f"Model {served.id} is not loaded yet")
        self.shelf.make_room(served)
        loading = served.load(task)
        if loading.done() and loading.exception() is None:
            return
        if served.worker is not None:
            served.worker.batch_sizes = self.metrics.ran
        limit = None if wait else 0.0 if wait is False else self.settings.load_wait
        done, _ = await asyncio.wait({asyncio.ensure_future(_finished(loading))}, timeout=limit)
        if not loading.done():
            seconds = served.estimated_time()
            raise ApiError(503, f"Model {served.id} is currently loading", estimated_time=seconds)
        if loading.exception() is not None:
            raise ApiError(424, f"Model {served.id} could not be loaded: the log of the server says why", "generation")

    async def _work(self, request: Request, served: Served, call: Call, unwrap: bool, completing: bool) -> Response:
        """Let the model answer, beside others."""
        old_form = reads_old_form(request.headers.get("user-agent", ""), request.query_params.get("format"))
        answer: Callable[[list[Any]], Any] = answer_for(call, served.vectors, old_form)
        if completing:
            stops = call.options.get("stop_strings")
            answer = lambda results: completion(served.id, results, stops)  # noqa: E731
        elif unwrap:
            answer = lambda results: results[0][0]  # noqa: E731
        side = call.extra.get("truncation_direction")
        work = Work(
            call.inputs,
            call.options,
            lambda: served.pipe(call.task),
            answer,
            finish=finish_with_reason(call) if completing else None,
            truncation_side=side.lower() if side else None,
            seed=call.extra.get("seed"),
            max_tokens=self.settings.max_tokens,
            deadline=time.monotonic() + self.settings.deadline,
        )
        assert served.worker is not None
        served.worker.submit(work)
        content = await self._unless_left(request, work, served)
        self.metrics.times(work.queued, work.inference)
        return Response(content, media_type="application/json", headers=headers_of(work, _characters(call)))

    async def _unless_left(self, request: Request, work: Work, served: Served) -> bytes:
        """The answer; if the caller leaves first, the work is dropped."""
        answer = asyncio.wrap_future(work.future)
        gone = asyncio.ensure_future(_disconnected(request.receive))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                answer.cancel()
                if served.worker is not None:
                    served.worker.notice()
                raise ClientDisconnect
            return answer.result()
        finally:
            gone.cancel()

    def _writing(
        self, served: Served, call: Call, prompt: str, emit: Callable[[Event | ApiError], None], seed: int | None
    ) -> Writing:
        options = dict(call.options)
        full_text = options.pop("return_full_text", not (call.stream or call.extra.get("details")))
        return Writing(
            lambda: served.pipe(call.task),
            prompt,
            options,
            emit,
            full_text=full_text,
            seed=seed,
            top_tokens=call.extra.get("top_n_tokens", 0),
            prefill=bool(call.extra.get("decoder_input_details")),
            truncate=call.extra.get("truncate"),
            penalties=call.extra.get("penalties", (0.0, 0.0)),
            deadline=time.monotonic() + self.settings.deadline,
        )

    def _start(self, served: Served, call: Call, prompt: str, seed: int | None) -> tuple[Writing, asyncio.Queue[Any]]:
        """Let the model write; its events come into the queue."""
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Any]()

        def emit(event: Event | ApiError) -> None:
            try:
                loop.call_soon_threadsafe(events.put_nowait, event)
            except RuntimeError:  # the loop is closed: nobody reads any more
                writing.left = True

        writing = self._writing(served, call, prompt, emit, seed)
        assert served.worker is not None
        served.worker.submit(writing)
        return writing, events

    async def _write(self, request: Request, served: Served, call: Call, unwrap: bool, completing: bool) -> Response:
        """Texts that are written token by token, but answered when they are whole."""
        times = call.extra.get("best_of", 1)
        seed = call.extra.get("seed")
        answers, characters = [], _characters(call)
        writing = None
        for prompt in call.inputs:
            candidates = []
            for number in range(times):
                one_seed = seed if seed is None else (seed + number) % 2**63
                writing, events = self._start(served, call, prompt, one_seed)
                candidates.append(await self._collect(request, writing, events, served))
            best = candidates[likeliest(candidates)] if times > 1 else candidates[0]
            answers.append(self._whole(best, served, call))
        assert writing is not None
        if completing:
            texts = [[{**answer, **answer.pop("of", {})}] for answer in answers]
            content: Any = completion(served.id, texts, call.options.get("stop_strings"))
        elif unwrap:
            content = answers[0]
        elif call.extra.get("details"):
            content = answers[0] if call.single else answers
        else:
            content = [answers[0]] if call.single else [[answer] for answer in answers]
        self.metrics.times(writing.queued, writing.inference)
        return Response(to_json(content), media_type="application/json", headers=headers_of(writing, characters))

    def _whole(self, events: list[Event], served: Served, call: Call) -> dict[str, Any]:
        whole = with_details(events, served.pipe(call.task))
        if not call.extra.get("details"):
            ids = [event["token"]["id"] for event in events if event["token"]]
            last = events[-1]["details"]
            ends = set(ids[-1:]) if last["finish_reason"] == "eos_token" else set()
            whole = {"generated_text": whole["generated_text"]}
            if "completing" in call.extra:
                whole["of"] = {"ids": ids, "ends": ends, "prompt_tokens": last["input_length"]}
        return whole

    async def _collect(
        self, request: Request, writing: Writing, events: asyncio.Queue[Any], served: Served
    ) -> list[Event]:
        gone = asyncio.ensure_future(_disconnected(request.receive))
        collected: list[Event] = []
        try:
            while not collected or collected[-1]["details"] is None:
                coming = asyncio.ensure_future(events.get())
                await asyncio.wait({coming, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    raise ClientDisconnect
                event = coming.result()
                if isinstance(event, ApiError):
                    raise event
                collected.append(event)
        finally:
            writing.left = True
            if not gone.done():
                gone.cancel()
            if served.worker is not None:
                served.worker.notice()
        return collected

    async def _stream(self, request: Request, served: Served, call: Call, completing: bool) -> Response:
        """Server-sent events, as soon as the first token is there."""
        if not call.single or len(call.inputs) > 1:
            raise invalid("a stream is of one text: send inputs as a text, not as a list")
        if call.extra.get("best_of", 1) > 1:
            raise invalid("best_of is known only when all texts are whole: leave it or stream out")
        writing, events = self._start(served, call, call.inputs[0], call.extra.get("seed"))
        gone = asyncio.ensure_future(_disconnected(request.receive))
        coming = asyncio.ensure_future(events.get())
        try:
            await asyncio.wait({coming, gone}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            writing.left = True
            raise
        if not coming.done():
            coming.cancel()
            writing.left = True
            raise ClientDisconnect
        if isinstance(coming.result(), ApiError):
            gone.cancel()
            raise coming.result()
        head = completion_head(served.id) if completing else None
        return EventStream(
            self.metrics, writing, coming.result(), events, gone, head, headers_of(writing, _characters(call))
        )


def headers_of(work: Work | Writing, characters: int) -> dict[str, str]:
    """What an answer tells of its making."""
    spent = time.monotonic() - work.arrived
    headers = {
        "x-compute-time": f"{spent:.4f}",
        "x-compute-type": compute_type(),
        "x-compute-characters": str(characters),
        "x-queue-time": f"{work.queued:.4f}",
        "x-inference-time": f"{work.inference:.4f}",
        "x-batch-size": str(getattr(work, "batch_size", 1)),
        "x-powered-by": f"minitransformer/{__version__}",
    }
    if work.notes:
        topic = work.notes[0].partition("; ")[0]
        said = " | ".join(dict.fromkeys(note.partition("; ")[2] for note in work.notes))
        headers["x-hf-warning"] = f"{topic}; {' '.join(said.encode('ascii', 'replace').decode().split())[:1000]}"
    return headers


def _characters(call: Call) -> int:
    texts = (each.values() if isinstance(each, dict) else [each] for each in call.inputs)
    return sum(len(text) for several in texts for text in several if text is not None)


def _wants_writing(call: Call) -> bool:
    penalties = call.extra.get("penalties", (0.0, 0.0))
    return any(penalties) or "truncate" in call.extra and call.task == "text-generation"


async def _finished(future: Any) -> None:
    """Wait for a future of another thread, whatever comes of it."""
    try:
        await asyncio.shield(asyncio.wrap_future(future))
    except BaseException:  # noqa: S110  looked at by who waits
        pass


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
