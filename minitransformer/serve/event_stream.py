"""Events of a text that is being written, sent as they come (server-sent events)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from minitransformer.serve.answers import completion_event
from minitransformer.serve.checks import to_json
from minitransformer.serve.errors import ApiError
from minitransformer.serve.generating import Event, Writing
from minitransformer.serve.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

KEEP_ALIVE_SECONDS = 10.0
"""After which a stream that is silent sends a comment."""


class EventStream(Response):
    """An answer whose events are sent as they come; it ends when the text does, or when the caller leaves.

    Args:
        metrics: counts what runs, and what was written.
        writing: makes the events.
        first: the first of them.
        events: the rest.
        gone: is done when the caller has left.
        head: what each event begins with on /v1/completions, or None.
        headers: of the answer.
    """

    def __init__(
        self,
        metrics: Metrics,
        writing: Writing,
        first: Event,
        events: asyncio.Queue[Any],
        gone: asyncio.Future[None],
        head: dict[str, Any] | None,
        headers: dict[str, str],
    ) -> None:
        super().__init__(
            None,
            headers={**headers, "x-accel-buffering": "no", "cache-control": "no-cache"},
            media_type="text/event-stream",
        )
        del self.headers["content-length"]
        self.metrics, self.writing, self.first, self.events, self.gone, self.head_event = (
            metrics, writing, first, events, gone, head
        )  # fmt: skip
        metrics.running += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            event: Event | ApiError | None = self.first
            while event is not None and not self.gone.done():
                try:
                    line = self._line(event)
                except ApiError as error:
                    event, line = error, self._line(error)
                await send({"type": "http.response.body", "body": line, "more_body": True})
                if isinstance(event, ApiError) or event["details"] is not None:
                    if self.head_event is not None:
                        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": True})
                    break
                event = await self._next(send)
            if not self.gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.writing.left = True
            self.gone.cancel()
            self.metrics.running -= 1
            self.metrics.tokens += len(self.writing.ids)
            self.metrics.times(self.writing.queued, self.writing.inference)

    async def _next(self, send: Send) -> Event | ApiError | None:
        coming = asyncio.ensure_future(self.events.get())
        try:
            while True:
                await asyncio.wait({coming, self.gone}, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if coming.done():
                    return coming.result()
                if self.gone.done():
                    return None
                await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
        finally:
            if not coming.done():
                coming.cancel()

    def _line(self, event: Event | ApiError) -> bytes:
        if isinstance(event, ApiError):
            return b"data:" + json.dumps({"error_type": "generation", **event.body()}).encode() + b"\n\n"
        if event["token"] is None:  # the clients want one
            event["token"] = {"id": 0, "text": "", "logprob": None, "special": True}
        whole = completion_event(self.head_event, event) if self.head_event is not None else event
        return b"data:" + to_json(whole) + b"\n\n"
