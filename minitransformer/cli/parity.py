"""``minitransformer trace``, ``compare`` and ``verify``: a port beside the library, and a checkpoint beside others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from minitransformer.cli.common import check_dtype, clear_errors


def trace(
    model: Annotated[str, typer.Argument(metavar="FOLDER_OR_ID", help="A folder with a checkpoint, or a Hub id.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder for the trace.")],
    text: Annotated[list[str] | None, typer.Option(help="What the model reads; several make a batch.")] = None,
    ids: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ids instead: rows in JSON or .npy, or named inputs in JSON.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="What an encoder-decoder writes; by default the text itself.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float64, float32, bfloat16 or float16.")] = "float64",
    taps: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Tensors to keep, such as 'attn.*'; by default all.")
    ] = None,
    gradients: Annotated[bool, typer.Option("--gradients", help="The way back, too.")] = False,
    with_model: Annotated[
        bool, typer.Option("--with-model", help="Put the model beside the trace, for other machines.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub id.")] = None,
) -> None:
    """Write every intermediate of one forward pass, with a manifest that says how each came about.

    minitransformer trace ./bert --text "The cat slept." -o trace

    DIR/trace.safetensors holds the tensors, DIR/manifest.json formulas, inputs, axes, constants, the checkpoint's own
    names of parameters, and the noise that rounding makes.
    """
    with clear_errors():
        check_dtype(dtype)
        from minitransformer.hub import Repository
        from minitransformer.parity.reading import inputs_of_file, inputs_of_texts
        from minitransformer.parity.traces import ParityError, load_model, write_trace
        from minitransformer.tokenization import AutoTokenizer

        if bool(text) == (ids is not None):
            raise ParityError("say what the model shall read: --text, or --ids, and not both")
        repository = Repository(model, revision)
        ours = load_model(repository, dtype=dtype)
        tokens: list[list[str]] = []
        if ids is not None:
            inputs = inputs_of_file(ours, ids)
        else:
            tokenizer = AutoTokenizer.from_pretrained(repository)
            inputs, tokens = inputs_of_texts(ours, tokenizer, text or (), target or ())
        source = str(Path(model).resolve()) if Path(model).exists() else model
        manifest = write_trace(
            ours,
            inputs,
            output,
            taps=taps or ("*",),
            source=source,
            text=text or (),
            tokens=tokens,
            with_model=with_model,
            gradients=gradients,
        )
    typer.echo(str(manifest))


def compare(
    trace: Annotated[Path, typer.Argument(metavar="DIR", help="A trace: what minitransformer trace wrote.")],
    dump: Annotated[Path, typer.Argument(help="The port's tensors, on the same ids.")],
    map_file: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help='TOML: "their.{i}.name" = "blocks.{i}.attn.q".')
    ] = None,
    model: Annotated[str | None, typer.Option(help="Where the traced model is now, if it has moved.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="What the port computed in, if it is not the type of its tensors.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="PAGE", help="A page for a browser, without a network.")
    ] = None,
) -> None:
    """Find the first wrong operation of a port, and why it is wrong.

    minitransformer compare trace dump.npz

    Read are .safetensors, .npz, a folder of .npy, transformers' debugger tree, llm-viz's JSON, .bin with a manifest.
    The exit code is 0 if all is right up to rounding, 1 if something is wrong, 2 if nothing could be compared.
    """
    with clear_errors():
        from minitransformer.files import write_whole
        from minitransformer.parity.comparison import compare_files
        from minitransformer.parity.report import page

        found = compare_files(trace, dump, map_file=map_file, model=model, dtype=dtype)
        if report is not None:
            write_whole(report, page(found))
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=1) if json_output else str(found))
    if not found.same:
        raise typer.Exit(1)


def verify(
    model: Annotated[str, typer.Argument(metavar="FOLDER_OR_ID", help="A folder with a checkpoint, or a Hub id.")],
    against: Annotated[
        str | None,
        typer.Option(metavar="transformers|DIR", help="By default transformers, if it is installed; or a dump."),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="PAGE", help="A page for a browser, without a network.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub id.")] = None,
) -> None:
    """Look at all that a checkpoint can be wrong in, from its config to the ids that it writes.

    minitransformer verify ./bert --against transformers

    In float64: config keys, tensors, tokenizer, operations, logits, loss, gradients, cache, padding, batches,
    generation, saving. What needs a reference is left out where there is none, and told so. The exit code is 0 if
    nothing is wrong, 1 if something is, 2 if the checkpoint cannot be read.
    """
    with clear_errors():
        from minitransformer.files import write_whole
        from minitransformer.hub import Repository
        from minitransformer.parity.verification import verify as look

        found = look(Repository(model, revision), against)
        if report is not None:
            write_whole(report, found.page())
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=1) if json_output else str(found))
    if not found.same:
        raise typer.Exit(1)
