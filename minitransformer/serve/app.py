"""The application: its routes, and the way of a request through them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match, Route

from minitransformer import __version__
from minitransformer.serve.answers import (
    answer_for,
    completion,
    completion_head,
    finish_with_reason,
    reads_old_form,
    with_details,
)
from minitransformer.serve.batching import CLOSING, Work, to_json
from minitransformer.serve.calls import Call, read_call, read_completion, read_json
from minitransformer.serve.errors import ApiError, invalid, wrong
from minitransformer.serve.event_stream import EventStream
from minitransformer.serve.generating import Event, Writing, likeliest
from minitransformer.serve.guards import Guard, refuse
from minitransformer.serve.metrics import Metrics
from minitransformer.serve.models import Served, Shelf, compute_type
from minitransformer.serve.openapi import document
from minitransformer.serve.page import index, page_routes
from minitransformer.serve.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

BODY_SECONDS = 30.0
"""In which a body must have arrived."""


class Server:
    """What the routes share: the models, the counts, and whether the server is closing.

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

    # Routes: inference ------------------------------------------------------------------------------------

    async def infer(self, request: Request) -> Response:
        """POST: the task of a model, by the forms of the Inference API."""
        served = self._served(request)
        task = served.check_task(request.path_params.get("task", served.task))
        body = await self._body(request)
        call = read_call(served, task, body, self.settings.max_inputs)
        return await self._answer(request, served, call)

    async def root(self, request: Request) -> Response:
        """GET /: the page; POST / as POST /predict: the only or first model."""
        return await (self.infer(request) if request.method == "POST" else index(request))

    async def generate(self, request: Request) -> Response:
        """POST .../generate and .../generate_stream, as text-generation-inference has them."""
        served = self._served(request, "text-generation")
        served.check_task("text-generation")
        body = await self._body(request)
        call = read_call(served, "text-generation", body, self.settings.max_inputs)
        call.options.setdefault("return_full_text", False)
        call.stream = request.url.path.endswith("_stream")
        return await self._answer(request, served, call, unwrap=True)

    async def complete(self, request: Request) -> Response:
        """POST .../v1/completions, to which huggingface.js sends text-generation."""
        body = await self._body(request)
        name = body.get("model")
        if "id" not in request.path_params and name is not None:
            if not isinstance(name, str):
                raise wrong("model must be the name of a model")
            request.path_params["id"] = name
        served = self._served(request, "text-generation")
        served.check_task("text-generation")
        call = read_completion(served, body, self.settings.max_inputs)
        call.extra["completing"] = True
        call.extra.pop("details", None)  # there is no place for them
        return await self._answer(request, served, call, completing=True)

    async def chat(self, request: Request) -> Response:
        """There are no chat models here."""
        await self._body(request)
        raise wrong("There are no chat models here: models have no chat templates. Send a prompt to /v1/completions.")

    # Routes: what there is --------------------------------------------------------------------------------

    async def health(self, request: Request) -> Response:
        """Whether requests are taken."""
        if "id" in request.path_params and self._served(request).failed:
            raise ApiError(503, "unhealthy", "healthcheck")
        if self.closing:
            raise ApiError(503, "unhealthy", "healthcheck", {"connection": "close"})
        return JSONResponse({"status": "ok"})

    async def info(self, request: Request) -> Response:
        """What is known of a model."""
        return JSONResponse(self._served(request).info())

    async def status(self, request: Request) -> Response:
        """What the old widgets asked first."""
        served = self._served(request)
        loaded = served.state == "Loaded"
        more: dict[str, Any] = {"compute_type": compute_type(), "framework": "minitransformer"}
        if not loaded:
            more["estimated_time"] = served.estimated_time()
        return JSONResponse({"loaded": loaded, "state": served.state, **more})

    async def models(self, request: Request) -> Response:
        """All models, for people and programs."""
        found = [{**model.describe(), "state": model.state} for model in self.shelf.models.values()]
        return JSONResponse(found)

    async def v1_models(self, request: Request) -> Response:
        """All models, as OpenAI lists them."""
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "local"} for name in self.shelf.models]
        return JSONResponse({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        """One model, as ``HfApi().model_info`` reads it."""
        return JSONResponse(self._served(request).describe())

    async def tasks(self, request: Request) -> Response:
        """The model that is recommended for each task, as ``InferenceClient`` without a model asks for it."""
        tasks = dict.fromkeys(task for model in self.shelf.models.values() for task in model.tasks)
        return JSONResponse({task: {"widgetModels": [self.shelf.first_for(task).id]} for task in tasks})

    async def measures(self, request: Request) -> Response:
        """For Prometheus."""
        loaded = {name: model.worker for name, model in self.shelf.models.items() if model.worker is not None}
        text = self.metrics.text(
            {name: worker.waiting for name, worker in loaded.items()},
            {name: worker.writing for name, worker in loaded.items()},
            loaded,
        )
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def openapi(self, request: Request) -> Response:
        """The description of all this."""
        return JSONResponse(document(self.shelf, self.settings))

    # The way of a request ---------------------------------------------------------------------------------

    def _served(self, request: Request, task: str | None = None) -> Served:
        name = request.path_params.get("id")
        if name is not None:
            served = self.shelf.find(name)
        else:
            served = self.shelf.first_for(task) if task else self.shelf.first()
        request.state.model = served.id
        return served

    async def _body(self, request: Request) -> dict[str, Any]:
        """The JSON of a request, if it is not too large."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ApiError(415, "The body must be JSON: send the header Content-Type: application/json")
        most = self.settings.max_body
        too_large = ApiError(
            413, f"The body has more than {most} bytes: send it in parts", headers={"connection": "close"}
        )
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > most:
            raise too_large

        async def read() -> bytes:
            data = bytearray()
            async for part in request.stream():
                data += part
                if len(data) > most:
                    raise too_large
            return bytes(data)

        try:
            data = await asyncio.wait_for(read(), BODY_SECONDS)
        except asyncio.TimeoutError:  # noqa: UP041  another class before Python 3.11
            raise ApiError(408, "The body did not arrive in time", headers={"connection": "close"}) from None
        return read_json(data)

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

    async def _answer(
        self, request: Request, served: Served, call: Call, *, unwrap: bool = False, completing: bool = False
    ) -> Response:
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


def create_app(settings: Settings | None = None) -> Starlette:
    """The ASGI application.

    Args:
        settings: how to serve; by default the package's own checkpoints.

    Raises:
        MinitransformerError: a model that cannot be served.
    """
    server = Server(settings or Settings())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        server.closing = True
        for worker in server.shelf.workers:
            worker.abort()

    models = "/models/{id:path}"
    routes = [
        Route("/health", server.health),
        Route("/info", server.info),
        Route("/metrics", server.measures),
        Route("/openapi.json", server.openapi),
        Route("/models", server.models),
        Route("/v1/models", server.v1_models),
        Route("/api/models", server.models),
        Route("/api/tasks", server.tasks),
        Route("/api/models/{id:path}", server.model),
        Route("/status/{id:path}", server.status),
        Route("/", server.root, methods=["GET", "POST"]),
        Route("/predict", server.infer, methods=["POST"]),
        Route("/generate", server.generate, methods=["POST"]),
        Route("/generate_stream", server.generate, methods=["POST"]),
        Route("/v1/completions", server.complete, methods=["POST"]),
        Route("/v1/chat/completions", server.chat, methods=["POST"]),
        Route("/pipeline/{task}/{id:path}", server.infer, methods=["POST"]),
        Route(models + "/pipeline/{task}", server.infer, methods=["POST"]),
        Route(models + "/v1/completions", server.complete, methods=["POST"]),
        Route(models + "/v1/chat/completions", server.chat, methods=["POST"]),
        Route(models + "/generate", server.generate, methods=["POST"]),
        Route(models + "/generate_stream", server.generate, methods=["POST"]),
        Whole(models + "/health", server.health),
        Whole(models + "/info", server.info),
        Route(models, server.infer, methods=["POST"]),
        *page_routes(server.shelf),
    ]
    app = Starlette(routes=routes, exception_handlers=HANDLERS, lifespan=lifespan)
    app.router.redirect_slashes = False
    app.state.server = server
    app.add_middleware(Guard, settings=server.settings, metrics=server.metrics)
    return app


class Whole(Route):
    """A route whose path no later one may take for the name of a model: another method gets 405."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path is this one's, whatever the method."""
        match, child = super().matches(scope)
        return (Match.FULL if match is Match.PARTIAL else match), child


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return refuse(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    texts = {404: "There is no such route: look at /openapi.json", 405: "This route takes another method"}
    headers = dict(error.headers or {})
    return refuse(ApiError(error.status_code, texts.get(error.status_code, error.detail), headers=headers))


async def _on_left(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


async def _on_any_error(request: Request, error: Exception) -> Response:
    return refuse(ApiError(500, "The server made a mistake: its log says more"))


HANDLERS: dict[Any, Any] = {
    ApiError: _on_api_error,
    HTTPException: _on_http_error,
    ClientDisconnect: _on_left,
    Exception: _on_any_error,
}


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
