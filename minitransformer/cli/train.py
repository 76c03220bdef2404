"""``minitransformer train``: a recipe, from data to a folder with a model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from minitransformer.cli.common import clear_errors, speaking


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="What to train, on what, and how.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder that the recipe's files are relative to; default: the recipe's.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the results; default: runs/ and the recipe's name.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="A value over the recipe's: training.steps=100."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so long; the same command again goes on from there.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Read and check everything, then stop.")] = False,
) -> None:
    """Train as a recipe says; stopped or killed, the same command goes on where it was.

    minitransformer train examples/recipes/tiny.toml

    minitransformer train sentiment.toml --data ~/data --output runs/quick --set training.steps=50

    torchrun --nproc-per-node 2 -m minitransformer train sentiment.toml
    """
    with clear_errors():
        from minitransformer.recipes.run import run
        from minitransformer.training.distributed import rank

        with speaking(logging.INFO if rank() == 0 else logging.ERROR):
            history = run(recipe, data, output, override or (), minutes=minutes, only_check=check)
        if history is None or rank() > 0:
            return
        folder = output or Path("runs") / recipe.stem
        print(folder / "final" if history.is_complete() else folder)
        if not history.is_complete():
            typer.echo(f"stopped after {history.step} steps ({history.stopped}); start again to go on", err=True)
