"""Files of predictions: written line by line as JSON, read in the forms in which they are passed around."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minitransformer import jsons
from minitransformer.errors import DataError
from minitransformer.evaluation.base import Evaluation, Records
from minitransformer.files import open_whole

logger = logging.getLogger("minitransformer")


def write_predictions(path: Path, evaluation: Evaluation, predictions: Sequence[Any], records: Records) -> None:
    """Write {"id", "prediction", "reference"} for each record, whole or not at all.

    Raises:
        SavingError: the file cannot be written.
    """
    with open_whole(path) as file:
        for prediction, record in zip(predictions, records, strict=True):
            reference = evaluation.reference(record)
            line = {"id": record["id"]} if "id" in record else {}
            line["prediction"] = prediction
            line |= {} if reference is None else {"reference": reference}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_predictions(path: Path, evaluation: Evaluation, records: Records, limit: int | None = None) -> list[Any]:
    """Ready predictions for some records.

    A file .jsonl has {"prediction": ...} in each line, as `write_predictions` has them; .json a list of predictions,
    or an object from the ids of questions to answers, as the SQuAD script takes it; any other file one text a line.

    Args:
        path: the file.
        evaluation: of the task.
        records: what is predicted, in the order of the file (an object's ids may be in any order).
        limit: take only so many of a list.

    Raises:
        DataError: another number of predictions than of records, ids that fit no record, or no predictions at all.
    """
    content = parse(path)
    if isinstance(content, Mapping):
        return find_by_id(path, content, records)
    content = content[:limit]
    if len(content) != len(records):
        raise DataError(f"{path} has {len(content)} predictions for {len(records)} records: they must be as many")
    for number, prediction in enumerate(content):
        check_type(f"{path}, prediction {number}", prediction, evaluation.prediction_type)
    return content


def parse(path: Path) -> list[Any] | dict[str, Any]:
    """The contents of a file of predictions."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # or it is not UTF-8, or no name
        raise DataError(f"{path} cannot be read: {error}") from error
    if not text.strip():
        raise DataError(f"{path} is empty: it must hold predictions")
    if path.suffix not in (".json", ".jsonl"):
        return text.removesuffix("\n").split("\n")
    if path.suffix == ".json":
        content = parse_json(path, text)
        if not isinstance(content, (list, dict)):
            raise DataError(f"{path} must hold a list of predictions, or an object from ids to predictions")
        return content
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            row = parse_json(path, line, number)
            if not isinstance(row, dict) or "prediction" not in row:
                raise DataError(f'{path}, line {number}: this is no {{"prediction": ...}}')
            found.append(row["prediction"])
    return found


def parse_json(path: Path, text: str, line: int = 1) -> Any:
    """What a piece of a file says, which begins in that line."""
    try:
        return jsons.parse_json(text)
    except jsons.JSONError as error:
        at = line + max(error.line - 1, 0)
        raise DataError(f"{path}, line {at}: this is not JSON: {error.what}") from error


def find_by_id(path: Path, content: Mapping[str, Any], records: Records) -> list[str | None]:
    """The prediction for each record, by its id; None where there is none."""
    ids = [str(record.need("id")) for record in records]
    known = set(ids)
    if not known & content.keys():
        raise DataError(f"{path} has no prediction for any of the {len(ids)} questions: it belongs to other data")
    others = len(content.keys() - known)
    if others:
        logger.warning("%s has %d predictions for questions that are not asked", path, others)
    found = [content.get(i) for i in ids]
    for name, prediction in zip(ids, found, strict=True):
        check_type(f"{path}, {name!r}", prediction, (str, type(None)))
    return found


def check_type(where: str, prediction: Any, types: tuple[type, ...]) -> None:
    """Raise unless a prediction is of one of some types."""
    if not isinstance(prediction, types):
        wanted = " or ".join(t.__name__ for t in types if t is not type(None))
        raise DataError(f"{where} is a {type(prediction).__name__}, not a {wanted}: {prediction!r:.60}")
