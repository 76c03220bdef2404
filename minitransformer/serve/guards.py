"""What every request passes before a route sees it, and every answer after: one ASGI middleware.

A page of another site must not speak to a server on one's own machine: the Host header must name this server (a name
that an attacker's DNS points here does not), bodies must say that they are JSON (which browsers do not send elsewhere
unasked), and other origins are answered only if they were named at the start.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
import socket
import time
import uuid
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response

from minitransformer.serve.errors import ApiError
from minitransformer.serve.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from minitransformer.serve.metrics import Metrics

logger = logging.getLogger("minitransformer.serve")

OPEN = frozenset({"/", "/health", "/page/style.css", "/page/page.js", "/page/models.json"})
"""What may be read without the token: the page asks for it, and a balancer asks for health."""
EXPOSED = "x-compute-time, x-compute-type, x-queue-time, x-inference-time, x-batch-size, x-request-id, retry-after"
_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


class Guard:
    """The middleware.

    Args:
        app: what it guards.
        settings: of the server.
        metrics: counts the answers.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self.hosts = {name.lower() for name in settings.hosts} | {"localhost", socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, began = Headers(scope=scope), time.monotonic()
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        state: dict[str, Any] = scope.setdefault("state", {})
        origin = self._allowed_origin(headers)
        status = 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = MutableHeaders(scope=message)
                more["x-request-id"] = request_id
                more["x-content-type-options"] = "nosniff"
                more.setdefault("cache-control", "no-store")
                more.setdefault("cross-origin-resource-policy", "same-origin" if origin is None else "cross-origin")
                if origin is not None:
                    more["access-control-allow-origin"] = origin
                    more["access-control-expose-headers"] = EXPOSED
                    more.add_vary_header("Origin")
            await send(message)

        response = self._refusal(scope, headers, origin)
        try:
            if response is not None:
                await response(scope, receive, send_more)
            else:
                await self.app(scope, receive, send_more)
        finally:
            spent = time.monotonic() - began
            self.metrics.count(state.get("model", ""), state.get("task", ""), status, spent)
            # of the address only the path: what a query holds is what somebody typed
            path = scope["path"] if self.settings.log_texts else scope["path"][:120]
            logger.info("%s %r %d %.3f s %s", scope["method"], path, status, spent, request_id)

    def _refusal(self, scope: Scope, headers: Headers, origin: str | None) -> Response | None:
        if not self._is_our_name(headers.get("host", "")):
            return refuse(ApiError(400, "The Host header names another server: --allow-host NAME lets it through"))
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            if origin is None:
                return refuse(ApiError(403, "Other origins may not call: --cors ORIGIN lets one"))
            allowed = "authorization, content-type, x-wait-for-model, x-use-cache, x-load-model, x-request-id"
            methods = {"access-control-allow-methods": "GET, POST", "access-control-allow-headers": allowed}
            return Response(status_code=204, headers={**methods, "access-control-max-age": "600"})
        if self.settings.token is not None and not (scope["method"] in ("GET", "HEAD") and scope["path"] in OPEN):
            kind, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode("latin-1"), self.settings.token.encode())
            if kind.lower() != "bearer" or not right:
                message = "Authorization is missing or wrong: send the header Authorization: Bearer TOKEN"
                return refuse(ApiError(401, message, headers={"www-authenticate": "Bearer"}))
        return None

    def _allowed_origin(self, headers: Headers) -> str | None:
        origin = headers.get("origin")
        if origin is None or not self.settings.cors:
            return None
        return "*" if "*" in self.settings.cors else origin if origin in self.settings.cors else None

    def _is_our_name(self, host: str) -> bool:
        """Whether a Host header names this server: by a number, which no foreign DNS can give away, or by its name."""
        if host.startswith("["):
            name = host[1:].partition("]")[0]
        else:
            name = host.partition(":")[0].rstrip(".").lower()
        if name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def refuse(error: ApiError) -> Response:
    """An error as an answer."""
    headers = {**error.headers, "x-error-message": _ascii(error.message)} if error.status == 404 else error.headers
    return JSONResponse(error.body(), status_code=error.status, headers=headers)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("\n", " ")[:500]
