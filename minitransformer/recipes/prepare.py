"""From a recipe's tables to records, to the folders that it names, and to a tokenizer."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from minitransformer.config import ModelConfig
from minitransformer.data import Record, narrow, read_records
from minitransformer.data.records import TEXT_FIELDS
from minitransformer.errors import DataError, MinitransformerError, TrainingError
from minitransformer.recipes.recipe import DataTable, Recipe, TokenizerTable
from minitransformer.recipes.vocabulary import FAMILIES, learn_tokenizer
from minitransformer.tokenization.auto import CLASSES, check_overrides
from minitransformer.tokenization.base import Tokenizer

# Records ------------------------------------------------------------------------------------------------------------


def load_data(tables: Sequence[DataTable], folder: Path, place: str) -> tuple[list[Record], dict[str, str]]:
    """The records of all tables, and a fingerprint of each file that they come from.

    Raises:
        DataError: files are missing, damaged, or have not the columns; says where.
    """
    records: list[Record] = []
    files: set[str] = set()
    for table in tables:
        read = read_records(table.paths(folder), **table.reading())
        files |= {record.file for record in read}
        if table.narrow:
            read = list(map(narrow, read))
        if table.unique:
            read = list({repr(sorted(record.items())): record for record in reversed(read)}.values())[::-1]
        if table.shuffle is not None:
            random.Random(table.shuffle).shuffle(read)
        start, end = (round(share * len(read)) for share in table.part)
        chosen = read[start:end][: table.limit]
        if not chosen:
            raise DataError(f"{place}: part = {list(table.part)} of {len(read)} records leaves none")
        records += chosen
    return records, {_relative(file, folder): fingerprint(Path(file)) for file in sorted(files)}


def fingerprint(file: Path) -> str:
    """A short hash of a file's contents."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _relative(file: str, folder: Path) -> str:
    path = Path(file)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name


def count_common(train: Iterable[Record], valid: Iterable[Record]) -> int:
    """How many records to validate with are also learnt from."""
    seen = {repr(sorted(record.items())) for record in train}
    return sum(repr(sorted(record.items())) in seen for record in valid)


# Where a name leads ------------------------------------------------------------------------------------------------


def find_source(name: str, recipe: Recipe, output: Path) -> str | Path:
    """The folder or model id that ``from`` means.

    A name that ends with ``.toml`` is another recipe: its output lies beside this one's. A folder may lie in the
    recipe's folder or in the working directory, and may be the output of a run: what it learnt best is taken.

    Raises:
        TrainingError: that recipe has no output yet.
    """
    if name.endswith(".toml"):
        other = output.parent / Path(name).stem
        if not (other / "final").is_dir():
            raise TrainingError(
                f"{recipe.path}: from = {name!r} needs the output of that recipe, and there is none in {other}: "
                f"run it first, minitransformer train {name} --output {other}"
            )
        return _best(other)
    try:
        at_home = Path(name).expanduser()
    except RuntimeError as error:
        raise TrainingError(f"{recipe.path}: from = {name!r} names no folder: {error}") from error
    for folder in (recipe.path.parent / name, at_home):
        if folder.is_dir():
            return _best(folder) if (folder / "final").is_dir() else folder
    return name


def _best(run: Path) -> Path:
    return run / "best" if (run / "best").is_dir() else run / "final"


# Tokenizer ----------------------------------------------------------------------------------------------------------


def make_tokenizer(
    table: TokenizerTable, records: Sequence[Record], config: ModelConfig, folder: Path, place: str
) -> Tokenizer:
    """Learn a vocabulary from the records, as the table has it.

    Raises:
        TrainingError: the table does not suit the architecture or the data.
    """
    assert table.kind is not None and table.vocab_size is not None
    settings = dict(table.settings)
    if config.max_positions is not None:
        settings.setdefault("model_max_length", config.max_positions)
    targets = None
    if table.joint:
        texts = texts_of(records, sorted(TEXT_FIELDS))
    else:
        texts, targets = texts_of(records, ["source"]), texts_of(records, ["target"])
    family = FAMILIES[table.kind].get(config.model_type)
    try:
        if family is not None:
            check_overrides(CLASSES[family], settings)
        return learn_tokenizer(
            folder,
            texts,
            kind=table.kind,
            architecture=config.model_type,
            vocab_size=table.vocab_size,
            lowercase=table.lowercase,
            letters=table.letters,
            target_texts=targets,
            **settings,
        )
    except MinitransformerError as error:
        raise TrainingError(f"{place}: {error}") from error


def texts_of(records: Iterable[Record], names: Sequence[str]) -> list[str]:
    """All different texts of the records, in order."""
    texts: dict[str, None] = {}
    for record in records:
        for name in names:
            if isinstance(record.get(name), str):
                texts[record[name]] = None
        if "words" in record:
            texts[" ".join(map(str, record["words"]))] = None
    return list(texts)
