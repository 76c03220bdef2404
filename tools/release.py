"""Put a finished training run into the package, as a checkpoint that ``minitransformer/NAME`` names.

    python tools/release.py runs/encoder bert-books --data DATA
    python tools/release.py runs/sentiment bert-sentiment --data DATA --twin runs/sentiment-scratch
    python tools/release.py --again bert-sentiment --data DATA --twin runs/sentiment-scratch
    python tools/release.py --page        # only write the tables of docs/checkpoints.md again

Weights are rounded to float16, measured as they are then, beside the trivial baseline and the twin without pretraining,
and described in a model card. ``--again`` only measures a checkpoint that is there. Which run makes which checkpoint,
and on what it is measured, is in releasing/checkpoints.toml.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from releasing.card import card
from releasing.entries import Entry, Table, read_checkpoints
from releasing.folder import replacing, write_model
from releasing.measure import measure
from releasing.page import read_evaluations, write_page
from releasing.runs import RECIPES, Run

from minitransformer.errors import MinitransformerError, MissingFileError
from minitransformer.hub import EMBEDDED, read_json
from minitransformer.recipes.recipe import read_recipe


def release(
    entry: Entry, run: Run, data: Path, home: Path, *, twin: Run | None = None, cores: int = 1, table: Table
) -> dict[str, Any]:
    """Write the folder ``home/NAME``; returns the contents of its evaluation.json.

    Args:
        entry: what becomes of the run.
        run: complete.
        data: the folder of data sets.
        home: of all checkpoints.
        twin: the same run without pretraining.
        cores: that the run had.
        table: knows the licences of the data.
    """
    before = run.origin()
    sets = [asdict(one) for one in table.sets_of(run.files).values()]
    runs = [*before["runs"], *(one.facts(cores) for one in run.chain())]
    with replacing(home / entry.name) as folder:
        model = write_model(run.model, entry.task, folder)
        evaluation = {
            "name": f"minitransformer/{entry.name}",
            "what": entry.what,
            "class": type(model).__name__,
            "parameters": model.num_parameters(),
            "bytes": sum(path.stat().st_size for path in folder.iterdir()),
            "license": entry.license,
            "data": sets + [one for one in before["data"] if one not in sets],
            "runs": runs,
            "results": measure(entry, folder, data, run.tables, twin),
        }
        tell(entry, evaluation, folder)
    return evaluation


def measure_again(entry: Entry, data: Path, home: Path, *, twin: Run | None = None) -> dict[str, Any]:
    """Measure the checkpoint in ``home/NAME`` anew; its weights, and what is told of its runs, stay.

    Raises:
        MissingFileError: it is not there.
    """
    recipe = read_recipe(RECIPES / f"{entry.recipe}.toml")
    tables = {"train": recipe.train, "valid": recipe.valid}
    known = home / entry.name / "evaluation.json"
    if not known.is_file():
        raise MissingFileError(f"there is no {known}, so {entry.name} cannot be measured again: release it first")
    before = read_json(known)
    with replacing(home / entry.name) as folder:
        shutil.copytree(home / entry.name, folder, dirs_exist_ok=True)
        evaluation = {**before, "results": measure(entry, folder, data, tables, twin)}
        tell(entry, evaluation, folder)
    return evaluation


def tell(entry: Entry, evaluation: dict[str, Any], folder: Path) -> None:
    """Write evaluation.json and the model card."""
    told = json.dumps(evaluation, indent=1, ensure_ascii=False)  # in order: the main metric is the first
    (folder / "evaluation.json").write_text(told + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card(entry, evaluation, read_json(folder / "config.json")), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="output folder of a complete training run")
    parser.add_argument("name", nargs="?", help="of the checkpoint, as in releasing/checkpoints.toml")
    parser.add_argument("--data", type=Path, help="folder with the data sets")
    parser.add_argument("--twin", type=Path, help="output folder of the same run without pretraining")
    parser.add_argument("--cores", type=int, default=1, help="processor cores that the training had (default: 1)")
    parser.add_argument("--home", type=Path, default=EMBEDDED, help="where checkpoints are (default: in the package)")
    parser.add_argument("--again", metavar="NAME", help="only measure, the checkpoint of this name that is there")
    parser.add_argument("--page", action="store_true", help="only write the tables of docs/checkpoints.md")
    given = parser.parse_args(arguments)
    if not given.page and (not given.data or not (given.again or (given.run and given.name))):
        parser.error("RUN, NAME and --data are needed (or --again NAME and --data, or --page)")
    try:
        table = read_checkpoints()
        if not given.page:
            entry = table.entry(given.again or given.name)
            twin = Run(given.twin, entry.recipe) if given.twin else None
            if given.again:
                measure_again(entry, given.data, given.home, twin=twin)
            else:
                run = Run(given.run, entry.recipe)
                release(entry, run, given.data, given.home, twin=twin, cores=given.cores, table=table)
            print(given.home / entry.name)
        if given.home == EMBEDDED:
            write_page(read_evaluations(EMBEDDED, table))
    except MinitransformerError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
