"""``minitransformer course``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from minitransformer.cli.common import clear_errors


def course(
    number: Annotated[int | None, typer.Argument(help="A lesson, to read it.")] = None,
) -> None:
    """List the lessons of the course; with a number, open one: its page, if it was built, or its text in the terminal.

    The pages, with what their code prints and draws, are built by `make course` in a clone.
    """
    with clear_errors():
        from minitransformer.course.pages import lessons
        from minitransformer.errors import ArgumentError

        every = {lesson.number: lesson for lesson in lessons()}
        if number is None:
            for lesson in every.values():
                typer.echo(f"{lesson.number:3}  {lesson.title}")
            typer.echo("\nminitransformer course NUMBER opens one.", err=True)
            return
        if number not in every:
            raise ArgumentError(f"there is no lesson {number}: they are numbered 0 to {max(every)}")
        lesson = every[number]
        built = Path("site") / "course" / f"{lesson.path.stem}.html"
        if built.is_file() and sys.stdout.isatty():
            import webbrowser

            webbrowser.open(built.resolve().as_uri())
            typer.echo(str(built))
            return
        if not sys.stdout.isatty():
            typer.echo(lesson.text)
            return
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(lesson.text))
