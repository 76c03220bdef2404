r"""Standard input and output: whatever they can hold, and whoever reads them.

An output that is not UTF-8 (a pipe on Windows, an old terminal) has no place for most letters: they are written as JSON
writes them, ``\u2014``, so that every answer comes and every line of JSON stays one. What steers a terminal, and may
come from any file, is written so too, but for the colours that are ours.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any

import typer

from minitransformer.options import escaped

ESCAPES = "minitransformer.escapes"


def prepare() -> None:
    """Let the standard streams take every character."""
    codecs.register_error(ESCAPES, _escape)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=ESCAPES)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper) and codecs.lookup(sys.stdin.encoding).name == "ascii":
        sys.stdin.reconfigure(encoding="utf-8")  # the same where it is ASCII


def finish(outcome: Any) -> Any:
    """The exit code, after what is still to be written was written, or after nobody wanted it.

    Args:
        outcome: the code that a command left with, or the error of a stream.
    """
    error = outcome if isinstance(outcome, OSError) else None
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as late:
        error = late if isinstance(late, OSError) else error
    if error is None:
        return outcome
    drop_output()
    if isinstance(error, BrokenPipeError):
        return 1  # who read it has seen enough
    typer.secho(f"error: {said(error)}", fg="red", err=True)
    return 2


def drop_output() -> None:
    """Send what is left of the output nowhere, so that Python does not try again at its end."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # no real stream
        pass


def said(error: OSError) -> str:
    """An error of the system in a line; without a file's name, it is of the output."""
    what = error.strerror or str(error) or type(error).__name__
    return f"standard output cannot be written: {what}" if error.filename is None else f"{error.filename}: {what}"


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(escaped, error.object[error.start : error.end])), error.end
