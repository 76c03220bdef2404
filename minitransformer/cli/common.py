"""What the commands share: errors in one line, options, progress."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from minitransformer.cli.streams import drop_output, said
from minitransformer.errors import MinitransformerError, PipelineError, did_you_mean
from minitransformer.options import Option, harmless, shown, unknown_name

DTYPE_NAMES = ("float32", "bfloat16", "float16", "float64", "auto", "float", "half", "double")


@contextmanager
def clear_errors() -> Iterator[None]:
    """Print an error of ours, or of the system, as one line and leave with exit code 2."""
    try:
        yield
        sys.stdout.flush()
    except MinitransformerError as error:
        fail(str(error), error)
    except UnicodeDecodeError as error:
        fail(f"standard input is not {error.encoding} ({error.reason}): PYTHONIOENCODING=utf-8 says what it is", error)
    except MemoryError as error:
        fail("the memory of this machine does not suffice", error)
    except BrokenPipeError as error:
        drop_output()  # who reads it has seen enough
        raise typer.Exit(1) from error
    except OSError as error:
        drop_output()
        fail(said(error), error)
    except KeyboardInterrupt as error:
        raise typer.Exit(128 + signal.SIGINT) from error


def fail(message: str, error: BaseException) -> NoReturn:
    """Leave with a line on standard error."""
    typer.secho(f"error: {harmless(message)}", fg="red", err=True)
    raise typer.Exit(2) from error


class _Harmless(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return harmless(super().format(record))


@contextmanager
def speaking(level: int) -> Iterator[None]:
    """Show what the library has to say on standard error."""
    logger = logging.getLogger("minitransformer")
    handler, before = logging.StreamHandler(sys.stderr), logger.level
    handler.setFormatter(_Harmless("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def split_options(items: Iterable[str] | None) -> dict[str, str]:
    """``["top_k=3"]`` -> {"top_k": "3"}."""
    return dict(_split_option(item) for item in items or ())


def _split_option(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals or not name.isidentifier():
        raise typer.BadParameter(f"{harmless(item)!r} is not KEY=VALUE", param_hint="--option")
    return name, value


def read_options(texts: Mapping[str, str], table: Mapping[str, Option], owner: str) -> dict[str, Any]:
    """The values that texts stand for: JSON, True, False or None, or the text, as each option is declared.

    Args:
        texts: by name of the option.
        table: the options that there are.
        owner: whose they are.
    """
    for name in texts:
        if name not in table or table[name].internal:
            raise typer.BadParameter(unknown_name(name, table, owner), param_hint="--option")
    return {name: table[name].from_text(text, PipelineError) for name, text in texts.items()}


def check_dtype(dtype: str) -> None:
    """Raise unless a model can compute in the type, before anything is loaded."""
    if dtype.removeprefix("torch.") not in DTYPE_NAMES:
        hint = did_you_mean(dtype, DTYPE_NAMES)
        raise PipelineError(f"--dtype must be one of {', '.join(DTYPE_NAMES)}, not {shown(dtype)}.{hint}")


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
