"""What a training run tells of itself: its command, its data, its time, and where its model lies."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from minitransformer.errors import TrainingError
from minitransformer.hub import embedded_folder, read_json
from minitransformer.recipes.recipe import DataTable, read_data, read_recipe
from minitransformer.training.checkpoints import Checkpoints, read_state

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"


@dataclass(frozen=True)
class Run:
    """The output folder of a run that is complete.

    Attributes:
        folder: it.
        recipe_name: name of the recipe's file, without ``.toml``.
    """

    folder: Path
    recipe_name: str

    @cached_property
    def state(self) -> dict[str, Any]:
        """What the last checkpoint holds beside tensors.

        Raises:
            TrainingError: there is none, or the run is not complete.
        """
        latest = Checkpoints(self.folder / "checkpoints").latest()
        if latest is None:
            raise TrainingError(f"{self.folder} is no output of a training run: it has no checkpoints/step-*")
        state = read_state(latest)
        if state["history"]["stopped"] not in ("finished", "patience"):
            raise TrainingError(f"the run in {self.folder} is not complete: it is at step {state['history']['step']}")
        return state

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe with all that was set over it, but for ``[training]``."""
        recipe: dict[str, Any] = self.state["identity"]["recipe"]
        return recipe

    @property
    def model(self) -> Path:
        """The model that did best on the validation data, else the last one."""
        best = self.folder / "best"
        return best if (best / "config.json").is_file() else self.folder / "final"

    @property
    def tables(self) -> dict[str, tuple[DataTable, ...]]:
        """What was learnt from ("train") and validated with ("valid")."""
        return read_data(self.recipe["data"], str(self.folder))

    @property
    def files(self) -> list[str]:
        """Data files that were learnt from, relative to the data folder; those of the chain before it included."""
        return [file for run in self.chain() for file in run.state["identity"]["files"]["train"]]

    @property
    def beginning(self) -> str:
        """What its weights were before: another recipe, a checkpoint; nothing if they were random."""
        model = self.recipe["model"]
        return "" if model.get("from_scratch") else model.get("from", "")

    def chain(self) -> list[Run]:
        """The runs that this one begins with, the first one first, and itself."""
        if not self.beginning.endswith(".toml"):
            return [self]
        name = Path(self.beginning).stem
        return [*Run(self.folder.parent / name, name).chain(), self]

    def origin(self) -> dict[str, list[dict[str, Any]]]:
        """What the first run of the chain begins with, if the package has it: its "runs" and the "data" of them.

        Raises:
            TrainingError: it begins with something else, of which nobody knows what it has learnt from.
        """
        name = self.chain()[0].beginning
        folder = embedded_folder(name)
        if name and folder is None:
            raise TrainingError(
                f"{self.folder} begins with {name!r}, which is neither a recipe nor a checkpoint of the package, so "
                "its data and licences are not known"
            )
        told = read_json(folder / "evaluation.json") if folder else {"runs": [], "data": []}
        return {part: told[part] for part in ("runs", "data")}

    def facts(self, cores: int) -> dict[str, Any]:
        """How it was made, as plain data."""
        history = self.state["history"]
        return {
            "recipe": self.recipe_name,
            "command": self.command(),
            "seed": self.state["identity"]["settings"]["seed"],
            "steps": history["step"],
            "kept_step": history["best_step"] if self.model.name == "best" else history["step"],
            "minutes": round(history["seconds"] / 60, 1),
            "cores": cores,
        }

    def command(self) -> str:
        """The command line that makes this run from the recipe as it is now.

        Raises:
            TrainingError: none does, because the recipe has changed.
        """
        path = RECIPES / f"{self.recipe_name}.toml"
        recipe = read_recipe(path)
        raw = {name: value for name, value in recipe.raw.items() if name not in ("description", "training")}
        now = {**raw, "training": recipe.training.identity()}
        then = {**self.recipe, "training": self.state["identity"]["settings"]}
        try:
            changes = dict(differences(json.loads(json.dumps(now)), then))
        except ValueError as error:
            raise TrainingError(
                f"the run in {self.folder} was made by another {path.name}: {error}. Bring that recipe back, or train "
                "again"
            ) from error
        words = ["minitransformer", "train", f"examples/recipes/{path.name}"]
        words += [word for name, value in changes.items() for word in ("--set", f"{name}={json.dumps(value)}")]
        return shlex.join([*words, "--data", "DATA", "--output", f"runs/{self.folder.name}"])


def differences(now: Any, then: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What has to be set to make ``then`` of ``now``: dotted names and values.

    Raises:
        ValueError: no setting does.
    """
    if isinstance(now, Mapping) and isinstance(then, Mapping):
        for key in dict.fromkeys([*now, *then]):
            inner = f"{name}.{key}".lstrip(".")
            if key not in then or (then[key] is None and now.get(key) is not None):
                raise ValueError(f"{inner} is {now[key]!r} now, and was not set then")
            yield from differences(now.get(key, {} if isinstance(then[key], Mapping) else None), then[key], inner)
    elif _are_tables(now) and _are_tables(then) and len(now) == len(then):
        changes = [dict(differences(*pair, name)) for pair in zip(now, then, strict=True)]
        if any(change != changes[0] for change in changes):  # a setting holds for all of several tables
            raise ValueError(f"the tables [[{name}]] are {now} now, and were {then} then")
        yield from changes[0].items()
    elif now != then:
        if isinstance(then, Mapping) or _are_tables(then):
            raise ValueError(f"{name} is {now!r} now, and was {then!r} then")
        yield name, then


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)
