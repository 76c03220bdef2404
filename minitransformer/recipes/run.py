"""Running a recipe: everything is read, built and checked, then the trainer starts, or goes on where it stopped.

A run's folder holds, beside what the trainer writes, ``tokenizer/`` if a vocabulary was learnt, and ``run.json``, which
tells what the run is: recipe, data files by their fingerprints, and the model's config. Starting again with another
recipe or other data is refused.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minitransformer.config import ModelConfig
from minitransformer.data import Record
from minitransformer.errors import TrainingError
from minitransformer.jsons import JSONError, parse_json
from minitransformer.models.common.base import write_json
from minitransformer.recipes.prepare import count_common, find_source, load_data, make_tokenizer
from minitransformer.recipes.recipe import Recipe, read_recipe
from minitransformer.recipes.start import (
    check_special_ids,
    choose_labels,
    fit_to_tokenizer,
    head_class,
    make_model,
    read_model_config,
)
from minitransformer.tokenization import AutoTokenizer
from minitransformer.tokenization.base import Tokenizer
from minitransformer.training import distributed
from minitransformer.training.alone import alone
from minitransformer.training.checkpoints import Checkpoints, check_identity
from minitransformer.training.logs import History
from minitransformer.training.objectives import OBJECTIVES
from minitransformer.training.trainer import Trainer

logger = logging.getLogger("minitransformer")

RUN_FILE = "run.json"


def train(
    recipe: str | Path,
    data: str | Path | None = None,
    output: str | Path | None = None,
    overrides: Iterable[str] = (),
    *,
    minutes: float | None = None,
) -> History:
    """Train as a recipe says; starting again in the same output folder goes on.

    Under torchrun the processes train together.

    Args:
        recipe: a TOML file.
        data: folder that the recipe's files are relative to; by default the recipe's own.
        output: folder for the results; by default ``runs/`` and the recipe's name, in the working directory.
        overrides: values over the recipe's, such as "training.steps=100".
        minutes: stop after that long, if the recipe is not finished; the next start goes on.

    Returns:
        The history; ``output/final`` is the model with its tokenizer if the run is complete, ``output/best`` the one
        that did best on the validation data.

    Raises:
        TrainingError: the recipe cannot be run, or the folder holds another run.
        DataError: a data file, or a record in it, cannot be used; says where.
    """
    history = run(recipe, data, output, overrides, minutes=minutes)
    assert history is not None
    return history


def run(
    recipe: str | Path,
    data: str | Path | None = None,
    output: str | Path | None = None,
    overrides: Iterable[str] = (),
    *,
    minutes: float | None = None,
    only_check: bool = False,
) -> History | None:
    """``train``, or with ``only_check`` everything that comes before the first step."""
    with distributed.process_group(distributed.own_device()):
        with alone(output_folder(recipe, output)):
            trainer = prepare(recipe, data, output, overrides, minutes=minutes)
            return None if only_check else trainer.train()


def output_folder(recipe: str | Path, output: str | Path | None) -> Path:
    """Where a recipe's results go."""
    return Path(output) if output is not None else Path("runs") / Path(recipe).stem


def prepare(
    recipe: str | Path,
    data: str | Path | None = None,
    output: str | Path | None = None,
    overrides: Iterable[str] = (),
    *,
    minutes: float | None = None,
) -> Trainer:
    """Everything that ``train`` does before the first step; arguments and errors as there."""
    read = read_recipe(recipe, overrides)
    if minutes is not None:
        read = replace(read, training=replace(read.training, minutes=minutes))
    folder = output_folder(read.path, output)
    data_folder = Path(data) if data is not None else read.path.parent
    if not data_folder.is_dir():
        raise TrainingError(f"there is no data folder {data_folder}")
    return _Preparation(read, data_folder, folder).trainer()


@dataclass
class _Preparation:
    recipe: Recipe
    data: Path
    output: Path

    def trainer(self) -> Trainer:
        recipe, place = self.recipe, str(self.recipe.path)
        train, train_files = load_data(recipe.train, self.data, f"{place}, [data.train]")
        valid, valid_files = load_data(recipe.valid, self.data, f"{place}, [data.valid]")
        self._say("data: %s records to learn from, %s to validate", f"{len(train):,}", f"{len(valid):,}")
        if common := count_common(train, valid):
            logger.warning("%s of the %s records to validate with are learnt from too", common, len(valid))
        begin = recipe.model.source and find_source(recipe.model.source, recipe, self.output)
        config = old = read_model_config(recipe.model, begin, f"{place}, [model]")
        is_new = begin is None or recipe.model.from_scratch
        files = {"train": train_files, "valid": valid_files}
        inputs = json.loads(json.dumps({"recipe": self._facts(), "files": files}, default=str))

        tokenizer = self._tokenizer(train, config, begin, inputs)
        if recipe.tokenizer is not None and is_new:
            config = fit_to_tokenizer(config, tokenizer, recipe.model.config)
        if len(tokenizer) > config.vocab_size:
            raise TrainingError(
                f"{place}: the tokenizer has {len(tokenizer)} tokens, the model only {config.vocab_size}; "
                "take the tokenizer that belongs to the model (leave [tokenizer] out)"
            )
        check_special_ids(config, recipe.model.config, f"{place}, [model]")
        knows = not is_new and any(name.endswith(_ending(recipe)) for name in old.architectures)
        config = choose_labels(recipe, config, train, knows)

        head_class(recipe, config)  # there is one
        objective = OBJECTIVES[recipe.objective.name](tokenizer, config, **recipe.objective.options)
        examples, valid_examples = objective.examples(train), objective.examples(valid) if valid else None
        self._say("examples: %s, and %s to validate", f"{len(examples):,}", f"{len(valid_examples or ()):,}")
        metric = self._metric(valid, tokenizer)
        model = objective.build(make_model(recipe, config, None if is_new else begin, old, f"{place}, [model]"))
        trainer = Trainer(
            model,
            objective,
            examples,
            recipe.training,
            self.output,
            valid_examples=valid_examples,
            metric=metric,
            save_with=tokenizer,
            identity={**inputs, "config": config.to_hf()},
        )
        self._say("training: %s steps, in %s", f"{trainer.steps:,}", self.output)
        return trainer

    def _facts(self) -> dict[str, Any]:
        """The recipe without what may change between two starts; ``[training]`` is compared by the trainer."""
        return {name: value for name, value in self.recipe.raw.items() if name not in ("description", "training")}

    def _say(self, message: str, *values: Any) -> None:
        if distributed.rank() == 0:
            logger.info(message, *values)

    def _tokenizer(
        self, records: Sequence[Record], config: ModelConfig, begin: str | Path | None, inputs: Mapping[str, Any]
    ) -> Tokenizer:
        """The tokenizer, read or learnt; process 0 also notes down what the run is."""
        table, folder = self.recipe.tokenizer, self.output / "tokenizer"
        is_known = self._is_known(inputs)
        distributed.wait_for_all()  # all have looked before the first one writes
        if distributed.rank() == 0:
            try:
                self.output.mkdir(parents=True, exist_ok=True)
                if table is not None and table.source is None and not (is_known and folder.is_dir()):
                    part = folder.with_name("tokenizer.part")
                    shutil.rmtree(part, ignore_errors=True)
                    shutil.rmtree(folder, ignore_errors=True)
                    make_tokenizer(table, records, config, part, f"{self.recipe.path}, [tokenizer]")
                    os.replace(part, folder)
                write_json(self.output / RUN_FILE, inputs)
            except OSError as error:
                raise TrainingError(f"the output folder {self.output} could not be written: {error}") from error
        distributed.wait_for_all()
        if table is None:
            assert begin is not None
            return AutoTokenizer.from_pretrained(begin)
        if table.source is not None:
            source = find_source(table.source, self.recipe, self.output)
            return AutoTokenizer.from_pretrained(source, **table.settings)
        return AutoTokenizer.from_pretrained(folder)

    def _is_known(self, inputs: Mapping[str, Any]) -> bool:
        """Whether the output folder holds this very run.

        Raises:
            TrainingError: it holds another one, which has been trained already.
        """
        path = self.output / RUN_FILE
        try:
            theirs = parse_json(path.read_bytes())
        except (OSError, JSONError):
            return False
        if Checkpoints(self.output / "checkpoints").latest() is not None:
            check_identity(self.output, theirs, inputs)
        return bool(theirs == inputs)

    def _metric(self, valid: Sequence[Record], tokenizer: Tokenizer) -> Any:
        from minitransformer.evaluation.run import metric

        table = self.recipe.evaluation
        if table is None:
            return None
        return metric(table.task, valid, tokenizer, table.options, limit=table.limit, batch_size=table.batch_size)


def _ending(recipe: Recipe) -> str:
    """How the names of the classes end that have the objective's head."""
    return f"For{OBJECTIVES[recipe.objective.name].HEAD}"
