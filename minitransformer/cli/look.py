"""``minitransformer look``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minitransformer.cli.common import clear_errors


def look(
    model: Annotated[str, typer.Argument(metavar="FOLDER_OR_ID", help="A folder with a checkpoint, or a Hub id.")],
    text: Annotated[str, typer.Argument(help="What the model reads.")],
    text2: Annotated[str | None, typer.Argument(help="Another text, to compare with.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("page.html"),
    target: Annotated[
        str | None, typer.Option(help="What a translator or summariser writes; by default what it writes by itself.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub id.")] = None,
) -> None:
    """Write a page that shows a model at work on a text: one file, which opens anywhere without a network.

    Attention of every head, the residual stream by layer, what wrote each word, and, with a second text, the effect of
    patching one's values into the other.
    """
    with clear_errors():
        from minitransformer.study.page import page
        from minitransformer.study.page.build import load

        size = len(page(*load(model, revision=revision), text, text2, target=target, path=output).encode())
    typer.echo(f"{output} ({size / 1000:,.0f} kB)")
