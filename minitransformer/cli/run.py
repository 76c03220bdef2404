"""``minitransformer run``: a task's answers, one line of JSON each; under torchrun, by several processes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from minitransformer.cli.common import check_dtype, clear_errors, progress, read_options, split_options
from minitransformer.errors import PipelineError, SavingError
from minitransformer.files import open_whole
from minitransformer.jsons import JSONError, parse_json
from minitransformer.options import harmless

LONGEST_LINE = 2**24
"""Characters of a line of a file of texts, at most."""
SHARE = 32
"""Inputs that a process is dealt at a time, where no batch size says how many."""


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
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Inputs that run together; default: alike lengths, as many as fit.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda:1, ...; default: a GPU if there is one.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16, float64, or auto.")] = "float32",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub id.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="A file for the answers, which appears when all are there.")
    ] = None,
) -> None:
    """Answer each text; print one line of JSON for each, in order.

    minitransformer run sentiment-analysis "I love this." --model ./my-model

    minitransformer run fill-mask "Paris is the [MASK] of France." -m ./bert -o top_k=3

    minitransformer run zero-shot-classification -f news.txt -m ./bart -o 'candidate_labels=["art", "sport"]'

    torchrun --nproc-per-node 2 -m minitransformer run summarization -f papers.txt -m ./bart --output short.jsonl
    """
    with clear_errors():
        world, first = process_count(), os.environ.get("RANK", "0") == "0"
        texts_of_options = split_options(option)
        context = texts_of_options.pop("context", None) if task == "question-answering" else None
        check_dtype(dtype)
        texts, total = _texts(text, file, world)
        inputs: Iterator[Any] = map(_read_json, texts, count(1)) if json_input else texts
        if context is not None:
            inputs = (q if isinstance(q, dict) else {"question": q, "context": context} for q in inputs)

        from minitransformer.pipelines import pipeline
        from minitransformer.pipelines.tasks import find_class

        options = read_options(texts_of_options, find_class(task).declared_options(), task)
        if world > 1 and device is None:
            from minitransformer.training.distributed import own_device

            device = str(own_device())
        with progress("loading", None):
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
        if world > 1:
            from minitransformer.cli.shares import answer_together

            with _writing(output if first else None) as file_out:
                size = batch_size or SHARE
                answer_together(pipe, inputs, size, to_json, lambda line: print(line, file=file_out, flush=True))
            return
        with _writing(output) as file_out, progress(task, total) as advance:
            for result in pipe(inputs):
                print(to_json(result), file=file_out, flush=True)
                advance()


def to_json(result: Any) -> str:
    """A result as one line, which no terminal takes for more than text."""
    return harmless(json.dumps(result, ensure_ascii=False, default=_plain))


@contextmanager
def _writing(path: Path | None) -> Iterator[Any]:
    """Standard output, or a file that takes its name when it is whole."""
    if path is None:
        yield sys.stdout
        return
    try:
        with open_whole(path) as file:
            yield file
    except SavingError as error:
        raise typer.BadParameter(f"cannot write {path}: {error}", param_hint="--output") from error


def _read_json(line: str, number: int) -> Any:
    try:
        return parse_json(line)
    except JSONError as error:
        raise typer.BadParameter(f"input {number} is not JSON: {error}", param_hint="--json") from error


def _texts(text: list[str] | None, file: Path | None, world: int) -> tuple[Iterator[str], int | None]:
    """The inputs, and how many they are if that is known."""
    if text and file is not None:
        raise typer.BadParameter("give texts or --file, not both", param_hint="--file")
    if text:
        return iter(text), len(text)
    if file is not None and str(file) != "-":
        try:
            return _without_blanks(_lines_of(file)), _count(file)
        except (OSError, ValueError) as error:
            raise typer.BadParameter(f"cannot read {file}: {error}", param_hint="--file") from error
    if world > 1:
        raise typer.BadParameter("several processes cannot share standard input: give --file", param_hint="--file")
    if sys.stdin.isatty():
        raise typer.BadParameter("no text: give some, or --file, or pipe lines in", param_hint="TEXT")
    return _without_blanks(_lines(sys.stdin, "standard input")), None


def _count(path: Path) -> int | None:
    """How many texts a file has, if somebody wants to see how far it is; a pipe can be read only once."""
    if not path.is_file():
        path.stat()  # it exists
        return None
    with path.open(encoding="utf-8") as file:
        return sum(1 for line in file if line.strip()) if sys.stderr.isatty() else None


def _lines_of(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from _lines(file, str(path))


def _lines(file: TextIO, name: str) -> Iterator[str]:
    """The lines of a file, none of which is longer than any text can be."""
    number = 0
    try:
        while line := file.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE and not line.endswith("\n"):
                raise PipelineError(
                    f"{name}, line {number}: a text of more than {LONGEST_LINE:,} characters: is it one?"
                )
            yield line
    except UnicodeError as error:  # UTF-16 without its mark is no UnicodeDecodeError
        raise PipelineError(
            f"{name}, after line {number}: it is not {file.encoding} ({getattr(error, 'reason', error)}); "
            "PYTHONIOENCODING says what standard input is, and files have to be UTF-8"
        ) from error
    except OSError as error:
        raise PipelineError(f"cannot read {name}: {error.strerror or error}") from error


def process_count() -> int:
    """How many processes torchrun has started."""
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise PipelineError(f"the environment's WORLD_SIZE must be a number of processes, not {text!r}")
    return int(text)


def _without_blanks(lines: Iterable[str]) -> Iterator[str]:
    """The lines without their ends; blank ones are left out, and counted on standard error."""
    blank = 0
    for line in lines:
        if line.strip():
            yield line.rstrip("\r\n")
        else:
            blank += 1
    if blank and os.environ.get("RANK", "0") == "0":
        typer.echo(f"left out {blank} blank line{'s' * (blank > 1)}", err=True)


def _plain(value: Any) -> Any:
    """What JSON has no word for: tensors, arrays and their numbers."""
    for method in ("tolist", "item"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"a result holds a {type(value).__name__}, which has no form in JSON")
