"""The application: its routes, and what a request is about and says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match, Route

from minitransformer.serve.answering import Answering
from minitransformer.serve.calls import read_call, read_completion, read_json
from minitransformer.serve.errors import ApiError, wrong
from minitransformer.serve.guards import Guard, refuse
from minitransformer.serve.models import Served, compute_type
from minitransformer.serve.openapi import document
from minitransformer.serve.page import index, page_routes
from minitransformer.serve.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Scope

BODY_SECONDS = 30.0
"""In which a body must have arrived."""


class Server(Answering):
    """The routes."""

    # Routes: inference ------------------------------------------------------------------------------------

    async def infer(self, request: Request) -> Response:
        """POST: the task of a model, by the forms of the Inference API."""
        served = self._served(request)
        task = served.check_task(request.path_params.get("task", served.task))
        body = await self._body(request)
        call = read_call(served, task, body, self.settings.max_inputs)
        return await self.answer(request, served, call)

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
        return await self.answer(request, served, call, unwrap=True)

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
        return await self.answer(request, served, call, completing=True)

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

    # What a request is about, and what it says -------------------------------------------------------------

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
