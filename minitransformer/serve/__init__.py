"""Pipelines behind HTTP, as Hugging Face's own clients call them, and a page that tries them.

A request takes this way, one file a station::

    guards.py       Host, token, size of the body, headers of every answer
    app.py          routes
    calls.py        JSON -> what is to be done: task, inputs, options              (options.py: the table of them)
    models.py       which models there are; each is loaded on first use
    batching.py     one thread a model: what waits runs together                   (generating.py: token by token)
    answers.py      what the pipeline said -> what the clients read

``create_app`` makes the ASGI application; ``minitransformer serve`` runs it (run.py). Nothing in the package imports
this one, and Starlette and uvicorn are imported here only: ``pip install 'minitransformer[serve]'``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Settings", "create_app"]


def __getattr__(name: str) -> Any:
    """Import when first asked for (PEP 562)."""
    if name == "create_app":
        from minitransformer.serve.app import create_app

        return create_app
    if name == "Settings":
        from minitransformer.serve.settings import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
