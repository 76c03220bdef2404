"""What the commands share: errors in one line, options, progress."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from minitransformer.errors import MinitransformerError


@contextmanager
def clear_errors() -> Iterator[None]:
    """Print an error of ours as one line and leave with exit code 2."""
    try:
        yield
    except MinitransformerError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


@contextmanager
def speaking(level: int) -> Iterator[None]:
    """Show what the library has to say on standard error."""
    logger = logging.getLogger("minitransformer")
    handler, before = logging.StreamHandler(sys.stderr), logger.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def read_options(items: Iterable[str] | None) -> dict[str, Any]:
    """``["top_k=3"]`` -> {"top_k": 3}. What is not JSON is text."""
    return dict(_read_option(item) for item in items or ())


def _read_option(item: str) -> tuple[str, Any]:
    name, equals, value = item.partition("=")
    if not equals or not name.isidentifier():
        raise typer.BadParameter(f"{item!r} is not KEY=VALUE", param_hint="--option")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Any]:
    """A bar on standard error, if somebody looks at it and there is more than one thing to do.

    Gives a function: call it after each thing, or with how much is done and of how much.
    """
    if not sys.stderr.isatty() or total == 1:
        yield lambda *place: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(label, total=total)
        yield lambda *place: bars.update(bar, completed=place[0], total=place[1]) if place else bars.advance(bar)
