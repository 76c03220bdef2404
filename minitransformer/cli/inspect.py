"""``minitransformer inspect``."""

from __future__ import annotations

from typing import Annotated

import typer

from minitransformer.cli.common import clear_errors


def inspect(
    source: Annotated[str, typer.Argument(metavar="FOLDER_OR_ID", help="A folder with config.json, or a Hub id.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub id.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Every layer, not the first of equals.")] = False,
) -> None:
    """Show a checkpoint: its config, the modules with their parameter counts, the weight map row by row.

    Reads the headers of the weight files only; no weight is loaded.
    """
    with clear_errors():
        from minitransformer.inspection import print_checkpoint

        print_checkpoint(source, revision=revision, full=full)
