"""Running the application under uvicorn, and ending it so that nobody's answer is lost."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from types import FrameType
from typing import Any

import uvicorn

from minitransformer.serve.app import Server, create_app
from minitransformer.serve.settings import Settings

logger = logging.getLogger("minitransformer.serve")

QUIET_SECONDS = 0.2
"""How long nothing may run before the sockets close: what was sent already is still read and answered."""


class GracefulServer(uvicorn.Server):
    """uvicorn's server; told to end, it first lets running requests end, and tells new ones to go elsewhere.

    Args:
        config: uvicorn's.
        server: ours, which knows what is running.
        address: where it will be found.
    """

    def __init__(self, config: uvicorn.Config, server: Server, address: str) -> None:
        super().__init__(config)
        self.ours, self.address = server, address
        self.draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end, the second is not patient."""
        if self.ours.closing:
            for worker in self.ours.shelf.workers:
                worker.abort()
            super().handle_exit(sig, frame)
            return
        self.ours.closing = True
        logger.info("%s: no new requests; running ones end first", signal.Signals(sig).name)
        loop = self.loop
        loop.call_soon_threadsafe(self._drain)

    @property
    def loop(self) -> Any:
        """The event loop that serves."""
        return self._loop

    async def startup(self, sockets: Any = None) -> None:
        """Remember the loop, for signals; say where to ask."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            print(self.address, flush=True)  # from now on it answers

    def _drain(self) -> None:
        self.draining = self._loop.create_task(self._end())

    async def _end(self) -> None:
        end = time.monotonic() + self.ours.settings.grace
        quiet = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < end and time.monotonic() < quiet:
            if self.ours.running:
                quiet = time.monotonic() + QUIET_SECONDS
            await asyncio.sleep(0.02)
        for worker in self.ours.shelf.workers:
            worker.abort()
        while self.ours.running and time.monotonic() < end + 2:
            await asyncio.sleep(0.02)
        self.should_exit = True


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until a signal ends it.

    Args:
        settings: how.
        host: the address to listen at.
        port: and the port; 0 takes a free one, which the log names.

    Raises:
        MinitransformerError: a model that cannot be served.
        SystemExit: the port is taken.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("uvicorn.error", "huggingface_hub", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=30,
        lifespan="on",
    )
    sock = config.bind_socket()
    where = f"[{host}]" if ":" in host else host
    server = GracefulServer(config, app.state.server, f"http://{where}:{sock.getsockname()[1]}")
    logger.info("serving %s", ", ".join(app.state.server.shelf.models))
    server.run(sockets=[sock])
