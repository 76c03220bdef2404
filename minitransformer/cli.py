"""The command line: ``minitransformer run``, ``inspect`` and ``demo``.

PyTorch is imported inside the commands, so that ``--help`` and a mistyped option answer at once. Results go
to standard output, everything else to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer

from minitransformer import __version__
from minitransformer.errors import MinitransformerError

app = typer.Typer(
    name="minitransformer",
    help="Transformers written by hand: run a task, look inside a checkpoint, see the demo.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Folder = Annotated[str, typer.Argument(metavar="FOLDER_OR_ID", help="A folder with config.json, or a Hub id.")]


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    task: Annotated[str, typer.Argument(help="fill-mask, summarization, text-generation, ...")],
    text: Annotated[list[str] | None, typer.Argument(help="Without any: standard input.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A folder or a Hub id.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Default: beside the model.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A file with one text a line ('-': standard input).")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="KEY=VALUE", help="An option of the task; VALUE is JSON or text."),
    ] = None,
    json_input: Annotated[
        bool,
        typer.Option("--json", help='Inputs are JSON, such as {"question": ..., "context": ...}.'),
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Inputs that go through the model together.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda:1, ...; default: a GPU if there is one.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16, float64, or auto.")] = "float32",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub id.")] = None,
) -> None:
    """Answer each text; print one line of JSON for each, in order.

    minitransformer run sentiment-analysis "I love this." --model ./my-model

    minitransformer run fill-mask "Paris is the [MASK] of France." -m ./bert -o top_k=3

    minitransformer run zero-shot-classification -f news.txt -m ./bart -o 'candidate_labels=["art", "sport"]'
    """
    with _clear_errors():
        options = dict(_read_option(item) for item in option or [])
        context = options.pop("context", None) if task == "question-answering" else None
        texts, total = _texts(text, file)
        inputs: Iterator[Any] = map(_read_json, texts, count(1)) if json_input else texts
        if context is not None:
            inputs = (q if isinstance(q, dict) else {"question": q, "context": context} for q in inputs)

        from minitransformer.pipelines import pipeline
        from minitransformer.pipelines.tasks import find_class

        try:
            find_class(task).check_option_names(options)
        except TypeError as error:
            raise typer.BadParameter(str(error), param_hint="--option") from error
        with _progress("loading", None):
            pipe = pipeline(
                task,
                model=model,
                tokenizer=tokenizer,
                device=device,
                dtype=dtype,
                batch_size=batch_size,
                revision=revision,
                **options,
            )
        with _progress(task, total) as advance:
            for result in pipe(inputs):
                print(json.dumps(result, ensure_ascii=False, default=_plain), flush=True)
                advance()


@app.command()
def inspect(
    source: Folder,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub id.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Every layer, not the first of equals.")] = False,
) -> None:
    """Show a checkpoint: its config, the modules with their parameter counts, the weight map row by row.

    Reads the headers of the weight files only; no weight is loaded.
    """
    with _clear_errors():
        from minitransformer.inspection import print_checkpoint

        print_checkpoint(source, revision=revision, full=full)


@app.command()
def demo() -> None:
    """Load a real checkpoint from an installed package: similarities, an attention head, parity by layer."""
    with _clear_errors():
        from minitransformer.demo import main

        main()


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Print an error of ours as one line and leave with exit code 2."""
    try:
        yield
    except MinitransformerError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


def _read_option(item: str) -> tuple[str, Any]:
    """``top_k=3`` -> ("top_k", 3). What is not JSON is text."""
    name, equals, value = item.partition("=")
    if not equals or not name.isidentifier():
        raise typer.BadParameter(f"{item!r} is not KEY=VALUE", param_hint="--option")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _read_json(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"input {number} is not JSON: {error}", param_hint="--json") from error


def _texts(text: list[str] | None, file: Path | None) -> tuple[Iterator[str], int | None]:
    """The inputs, and how many they are if that is known."""
    if text and file is not None:
        raise typer.BadParameter("give texts or --file, not both", param_hint="--file")
    if text:
        return iter(text), len(text)
    if file is not None and str(file) != "-":
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"cannot read {file}: {error}", param_hint="--file") from error
        return _without_blanks(lines), sum(1 for line in lines if line.strip())
    if sys.stdin.isatty():
        raise typer.BadParameter("no text: give some, or --file, or pipe lines in", param_hint="TEXT")
    return _without_blanks(sys.stdin), None


def _without_blanks(lines: Iterable[str]) -> Iterator[str]:
    """The lines without their ends; blank ones are left out, and counted on standard error."""
    blank = 0
    for line in lines:
        if line.strip():
            yield line.rstrip("\r\n")
        else:
            blank += 1
    if blank:
        typer.echo(f"left out {blank} blank line{'s' * (blank > 1)}", err=True)


@contextmanager
def _progress(label: str, total: int | None) -> Iterator[Any]:
    """A bar on standard error, if somebody looks at it and there is more than one thing to do."""
    if not sys.stderr.isatty() or total == 1:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(label, total=total)
        yield lambda: progress.advance(bar)


def _plain(value: Any) -> Any:
    """What JSON has no word for: tensors, arrays and their numbers."""
    for method in ("tolist", "item"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"a result holds a {type(value).__name__}, which has no form in JSON")
