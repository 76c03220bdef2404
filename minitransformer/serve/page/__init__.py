"""The page: one HTML, one CSS and one JavaScript file of ours, and what they need to know of the models."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from minitransformer.errors import MinitransformerError
from minitransformer.serve.errors import ApiError, without_paths
from minitransformer.serve.models import Served, Shelf
from minitransformer.serve.page.examples import OF_MODEL, OF_TASK

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
INSIDE_POLICY = (  # a page of its own origin, whose scripts reach nothing
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; sandbox allow-scripts"
)
KINDS = {"index.html": "text/html", "style.css": "text/css", "page.js": "text/javascript"}
MOST_CHARACTERS = 2000
"""Of a text that is looked into."""


def page_routes(shelf: Shelf) -> list[Route]:
    """The files of the page, and the page that looks inside."""

    async def part(request: Request) -> Response:
        if request.path_params["name"] not in ("style.css", "page.js"):
            raise ApiError(404, "There is no such file")
        return file(request.path_params["name"])

    async def models(request: Request) -> Response:
        inside = study_page() is not None
        return JSONResponse({"models": [about(model) for model in shelf.models.values()], "inside": inside, **shown()})

    async def inside(request: Request) -> Response:
        page = study_page()
        if page is None:
            raise ApiError(404, "There is no page that looks inside")
        served, text = shelf.find(request.query_params.get("model", "")), request.query_params.get("text", "")
        if not text or len(text) > MOST_CHARACTERS:
            raise ApiError(400, f"text must have 1 to {MOST_CHARACTERS} characters")
        shelf.make_room(served)
        await asyncio.wrap_future(served.load(served.task))
        assert served.worker is not None
        try:
            html = await asyncio.wrap_future(served.worker.call(lambda: page(served.pipe(served.task), text)))
        except MinitransformerError as error:
            raise ApiError(422, without_paths(str(error)), "validation") from None
        return HTMLResponse(html, headers={"content-security-policy": INSIDE_POLICY})

    return [
        Route("/page/models.json", models),
        Route("/page/{name}", part),
        Route("/inside", inside),
    ]


async def index(request: Request) -> Response:
    """The page for a browser; others are told that there is a server."""
    return file("index.html") if "text/html" in request.headers.get("accept", "") else JSONResponse({"ok": "ok"})


def file(name: str) -> Response:
    """One of the files."""
    headers = {"content-security-policy": POLICY, "referrer-policy": "no-referrer"}
    return Response(read(name), media_type=KINDS[name], headers=headers)


@lru_cache
def read(name: str) -> bytes:
    """Its content."""
    return (Path(__file__).parent / name).read_bytes()


def about(model: Served) -> dict[str, Any]:
    """What the page shows of a model before it is asked anything."""
    examples = OF_MODEL.get(model.id)
    own = {} if examples is None else {"examples": examples}
    return {"id": model.id, "task": model.task, "tasks": model.tasks, "mask": model.mask_token, **own}


def shown() -> dict[str, Any]:
    """What there is to try for each task."""
    return {"examples": OF_TASK}


def study_page() -> Any:
    """``(pipeline, text) -> HTML`` of the study tools, or None where they offer none."""
    try:
        from minitransformer import study
    except ImportError:
        return None
    page = getattr(study, "page", None)
    if not callable(page):
        return None
    return lambda pipe, text: page(pipe.model, pipe.tokenizer, text)
