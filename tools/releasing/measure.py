"""Measuring a checkpoint beside the trivial baseline and its twin without pretraining."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from minitransformer.data import Record
from minitransformer.errors import TrainingError
from minitransformer.evaluation import evaluate
from minitransformer.recipes.prepare import load_data
from minitransformer.recipes.recipe import DataTable
from releasing.entries import Entry, Measurement
from releasing.runs import Run

INPUTS = ("text", "text_pair", "source", "words", "question", "context")
"""Fields that a model is given; the others are answers."""
DIGITS = 4


Tables = Mapping[str, tuple[DataTable, ...]]
"""What was learnt from ("train") and validated with ("valid")."""


def measure(
    entry: Entry, folder: Path, data: Path, tables: Tables, twin: Run | None, say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """All measurements of a checkpoint, as plain data.

    Args:
        entry: what is measured.
        folder: the checkpoint.
        data: the folder of data sets.
        tables: of the run that made it.
        twin: the same run without pretraining, if there is one.
        say: told what comes next.
    """
    return [_measure(test, folder, data, tables, twin, say) for test in entry.tests]


def _measure(
    test: Measurement, folder: Path, data: Path, tables: Tables, twin: Run | None, say: Callable[[str], None]
) -> dict[str, Any]:
    say(f"measuring {test.task}: {test.name}")
    records, _ = load_data(test.tables(), data, test.name)
    learnt, _ = load_data(tables["train"], data, test.name)
    valid, _ = load_data(tables["valid"], data, test.name)
    train = load_data(test.train_tables(), data, test.name)[0] if test.train is not None else learnt

    def told(scores: dict[str, Any]) -> dict[str, float]:
        missing = [name for name in test.metrics if name not in scores]
        if missing:
            raise TrainingError(f"{test.name}: nothing measures {missing[0]!r}; measured are {', '.join(scores)}")
        return {name: round(scores[name], DIGITS) for name in test.metrics}

    result: dict[str, Any] = {
        "task": test.task,
        "data": test.name,
        "files": sorted({str(Path(record.file).relative_to(data)) for record in records}),
        "records": len(records),
        "learnt_from": common(learnt, records),  # so many of the records; it should be 0, or little
        "validated_with": common(valid, records),  # the best weights were chosen by these
        "options": test.options,
        "weakness": test.weakness,
        "baseline_is": test.baseline,
        "model": told(evaluate(test.task, folder, records, **test.options)),
        "baseline": told(evaluate(test.task, folder, records, baseline=True, train=train, **test.options)),
    }
    if twin is not None:
        result["twin"] = told(evaluate(test.task, twin.model, records, **test.options))
    for who in ("model", "baseline", "twin"):
        if who in result:
            say(f"  {who:8} {result[who]}")
    return result


def common(known: Iterable[Record], asked: Sequence[Record]) -> int:
    """How many of the records that are asked are among those that are known, whatever their answers."""
    seen = {_given(record) for record in known}
    return sum(_given(record) in seen for record in asked)


def _given(record: Record) -> str:
    return repr([record[name] for name in INPUTS if name in record])
