"""``minitransformer serve``: pipelines behind HTTP, as Hugging Face's clients call them, and a page to try them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from minitransformer.cli.common import clear_errors


def serve(
    models: Annotated[
        list[str] | None, typer.Argument(help="Folders, Hub ids, toys; without any: the toys of the package.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0 for all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8000,
    token: Annotated[
        str | None, typer.Option(help="What callers must send; better in the variable MINITRANSFORMER_TOKEN.")
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="A site whose pages may call, or '*'; may be repeated.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name by which callers reach this server.")
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="The most rows that run together.")] = 32,
    max_waiting: Annotated[int, typer.Option(min=1, help="The most requests that wait for a model.")] = 64,
    max_models: Annotated[int | None, typer.Option(min=1, help="How many models stay loaded; default: all.")] = None,
    grace: Annotated[float, typer.Option(min=0, help="Seconds for running requests when the server is stopped.")] = 10,
    log_texts: Annotated[bool, typer.Option("--log-texts", help="Let the log show what callers send.")] = False,
) -> None:
    """Answer the tasks of models over HTTP, and show a page to try them.

    minitransformer serve

    minitransformer serve ./my-bert facebook/bart-base --port 9000
    """
    with clear_errors():
        try:
            import starlette  # noqa: F401
            import uvicorn  # noqa: F401
        except ImportError as error:
            message = f"serve needs {error.name}: pip install 'minitransformer[serve]'"
            raise typer.BadParameter(message, param_hint="serve") from error
        from minitransformer.serve.run import serve as run
        from minitransformer.serve.settings import Settings

        settings = Settings(
            models=tuple(models or ()),
            token=token or os.environ.get("MINITRANSFORMER_TOKEN") or None,
            cors=tuple(cors or ()),
            hosts=(*(allow_host or ()), host),
            max_batch=max_batch,
            max_waiting=max_waiting,
            max_models=max_models,
            grace=grace,
            log_texts=log_texts,
        )
        run(settings, host, port)
