"""A checkpoint verified from its files to its generated ids, beside transformers, a dump, or by itself."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from minitransformer.errors import MinitransformerError
from minitransformer.hub import Repository, as_repository
from minitransformer.parity.comparison import compare_files
from minitransformer.parity.dumps import read_dump
from minitransformer.parity.traces import ParityError, load_model, write_trace
from minitransformer.parity.verification import files, passes
from minitransformer.parity.verification.records import FAILED, LEFT_OUT, PASSED, Stage, Verification
from minitransformer.parity.verification.subject import Subject, load_reference, quiet

__all__ = ["FAILED", "LEFT_OUT", "PASSED", "Stage", "Verification", "verify"]

TRANSFORMERS = "transformers"
STAGES: dict[str, Callable[[Subject], Iterator[Stage]]] = {
    "config": files.config_stage,
    "tensors": files.tensors_stage,
    "tokenizer": files.tokenizer_stage,
    "operations": passes.operations_stage,
    "logits": passes.outputs_stage,
    "gradients": passes.learning_stage,
    "cache": passes.cache_stage,
    "padding": passes.padding_stage,
    "generation": passes.generation_stage,
    "save and reload": files.saving_stage,
}


def verify(
    model: str | Path | Repository,
    against: str | Path | None = None,
    *,
    said: Callable[[Stage], None] | None = None,
) -> Verification:
    """Look at all that a checkpoint can be wrong in, in float64.

    Args:
        model: a folder or a model id on the Hub.
        against: "transformers", which is the default where it is installed; or a trace, or a dump that holds its
            ``input_ids``: see ``compare_files``.
        said: called with each stage when it is known.

    Returns:
        A line a stage. What needs a reference is left out, and told so, where none is installed.

    Raises:
        MinitransformerError: the checkpoint, or what it is compared with, cannot be read.
    """
    repository = as_repository(model)
    with in_silence():  # what is missing or unknown is a stage
        found = load_model(repository)
        kind: Any = type(found)  # with output_loading_info it gives a pair
        _, loading = kind.from_pretrained(repository, dtype=torch.float64, output_loading_info=True)
    subject = Subject(repository, found, loading)
    told = "nothing"
    if against is None or str(against) == TRANSFORMERS:
        subject.reference, subject.reference_missing = load_reference(found, repository)
        if subject.reference is not None:
            told = f"transformers {importlib.import_module('transformers').__version__}"
    else:
        subject.reference_missing = f"it is compared with {against}"
        told = str(against)
    result = Verification(str(repository), told)

    def add(stage: Stage) -> None:
        result.stages.append(stage)
        if said is not None:
            said(stage)

    for name, run in STAGES.items():
        try:
            with in_silence(), quiet():
                found_out = list(run(subject))
            for stage in found_out:
                add(stage)
        except (MinitransformerError, AssertionError, RuntimeError, ValueError, TypeError, LookupError) as error:
            add(Stage(name, FAILED, f"{type(error).__name__}: {error}"))
    if told == str(against):
        add(_beside_dump(subject, Path(told)))
    return result


@contextlib.contextmanager
def in_silence() -> Iterator[None]:
    """What a stage says, it says itself."""
    logger = logging.getLogger("minitransformer")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # transformers prints, too
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _beside_dump(subject: Subject, path: Path) -> Stage:
    """Each operation, beside those of a dump; ours is traced on its ids."""
    dump = read_dump(path)
    known = [n for n in subject.model.forward_parameters() if n.endswith(("_ids", "_mask"))]
    inputs = {}
    for name in known:
        for theirs in (name, f"inputs/{name}", f"inputs.kwargs.{name}"):
            if theirs in dump:
                x = dump[theirs].long()
                inputs[name] = x[None] if x.dim() == 1 else x
    if "input_ids" not in inputs:
        raise ParityError(f"{path} does not say what it was computed on: add its input_ids, or trace and compare")
    with TemporaryDirectory() as folder:
        write_trace(subject.model, inputs, folder, with_model=True)
        found = compare_files(folder, path)
    return Stage("operations beside the dump", PASSED if found.same else FAILED, found.verdict, found.to_dict())
