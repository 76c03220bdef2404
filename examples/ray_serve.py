"""The same server on several machines: Ray Serve starts copies of it, shares out the requests, and replaces what dies.

    pip install 'minitransformer[serve]' 'ray[serve]'
    python examples/ray_serve.py --replicas 2 minitransformer/bert-books minitransformer/bert-sentiment

Every copy holds the models by itself, and makes batches of the requests that reach it. On more than one machine start
``ray start --head`` on the first and ``ray start --address=...`` on the others before; nothing else changes.
"""

from __future__ import annotations

import argparse
import time

from ray import serve
from starlette.applications import Starlette

from minitransformer.serve import Settings, create_app


def application(models: list[str], replicas: int) -> serve.Application:
    """What ``serve.run`` takes."""
    settings = Settings(models=tuple(models))

    def build() -> Starlette:
        return create_app(settings)  # in the process of the copy

    deployment = serve.deployment(
        num_replicas=replicas,
        max_ongoing_requests=settings.max_waiting,
        graceful_shutdown_timeout_s=settings.grace,
    )
    return deployment(serve.ingress(build)()).bind()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", help="folders, Hub ids, toys; without any: the toys of the package")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    serve.start(http_options={"host": arguments.host, "port": arguments.port})
    serve.run(application(arguments.models, arguments.replicas))
    print(f"http://{arguments.host}:{arguments.port}", flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
