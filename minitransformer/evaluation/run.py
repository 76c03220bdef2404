"""``evaluate`` and ``metric``: from a task, a model and data to numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from minitransformer.data import Record, as_records, read_records
from minitransformer.data.records import keep_where, rename_labels
from minitransformer.errors import DataError, PipelineError, did_you_mean
from minitransformer.evaluation.base import Evaluation
from minitransformer.evaluation.predictions import read_predictions, write_predictions
from minitransformer.options import Count, Option, declared, read_value, shown
from minitransformer.pipelines.tasks import ALIASES, own_name, pipeline

if TYPE_CHECKING:
    from minitransformer.models.common.base import PretrainedModel
    from minitransformer.tokenization import Tokenizer

Data = str | Path | Sequence[str | Path] | Iterable[Mapping[str, Any]]

EVALUATIONS = {  # task -> (module under minitransformer.evaluation, class)
    "feature-extraction": ("similarity", "Similarity"),
    "fill-mask": ("masked", "MaskedTokens"),
    "question-answering": ("question_answering", "QuestionAnswering"),
    "summarization": ("text2text", "Summarization"),
    "text-classification": ("classification", "TextClassification"),
    "text-generation": ("perplexity", "Perplexity"),
    "token-classification": ("entities", "TokenClassification"),
    "translation": ("text2text", "Translation"),
    "zero-shot-classification": ("classification", "ZeroShotClassification"),
}
READING = declared(read_records)
"""Options that say how the data is read; see ``minitransformer.data.read_records``."""


def evaluate(
    task: str,
    model: str | Path | PretrainedModel | None = None,
    data: Data | None = None,
    *,
    tokenizer: str | Path | Tokenizer | None = None,
    predictions: str | Path | None = None,
    baseline: bool = False,
    train: Data | None = None,
    limit: Count | None = None,
    batch_size: int | str | None = None,
    device: int | str | None = None,
    dtype: Any = None,
    revision: str | None = None,
    output: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Measure a model, ready predictions, or the trivial baseline by the standard metric of a task.

    ::

        evaluate("sentiment-analysis", "path/or/model-id", "test.tsv", columns={"text": "sentence", "label": "label"})
        # {"task": "text-classification", "accuracy": 91.3, "macro_f1": 91.2, "records": 872}

    Args:
        task: its name, as for `pipeline`.
        model: a folder, a model id on the Hub, or a loaded model.
        data: a file, several, or mappings; fields under the standard names of the task, or ``columns`` says which.
        tokenizer: the same as ``model``; by default the model's.
        predictions: a file of answers to be scored, instead of a model.
        baseline: score the trivial answer, instead of a model.
        train: from what a baseline learns, in the form of ``data``.
        limit: take only so many records, the first ones.
        batch_size: inputs that run together at most; by default alike lengths, as many as fit.
        device: where to compute; by default a GPU if there is one.
        dtype: of the weights.
        revision: branch, tag or commit of a model id.
        output: a file for the predictions, one line of JSON each.
        progress: is called with how much is done, and of how much.
        options: how the data is read (``READING``), options of the task's evaluation, and of its pipeline.

    Returns:
        "task", then numbers by name (rates in percent), then counts.

    Raises:
        PipelineError: an unknown task, or arguments that do not go together.
        TypeError: an option that the task does not have.
        DataError: data or predictions that cannot be used; says where.
    """
    for given, value in {"baseline": baseline, "limit": limit, "output": output, "predictions": predictions}.items():
        if value is not None:
            ARGUMENTS[given].read(value, PipelineError)
    if output is not None and not os.path.isdir(Path(output).parent):
        raise DataError(f"{output} cannot be written: there is no folder {Path(output).parent}")
    name = find_task(task)
    reading = {key: options.pop(key) for key in READING.keys() & options.keys()}
    reading = {key: READING[key].read(value, DataError) for key, value in reading.items()}
    evaluation = find_evaluation(task, options, batch_size)
    if progress is not None:
        evaluation.progress = progress
    if (model is not None and not baseline) + (predictions is not None) + bool(baseline) != 1:
        raise PipelineError("say what is measured: a model, a file of predictions, or baseline=True (one of them)")
    if data is None:
        raise PipelineError("there is nothing to measure with: pass data=... (--data FILE)")
    asked = list(islice(load_records(data, reading), limit))
    records = evaluation.prepare(asked)

    found: list[Any]
    if predictions is not None:
        found = read_predictions(Path(predictions), evaluation, records, limit)
    elif baseline:
        # a baseline learns from records that are prepared in the same way
        learnt = [] if train is None else evaluation.prepare(load_records(train, reading))
        found = evaluation.baseline(learnt, load_tokenizer(model, tokenizer, revision))(records)
    else:
        batches = pipe_batches(evaluation, batch_size)
        pipe = pipeline(task, model, tokenizer, device, dtype, revision=revision, **batches)
        found = evaluation.predict(pipe, records)
    scores = evaluation.score(found, records)
    if output is not None:
        write_predictions(Path(output), evaluation, found, records)
    return {"task": name, **scores, "records": len(asked)}


ARGUMENTS = declared(evaluate, names={"baseline", "limit", "output", "predictions"})


def metric(
    task: str,
    records: Iterable[Mapping[str, Any]],
    tokenizer: Tokenizer,
    options: Mapping[str, Any] | None = None,
    *,
    limit: int | None = None,
    batch_size: int | str | None = None,
) -> Callable[[PretrainedModel], dict[str, float]]:
    """A function that measures a model again and again, as in training.

    Args:
        task: its name.
        records: under the task's standard names.
        tokenizer: the model's.
        options: of the task's evaluation and pipeline.
        limit: take only so many records, the first ones.
        batch_size: inputs that run together at most; by default alike lengths, as many as fit.

    Raises:
        PipelineError, DataError, TypeError: as `evaluate`; at once, not when the function is called.
    """
    evaluation = find_evaluation(task, options or {}, batch_size)
    prepared = evaluation.prepare(islice(records, limit))

    def measure(model: PretrainedModel) -> dict[str, float]:
        training = model.training
        pipe = pipeline(task, model, tokenizer, **pipe_batches(evaluation, batch_size))  # it sets evaluation mode
        try:
            scores = evaluation.score(evaluation.predict(pipe, prepared), prepared)
        finally:
            model.train(training)
        # numbers that a model can change: no counts, no signatures; the training has a loss of its own
        return {name: value for name, value in scores.items() if isinstance(value, float) and name != "loss"}

    return measure


def find_task(task: str) -> str:
    """The task's own name.

    Raises:
        PipelineError: there is no such task, or it has no standard metric.
    """
    read_value("task", task, str, PipelineError)
    name = own_name(task)
    if name not in EVALUATIONS:
        hint = did_you_mean(task, [*EVALUATIONS, *ALIASES])
        raise PipelineError(f"no evaluation for task {shown(task)}.{hint} Known: {', '.join(EVALUATIONS)}")
    return name


def evaluation_options(task: str, names: Iterable[str] | None = None) -> dict[str, Option]:
    """The options of a task's evaluation: how data is read, its own, and those of the task's pipeline.

    Args:
        task: its name.
        names: of the options that matter; where no pipeline has them, none is imported.

    Raises:
        PipelineError: an unknown task.
    """
    own = {**_class_for(task).declared_options(), **READING}
    return own if names is not None and own.keys() >= set(names) else {**_class_for(task).all_options(), **own}


def _class_for(task: str) -> type[Evaluation]:
    module, class_name = EVALUATIONS[find_task(task)]
    found: type[Evaluation] = getattr(import_module(f"minitransformer.evaluation.{module}"), class_name)
    return found


def find_evaluation(task: str, options: Mapping[str, Any], batch_size: int | str | None = None) -> Evaluation:
    """The evaluation of a task, with its options.

    Raises:
        PipelineError: an unknown task, or an option with a wrong value.
        TypeError: an option that it does not have; the message has the nearest one.
    """
    kind = _class_for(task)
    batch_size = read_value("batch_size", batch_size, Count | Literal["auto"] | None, PipelineError)
    if isinstance(batch_size, int) and "batch_size" in kind.own_options():
        options = {**options, "batch_size": batch_size}
    return kind.from_options(options)


def pipe_batches(evaluation: Evaluation, batch_size: int | str | None) -> dict[str, Any]:
    """How a pipeline batches, if the evaluation leaves it to it."""
    own = "batch_size" in evaluation.own_options()
    return {} if own else {"batch_size": "auto" if batch_size is None else batch_size}


def load_records(data: Data, reading: Mapping[str, Any]) -> list[Record]:
    """Records of a file, several files, or mappings.

    Raises:
        DataError: they cannot be read; or options for files are given with mappings.
    """
    rows: list[Any] = [data] if isinstance(data, (str, Path)) else list(data)
    if rows and all(isinstance(row, (str, Path)) for row in rows):
        return read_records(rows, **reading)
    for name in reading.keys() - {"columns", "rename_labels", "where"}:
        raise DataError(f"{name} is for files, and the data is no file: leave it out")
    records = as_records(rows, reading.get("columns"))
    if reading.get("rename_labels"):
        records = list(rename_labels(records, reading["rename_labels"]))
    return keep_where(records, reading["where"], "data") if reading.get("where") else records


def load_tokenizer(model: Any, tokenizer: Any, revision: str | None) -> Tokenizer | None:
    """The tokenizer that a baseline counts tokens by, if one is named."""
    from minitransformer.tokenization import AutoTokenizer

    chosen = model if tokenizer is None else tokenizer
    return AutoTokenizer.from_pretrained(chosen, revision=revision) if isinstance(chosen, (str, Path)) else chosen
