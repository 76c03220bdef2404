"""What the server is told at its start, and its limits."""

from __future__ import annotations

from dataclasses import dataclass

TOYS = (  # one for each task of the course, and one more for translation
    "bert-books",
    "bert-sentiment",
    "bert-ner",
    "bert-qa",
    "bert-nli",
    "gpt2-stories",
    "bart-tldr",
    "marian-fr-en",
    "marian-en-de",
)
"""Checkpoints of the package that are served where no model is named."""


@dataclass(frozen=True)
class Settings:
    """How to serve.

    Attributes:
        models: folders, ids of the Hub, and checkpoints of the package (with or without ``minitransformer/``); without
            any, `TOYS`.
        token: what callers must send as ``Authorization: Bearer TOKEN``; None lets everybody in.
        cors: origins whose pages may call, such as ``https://example.org``; ``*`` for all.
        hosts: further names under which callers may reach the server.
        max_batch: the most rows that run together.
        max_waiting: the most requests that wait for a model; more are told to come back.
        max_models: how many models stay loaded; None for all. The one that was used least lately makes room.
        grace: seconds in which running requests may end when the server is stopped.
        load_wait: seconds that a request waits for its model to be loaded, where it does not say.
        deadline: seconds after which a request that still waits is given up.
        max_inputs: inputs of one request.
        max_body: bytes of one request.
        max_tokens: tokens of one request, all its inputs together.
        log_texts: whether the log may show what callers send.
    """

    models: tuple[str, ...] = ()
    token: str | None = None
    cors: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    max_batch: int = 32
    max_waiting: int = 64
    max_models: int | None = None
    grace: float = 10.0
    load_wait: float = 30.0
    deadline: float = 60.0
    max_inputs: int = 32
    max_body: int = 1 << 20
    max_tokens: int = 1 << 17
    log_texts: bool = False
