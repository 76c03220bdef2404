"""The command line: ``minitransformer run``, ``train``, ``evaluate``, ``trace``, ``compare`` and others.

PyTorch is imported inside the commands, so that ``--help`` and a mistyped option answer at once. Results go to standard
output, everything else to standard error.
"""

from __future__ import annotations

from typing import Annotated

import typer

from minitransformer import __version__
from minitransformer.cli.course import course
from minitransformer.cli.demo import demo
from minitransformer.cli.evaluate import evaluate
from minitransformer.cli.imports import ImportingGroup
from minitransformer.cli.inspect import inspect
from minitransformer.cli.look import look
from minitransformer.cli.parity import compare, trace, verify
from minitransformer.cli.run import run
from minitransformer.cli.serve import serve
from minitransformer.cli.train import train

app = typer.Typer(
    name="minitransformer",
    cls=ImportingGroup,
    help="Transformers written by hand: run a task, train and measure a model, look inside it, serve it, learn.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    modules: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="First import a module that registers parts or architectures."),
    ] = None,
) -> None:
    pass  # an ImportingGroup has taken --import out; it is here for the help


for command in (run, train, evaluate, inspect, look, trace, compare, verify, serve, course, demo):
    app.command()(command)
