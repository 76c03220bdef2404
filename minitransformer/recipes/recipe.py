"""Recipes: a training run as a TOML file, read strictly, so that a slip of the pen costs seconds and not hours.

Its tables are ``[tokenizer]``, ``[model]``, ``[objective]``, ``[data.train]``, ``[data.valid]``, ``[training]`` and
``[evaluation]``; the classes below are these tables, field by field. Every key must be known and of the right type.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from minitransformer.errors import DataError, PipelineError, TrainingError, did_you_mean
from minitransformer.options import Count, Only, Option, Probability, Range, shown
from minitransformer.recipes.tables import check_options, key, read_table
from minitransformer.recipes.vocabulary import FAMILIES, Kind
from minitransformer.training.settings import Settings

LONGEST = 2**20
"""Letters of a recipe."""
VocabSize = Annotated[int, Range(least=1, most=2**20)]
FileName = Annotated[str, Only(lambda name: bool(name) and "\0" not in name, "the name of a file")]


@dataclass(frozen=True, kw_only=True)
class TokenizerTable:
    """``[tokenizer]``: either ``from``, or a vocabulary learnt from the training data (see ``vocabulary.py``)."""

    source: str | None = key("from")
    """A folder, a model id, or another recipe (``encoder.toml``), whose output has a tokenizer."""
    kind: Kind | None = None
    vocab_size: VocabSize | None = None
    lowercase: bool = False
    joint: bool = True
    """Marian: one vocabulary for source and target; else each side is cut by pieces of its own."""
    letters: Count | None = None
    """WordPiece: the most letters that are pieces of their own (each is two: first in a word, and inside); rarer ones
    are unknown. 1,000 if not given, as BERT has it; a small vocabulary has better uses for its places."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the tokenizer's family: special tokens, ``model_max_length``, ``extra_ids``, ..."""

    def check(self) -> None:
        if (self.source is None) == (self.kind is None):
            raise TrainingError(f"give either from or kind ({', '.join(FAMILIES)})")
        if self.kind is not None and self.vocab_size is None:
            raise TrainingError("kind needs a vocab_size")
        if self.letters is not None and self.kind != "wordpiece":
            raise TrainingError("letters belongs to kind = 'wordpiece': leave it out")
        given = {"vocab_size": self.vocab_size, "lowercase": self.lowercase, "joint": not self.joint}
        for name, value in given.items():
            if self.source is not None and value:
                raise TrainingError(f"{name} belongs to a vocabulary that is learnt, and from takes one: leave it out")


@dataclass(frozen=True, kw_only=True)
class ModelTable:
    """``[model]``: a new model of an ``architecture``, or one ``from`` a checkpoint."""

    architecture: str | None = None
    """``model_type`` of config.json: bert, gpt2, marian, ..."""
    source: str | None = key("from")
    """A folder, a model id, or another recipe (``encoder.toml``), whose output is the model to begin with."""
    from_scratch: bool = False
    """Take only the config of ``from``, and begin with random weights."""
    new_head: bool | None = None
    """Draw the head anew; by default if the checkpoint has none for this objective and these labels."""
    config: dict[str, Any] = field(default_factory=dict)
    """Keys of config.json; vocabulary size, special ids and labels follow from the tokenizer and the data."""
    generation: dict[str, Any] = field(default_factory=dict)
    """Options of ``generate`` that the model shall have as its own (generation_config.json)."""

    def check(self) -> None:
        if (self.source is None) == (self.architecture is None):
            raise TrainingError("give either architecture or from")
        if self.source is None and (self.from_scratch or self.new_head is not None):
            raise TrainingError("from_scratch and new_head are about the checkpoint that from names; there is none")


@dataclass(frozen=True, kw_only=True)
class ObjectiveTable:
    """``[objective]``: what is learnt; further keys are the objective's own options."""

    name: str
    labels: tuple[str, ...] = ()
    """Of classification; by default those that the training data has, sorted."""
    options: dict[str, Any] = key("*", factory=dict)

    def check(self) -> None:
        from minitransformer.training.objectives import OBJECTIVES

        if self.name not in OBJECTIVES:
            raise TrainingError(
                f"unknown objective {self.name!r}.{did_you_mean(self.name, OBJECTIVES)} Known: {', '.join(OBJECTIVES)}"
            )
        chosen = OBJECTIVES[self.name]
        if self.labels and not hasattr(chosen, "labels_in"):
            raise TrainingError(f"{self.name} has no labels: leave them out")
        if len(set(self.labels)) < len(self.labels):
            raise TrainingError("labels has a label twice")
        check_options(chosen, self.options, known=("name", "labels"))


@dataclass(frozen=True, kw_only=True)
class DataTable:
    """``[data.train]`` or ``[data.valid]``, or one of several such tables (``[[data.train]]``)."""

    files: FileName | tuple[FileName, ...]
    """One or several, relative to the data folder; ``*`` stands for anything."""
    format: str | None = None
    columns: dict[str, str | int] | None = None
    header: bool | None = None
    unwrap: bool = False
    where: dict[str, list[Any]] | None = None
    rename_labels: dict[str, Any] | None = None
    unique: bool = False
    """Leave out records that have come before (a paragraph that stands beside each of its questions)."""
    narrow: bool = False
    """Of a question's context take only the sentence that holds the answer."""
    shuffle: int | None = None
    """Seed of a new order of the records, before ``part`` and ``limit``; by default the files' order."""
    part: tuple[Probability, Probability] = (0.0, 1.0)
    """Which share of the records to take: [0.0, 0.9] for training and [0.9, 1.0] to validate, from one file."""
    limit: Count | None = None
    """Take at most so many records, the first ones."""

    def check(self) -> None:
        if not self.files:
            raise TrainingError("files is empty")
        if not self.part[0] < self.part[1]:
            raise TrainingError(f"part must be [from, to] with from < to, not {list(self.part)}")

    def paths(self, folder: Path) -> list[Path]:
        """The files, or patterns of their names."""
        return [folder / name for name in ([self.files] if isinstance(self.files, str) else self.files)]

    def reading(self) -> dict[str, Any]:
        """Arguments of ``read_records``."""
        names = ("format", "columns", "header", "unwrap", "where", "rename_labels")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class EvaluationTable:
    """``[evaluation]``: a metric on the validation data in the course of training."""

    task: str
    """As for ``minitransformer evaluate``."""
    limit: Count | None = None
    """Measure on so many records, the first ones."""
    batch_size: Count | None = None
    """Inputs that run together at most; by default alike lengths, as many as fit."""
    options: dict[str, Any] = key("*", factory=dict)
    """Options of the task."""

    def check(self) -> None:
        from minitransformer.evaluation.run import find_evaluation

        try:
            find_evaluation(self.task, self.options)
        except (TypeError, PipelineError, DataError) as error:
            raise TrainingError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run.

    Attributes:
        path: the file.
        raw: its contents with the overrides, as plain data.
    """

    path: Path
    raw: dict[str, Any]
    tokenizer: TokenizerTable | None
    model: ModelTable
    objective: ObjectiveTable
    train: tuple[DataTable, ...]
    valid: tuple[DataTable, ...]
    training: Settings
    evaluation: EvaluationTable | None
    description: str = ""


TABLES = ("description", "tokenizer", "model", "objective", "data", "training", "evaluation")


def read_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: a TOML file.
        overrides: values to be set over the file's, such as ``training.steps=100``.

    Raises:
        TrainingError: the file is missing or no TOML, a key is unknown or missing, or a value has the wrong type; the
            message names file, table and key.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise ValueError(f"it is longer than {LONGEST:,} letters")
        raw: dict[str, Any] = toml().loads(text)
    except FileNotFoundError as error:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.toml")]) if path.parent.is_dir() else ""
        raise TrainingError(f"there is no recipe {path}.{near}") from error
    except RecursionError as error:
        raise TrainingError(f"{path} is no recipe: it has brackets within brackets without end") from error
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise TrainingError(f"{path} is no recipe: {error}") from error
    for item in overrides:
        override(raw, item)
    for name in raw:
        if name not in TABLES:
            hint = did_you_mean(name, TABLES)
            raise TrainingError(f"{path}: unknown table [{name}].{hint} Known: {', '.join(TABLES)}")
    place = str(path)
    data = read_data(raw.get("data"), place)
    tokenizer, evaluation = raw.get("tokenizer"), raw.get("evaluation")
    recipe = Recipe(
        path=path,
        raw=raw,
        tokenizer=None if tokenizer is None else read_table(TokenizerTable, tokenizer, f"{place}, [tokenizer]"),
        model=read_table(ModelTable, _needed(raw, "model", place), f"{place}, [model]"),
        objective=read_table(ObjectiveTable, _needed(raw, "objective", place), f"{place}, [objective]"),
        **data,
        training=read_settings(raw.get("training", {}), f"{place}, [training]"),
        evaluation=None if evaluation is None else read_table(EvaluationTable, evaluation, f"{place}, [evaluation]"),
        description=Option("description", str).read(raw.get("description", ""), TrainingError, f"{place}: "),
    )
    if recipe.tokenizer is None and recipe.model.source is None:
        raise TrainingError(f"{place}: a new model needs a table [tokenizer]")
    pretrained = recipe.model.source is not None and not recipe.model.from_scratch
    if pretrained and recipe.tokenizer is not None and recipe.tokenizer.kind is not None:
        raise TrainingError(
            f"{place}: a model that has been trained knows its own vocabulary, not a new one: leave [tokenizer] out, "
            "or set from_scratch = true in [model]"
        )
    if recipe.evaluation is not None and not recipe.valid:
        raise TrainingError(f"{place}: [evaluation] measures on validation data: add a table [data.valid]")
    return recipe


def read_data(data: Any, place: str) -> dict[str, tuple[DataTable, ...]]:
    """The tables of ``[data]``: each a table, or several."""
    if not isinstance(data, Mapping) or "train" not in data:
        raise TrainingError(f"{place}: a table [data.train] is needed: it names the files to learn from")
    tables = {}
    for name, value in data.items():
        if name not in ("train", "valid"):
            raise TrainingError(f"{place}: unknown table [data.{name}].{did_you_mean(name, ('train', 'valid'))}")
        several = value if isinstance(value, list) else [value]
        if not several:
            raise TrainingError(f"{place}: [data.{name}] is an empty list: it names the files")
        tables[name] = tuple(
            read_table(DataTable, one, f"{place}, [data.{name}]" + (f" number {i}" if len(several) > 1 else ""))
            for i, one in enumerate(several, start=1)
        )
    return {"train": tables["train"], "valid": tables.get("valid", ())}


def read_settings(raw: Any, place: str) -> Settings:
    """The table ``[training]``."""
    if not isinstance(raw, Mapping):
        raise TrainingError(f"{place} must be a table, not {shown(raw)}")
    try:
        return Settings.from_dict(raw)
    except TrainingError as error:
        raise TrainingError(f"{place}: {error}") from error


def override(raw: dict[str, Any], item: str) -> None:
    """Set one value in a recipe's contents: ``training.steps=100``; text needs no quotation marks.

    ``data.train.limit=100`` sets it in each of several tables ``[[data.train]]``.

    Raises:
        TrainingError: not of the form TABLE.KEY=VALUE, or there is no such table.
    """
    name, equals, text = item.partition("=")
    parts = name.strip().split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise TrainingError(f"{item!r} is not of the form TABLE.KEY=VALUE, such as training.steps=100")
    try:
        value = toml().loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    tables: list[Any] = [raw]
    for part in parts[:-1]:
        tables = [inner for table in tables for inner in _inner(table, part, item)]
    for table in tables:
        if not isinstance(table, dict):
            raise TrainingError(f"{item!r}: {'.'.join(parts[:-1])} is no table")
        table[parts[-1]] = value


def _inner(table: Any, part: str, item: str) -> list[Any]:
    if not isinstance(table, dict):
        raise TrainingError(f"{item!r}: there is no table with the key {part!r}")
    inner = table.setdefault(part, {})
    return inner if isinstance(inner, list) else [inner]


def _needed(raw: Mapping[str, Any], name: str, place: str) -> Any:
    if name not in raw:
        raise TrainingError(f"{place}: a table [{name}] is needed")
    return raw[name]


def toml() -> Any:
    """The reader of TOML, which Python has since 3.11."""
    return import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
