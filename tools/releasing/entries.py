"""checkpoints.toml: which run makes which checkpoint, on what it is measured, and the licences of the data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minitransformer.errors import TrainingError, did_you_mean
from minitransformer.recipes.recipe import DataTable, read_data, toml
from minitransformer.recipes.tables import read_table

TABLE = Path(__file__).with_name("checkpoints.toml")


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Where texts come from, and on what terms.

    Attributes:
        name: as people call it.
        license: of the texts.
        source: an address.
        by: who is to be named.
        hub: its id on the Hub, if it is there.
    """

    name: str
    license: str
    source: str
    by: str
    hub: str | None = None


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One test of a checkpoint.

    Attributes:
        task: as for ``minitransformer evaluate``.
        name: of the data, for people.
        metrics: those that are told, the main one first.
        baseline: what the trivial answer is.
        options: of the evaluation.
        weakness: whether it shows what the checkpoint cannot do.
        data: what is asked.
        train: what the baseline learns from; by default what the run learnt from.
    """

    task: str
    name: str
    metrics: list[str]
    baseline: str
    options: dict[str, Any] = field(default_factory=dict)
    weakness: bool = False
    data: Any = None
    train: Any = None

    def tables(self) -> tuple[DataTable, ...]:
        """The data to measure with."""
        return read_data({"train": self.data}, f"{TABLE.name}, {self.name}")["train"]

    def train_tables(self) -> tuple[DataTable, ...]:
        """What the baseline learns from; empty if that is what the run learnt from."""
        return () if self.train is None else read_data({"train": self.train}, f"{TABLE.name}, {self.name}")["train"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One checkpoint.

    Attributes:
        name: without ``minitransformer/``.
        recipe: the name of the recipe that makes it, without ``.toml``.
        task: of the pipeline that it answers.
        what: what it does, after "it".
        language: codes of its languages.
        license: of the weights, as the Hub calls it.
        example: arguments of a call, as Python.
        tests: its measurements.
    """

    name: str
    recipe: str
    task: str
    what: str
    language: list[str]
    license: str
    example: str
    tests: tuple[Measurement, ...]


@dataclass(frozen=True)
class Table:
    """The whole file."""

    entries: dict[str, Entry]
    data: dict[str, DataSet]

    def entry(self, name: str) -> Entry:
        """The checkpoint of this name, with or without ``minitransformer/``.

        Raises:
            TrainingError: there is none.
        """
        short = name.removeprefix("minitransformer/")
        if short not in self.entries:
            raise TrainingError(
                f"{TABLE.name} has no checkpoint {name!r}.{did_you_mean(short, self.entries)} "
                f"It has {', '.join(self.entries)}"
            )
        return self.entries[short]

    def sets_of(self, files: Iterable[str]) -> dict[str, DataSet]:
        """The data sets that files belong to, by their first folder.

        Raises:
            TrainingError: one of them belongs to none, so nobody knows its licence.
        """
        found = {}
        for file in files:
            folder = file.partition("/")[0]
            if folder not in self.data:
                raise TrainingError(f"the licence of {file} is not known: add [data.{folder}] to {TABLE.name}")
            found[folder] = self.data[folder]
        return found


def read_checkpoints(path: Path = TABLE) -> Table:
    """Read and check the file."""
    raw = toml().loads(path.read_text(encoding="utf-8"))
    data = {name: read_table(DataSet, one, f"{path.name}, [data.{name}]") for name, one in raw["data"].items()}
    return Table({name: _entry(name, dict(one), path) for name, one in raw["checkpoint"].items()}, data)


def _entry(name: str, raw: dict[str, Any], path: Path) -> Entry:
    place = f"{path.name}, [checkpoint.{name}]"
    tests = tuple(read_table(Measurement, one, f"{place}, test {i}") for i, one in enumerate(raw.pop("test"), 1))
    for test in tests:
        test.tables(), test.train_tables()  # now, not after the measurements before it
    return read_table(Entry, {**raw, "name": name, "tests": tests}, place)
