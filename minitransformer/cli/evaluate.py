"""``minitransformer evaluate``: a task's standard metric, as one line of JSON (and a table, if somebody looks)."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from minitransformer.cli.common import check_dtype, clear_errors, progress, read_options, split_options
from minitransformer.options import harmless


def evaluate(
    task: Annotated[str, typer.Argument(help="text-classification, question-answering, translation, ...")],
    data: Annotated[
        list[str], typer.Option("--data", "-d", help="A file to measure with; may be given several times.")
    ],
    model: Annotated[str | None, typer.Option("--model", "-m", help="A folder or a Hub id.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Score these answers instead of a model's: .jsonl, .json, or one a line.")
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Score the trivial answer instead of a model's.")
    ] = False,
    train: Annotated[list[str] | None, typer.Option("--train", help="From what the baseline learns.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Default: beside the model.")] = None,
    format: Annotated[str | None, typer.Option(help="text, lines, tsv, csv, jsonl, json, conll or squad.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN,...", help="text=sentence1,label=2: names of the file, or numbers from 0."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many records, the first ones.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="KEY=VALUE", help="An option of the task; VALUE is JSON or text."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A file for the predictions, one line of JSON each.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Inputs that run together; default: alike lengths, as many as fit.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda:1, ...; default: a GPU if there is one.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16, float64, or auto.")] = "float32",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub id.")] = None,
) -> None:
    """Measure a model, ready predictions, or the trivial baseline.

    minitransformer evaluate sentiment-analysis -m ./my-model -d test.tsv --columns text=sentence,label=label

    minitransformer evaluate text-generation -m ./gpt2 -d book.txt -o stride=512

    minitransformer evaluate question-answering --predictions answers.json -d dev-v1.1.json

    minitransformer evaluate ner --baseline --train train.conll -d test.conll
    """
    with clear_errors():
        texts = split_options(option)
        check_dtype(dtype)

        from minitransformer.evaluation import run

        options = read_options(texts, run.evaluation_options(task, texts), f"the evaluation of {task}")
        if format is not None:
            options["format"] = format
        if columns:
            options["columns"] = dict(_read_column(item) for given in columns for item in given.split(","))
        with progress(task, None) as advance:
            scores = run.evaluate(
                task,
                model,
                data,
                tokenizer=tokenizer,
                predictions=predictions,
                baseline=baseline,
                train=train,
                limit=limit,
                batch_size=batch_size,
                device=device,
                dtype=dtype,
                revision=revision,
                output=output,
                progress=advance,
                **options,
            )
        print(harmless(json.dumps({name: _finite(value) for name, value in scores.items()}, ensure_ascii=False)))
        if sys.stderr.isatty():
            _print_table(scores)


def _read_column(item: str) -> tuple[str, str | int]:
    """``text=sentence1`` -> ("text", "sentence1"); a number is the number of a column."""
    name, equals, column = item.strip().partition("=")
    if not equals or not name or not column:
        raise typer.BadParameter(f"{item!r} is not NAME=COLUMN", param_hint="--columns")
    return name, int(column) if column.isdecimal() else column


def _finite(value: Any) -> Any:
    """JSON has no word for what is no finite number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_table(scores: dict[str, Any]) -> None:
    """The same for eyes."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in scores.items():
        table.add_row(
            name, f"{value:.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        )
    Console(stderr=True).print(table)
