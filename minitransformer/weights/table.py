"""The weight map of an architecture, and its meeting with a model: which rows are in force, and what is tied.

A map is data, read in both directions. Its rows speak of the *backbone* (the model without a head) and of *heads*::

    WEIGHTS = WeightMap(
        prefix="bert",
        backbone=[embedding("embeddings.word_embeddings", "embeddings.word"), ...],
        heads={"ForQuestionAnswering": linear("qa_outputs", "head"), ...},
        tied=[Tied("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight")],
    )

A model with a head has two parts, ``backbone`` and ``head``; its files begin the backbone's names with ``prefix``. A
model without a head, and its files, do without. A row is in force iff the model has its parameter, and a head's rows
only in models of its task.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from minitransformer.errors import MinitransformerError, did_you_mean
from minitransformer.weights.ops import Op, Same
from minitransformer.weights.rows import Ignore, Legacy, Row, Tied

BACKBONE = "backbone."
"""How names of parameters begin that lie below a head."""


class TableError(MinitransformerError):
    """A weight map that contradicts itself or the model: a mistake in the library, not in a file."""


class WeightMap:
    """The table of one architecture.

    Args:
        prefix: how names of the backbone begin, before a dot, in files of models with a head.
        backbone: rows of the backbone; lists of rows may stand where a row may.
        heads: task, as a model class has it in ``HEAD`` -> rows of its head, with full names.
        tied: names of one tensor; the backbone's with the prefix.
        ignore: tensors of files that have no use; the backbone's with the prefix.
        legacy: ends of names in old files.
        file_prefix: how those names begin in files that we write, if not with ``prefix`` and a dot.
        also: how they begin in files of other tasks.
    """

    def __init__(
        self,
        prefix: str,
        *,
        backbone: Sequence[Row | Sequence[Row]],
        heads: Mapping[str, Sequence[Row | Sequence[Row]]] | None = None,
        tied: Sequence[Tied] = (),
        ignore: Sequence[Ignore] = (),
        legacy: Sequence[Legacy] = (),
        file_prefix: str | None = None,
        also: str | None = None,
    ) -> None:
        self.prefix, self.also = prefix, also
        self.file_prefix = prefix + "." if file_prefix is None else file_prefix
        self.backbone = list(_flat(backbone))
        self.heads = {task: list(_flat(rows)) for task, rows in (heads or {}).items()}
        self.tied, self.ignore, self.legacy = list(tied), list(ignore), list(legacy)
        self.unused: list[str] = []
        """Names in files of rows that are left out."""
        self.optional: list[str] = []
        """Parameters of ours (shell patterns) that files may lack."""
        self.own_head: list[Row] = []
        """Rows of a subclass's own head, whatever its task."""
        self._check()

    def _check(self) -> None:
        for task in ("", *self.heads):
            seen: set[tuple[str, tuple[str, ...]]] = set()
            for row in self.rows(task):
                if (row.hf, row.our_names) in seen:
                    raise TableError(f"the row {row.hf} stands twice in the table")
                seen.add((row.hf, row.our_names))

    def extended(
        self,
        *,
        rows: Sequence[Row | Sequence[Row]] = (),
        without: str | Sequence[str] = (),
        optional: str | Sequence[str] = (),
    ) -> WeightMap:
        """The same table for a subclass of a model, which has a head, an adapter or a table of its own.

        A parameter that no row names goes by its own name, so a row is needed only where files call it otherwise::

            WEIGHTS = BertForSequenceClassification.WEIGHTS.extended(
                rows=[linear("regressor", "head.output")], optional=["*.adapter.*"]
            )

        Args:
            rows: instead of those for the same parameters, or beside them. Of the head if our name begins with
                "head."; else of the backbone, whose names in files get the prefix.
            without: shell patterns of rows to leave out, by our names or the files'. What a file holds under these
                names is not used, and the parameters, if there are any, go by their own names.
            optional: shell patterns of our parameters that files may lack; they are drawn as in a new model.

        Raises:
            TableError: a pattern of ``without`` matches no row, or the rows contradict each other.
        """
        wider = copy.copy(self)
        wider.optional = [*self.optional, *_texts(optional)]
        wider.unused = list(self.unused)
        given = list(_flat(rows))
        ours = {row.our_names for row in given}
        patterns = _texts(without)
        for pattern in patterns:
            known = [name for rows in (self.backbone, *self.heads.values()) for row in rows for name in _names(row)]
            if not any(fnmatchcase(name, pattern) for name in known):
                raise TableError(
                    f"without: no row of the weight map matches {pattern!r}.{did_you_mean(pattern, known)}"
                )

        def stays(row: Row) -> bool:
            if any(fnmatchcase(name, pattern) for name in _names(row) for pattern in patterns):
                wider.unused.append(row.hf)
                return False
            return row.our_names not in ours

        in_head = [row for row in given if row.our_names[0].startswith("head.")]
        backbone = [row for row in self.backbone if stays(row)]
        left_out = [self.file_prefix + name for name in wider.unused[len(self.unused) :]]
        wider.unused[len(self.unused) :] = left_out
        wider.backbone = [*backbone, *(row for row in given if row not in in_head)]
        wider.heads = {task: [*filter(stays, rows), *in_head] for task, rows in self.heads.items()}
        wider.heads.setdefault("", list(in_head))
        wider.own_head = [*self.own_head, *in_head]
        wider._check()
        return wider

    @property
    def head_names(self) -> list[str]:
        """Names in files of all heads' rows."""
        return list(dict.fromkeys(row.hf for rows in self.heads.values() for row in rows))

    def rows(self, task: str | None) -> list[Row]:
        """Rows of the backbone and of a task's head, with full names: in the file as in a file with a head.

        Args:
            task: of the head; "" for one that is all in the backbone; None for a model without a head.
        """
        inside = "" if task is None else BACKBONE
        backbone = [
            Row(self.file_prefix + row.hf, tuple(inside + name for name in row.our_names), row.op)
            for row in self.backbone
        ]
        return backbone + self.heads.get(task or "", self.own_head)

    def bind(self, model: nn.Module) -> BoundMap:
        """The rows that are in force for ``model``.

        Raises:
            TableError: a parameter of the model has no row, or two that are not tied.
        """
        return BoundMap(self, model)


@dataclass(frozen=True)
class BoundRow:
    """A row with its numbers filled in, and the shape that its tensor has in a file."""

    hf: str
    ours: tuple[str, ...]
    op: Op
    shape: tuple[int, ...]


class BoundMap:
    """A weight map and a model.

    Attributes:
        has_head: whether the model has one; its own files then carry the prefix.
        rows: one for each tensor that we write, of tied names the first.
        aliases: name that we write -> the other names of the same tensor, in files.
        copies: those aliases that are written too, beside the first name.
        other_heads: those aliases that belong to a head which this model lacks. A file of an untied model holds
            something else there, so they count only where no other name of the tensor is present.
        idle: names (with placeholders) that are not in force: other heads, or parts that this model lacks.
        own: names in files of parameters that have no row, of parts and subclasses of a user's own.
    """

    def __init__(self, table: WeightMap, model: nn.Module) -> None:
        parameters = dict(model.named_parameters(remove_duplicate=False))
        self.table = table
        self.has_head = any(name.startswith(BACKBONE) for name in parameters)
        self.task: str | None = (getattr(model, "HEAD", None) or "") if self.has_head else None
        self.idle: list[str] = []
        in_force: dict[str, BoundRow] = {}
        rows = table.rows(self.task)
        mine = {row.hf for row in rows}
        self.idle += [name for name in table.head_names if name not in mine] + table.unused
        own = _Own(model)
        for row in rows:
            bound = _instances(row, parameters, own)
            self.idle += own.idle_names(row, parameters)
            for instance in bound:
                if instance.hf in in_force:
                    raise TableError(f"two rows in force for {type(model).__name__} read {instance.hf}")
                in_force[instance.hf] = instance
            if not bound:
                self.idle.append(row.hf)
        self.aliases: dict[str, list[str]] = {}
        self.copies: dict[str, list[str]] = {}
        self.other_heads: set[str] = set()
        self.rows = self._without_tied(in_force, parameters, own)
        self.own = self._add_own(own, parameters)
        self._check_complete(parameters)

    def file_name(self, hf: str) -> str:
        """The name in a file of this model itself: without a head, the backbone's names have no prefix."""
        return hf if self.has_head else hf.removeprefix(self.table.file_prefix)

    def _without_tied(
        self, rows: dict[str, BoundRow], parameters: dict[str, nn.Parameter], own: _Own
    ) -> list[BoundRow]:
        """Fill ``aliases`` and ``other_heads``; give back the rows that are no alias of another."""
        dropped: set[str] = set()

        def target(hf: str) -> list[int]:
            return [id(parameters[name]) for name in rows[hf].ours]

        for tied in self.table.tied:
            sets = _tied_sets(tied, rows)
            if not sets:
                self.idle += tied.names
            for first, others in sets.items():
                same = [name for name in others if name in rows and target(name) == target(first)]
                if tied.everywhere:
                    self.copies.setdefault(first, []).extend(same)
                else:
                    same += [name for name in others if name not in rows and name not in dropped]
                self.aliases.setdefault(first, []).extend(same)
                self.other_heads.update(name for name in same if others[name] in self.idle)
                dropped.update(same)
        for first in [name for name in self.aliases if name in dropped]:  # its set is part of a later one
            chosen = next(name for name, others in self.aliases.items() if first in others)
            more = self.aliases.pop(first)
            self.aliases[chosen] += [name for name in more if name not in self.aliases[chosen]]
        kept = []
        filled: dict[int, str] = {}
        for row in (row for row in rows.values() if row.hf not in dropped):
            again = [filled[parameter] for parameter in target(row.hf) if parameter in filled]
            if again and all(map(own.has, row.ours)):  # one part of a user's in several places
                self.aliases.setdefault(again[0], []).append(row.hf)
                continue
            kept.append(row)
            for parameter in target(row.hf):
                if parameter in filled:
                    raise TableError(f"{filled[parameter]} and {row.hf} fill one parameter, but no Tied names them")
                filled[parameter] = row.hf
        return kept

    def _add_own(self, own: _Own, parameters: dict[str, nn.Parameter]) -> set[str]:
        """Rows for what a user's own parts and subclasses have beside the table: by their own names."""
        filled = {id(parameters[name]) for row in self.rows for name in row.ours}
        added: set[str] = set()
        for name, parameter in parameters.items():
            if id(parameter) not in filled and own.has(name):
                filled.add(id(parameter))
                in_head = self.has_head and not name.startswith(BACKBONE)
                hf = name if in_head else self.table.file_prefix + name.removeprefix(BACKBONE)
                self.rows.append(BoundRow(hf, (name,), Same(), tuple(parameter.shape)))
                added.add(hf)
        return added

    def _check_complete(self, parameters: dict[str, nn.Parameter]) -> None:
        filled = {id(parameters[name]) for row in self.rows for name in row.ours}
        orphans = [name for name, parameter in parameters.items() if id(parameter) not in filled]
        if orphans:
            raise TableError(f"no row of the weight map gives {', '.join(orphans[:5])}")


class _Own:
    """Where a model has parts of a user's own, whose parameters may go by their own names."""

    def __init__(self, model: nn.Module) -> None:
        find = getattr(model, "own_places", None)
        self.places: list[str] = [] if find is None else find()
        self.unfit: list[str] = []
        self.modules = [n for n, _ in model.named_modules(remove_duplicate=False)] if "" in self.places else self.places

    def has(self, name: str) -> bool:
        """Whether a parameter lies in such a place."""
        return any(not place or name.startswith(place + ".") for place in self.places)

    def idle_names(self, row: Row, parameters: Collection[str]) -> list[str]:
        """What files call the parameters that the row speaks of, and that such a place has not."""
        names, self.unfit = self.unfit, []
        for our_name in row.our_names if self.places else ():
            parts = our_name.split(".")
            for place in self.modules:
                start = ".".join(parts[: place.count(".") + 1])
                match = template(start).fullmatch(place) if len(parts) > place.count(".") + 1 else None
                if match and _filled(our_name, match) not in parameters:
                    names.append(_filled(row.hf, match))
        return names


def _filled(pattern: str, match: re.Match[str]) -> str:
    """The pattern with those numbers filled in that were matched."""
    return re.sub(r"\{([a-z])\}", lambda m: match.groupdict().get(m[1], m[0]), pattern)


def template(pattern: str) -> re.Pattern[str]:
    """A regular expression for a name with ``{i}`` and ``{j}``."""
    parts = re.split(r"\{([a-z])\}", pattern)
    text, seen = "", set()
    for index, part in enumerate(parts):
        if index % 2 == 0:
            text += re.escape(part)
        else:
            text += f"(?P={part})" if part in seen else rf"(?P<{part}>\d+)"
            seen.add(part)
    return re.compile(text)


def _tied_sets(tied: Tied, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The first of the tied names that is among ``names``, and the others with the pattern that each comes from.

    Several such sets, if the first name has placeholders; none, if it is not there.
    """
    for chosen in tied.names:
        sets: dict[str, dict[str, str]] = {}
        for first in names:
            match = template(chosen).fullmatch(first)
            if match:
                others = sets.setdefault(first, {})
                for pattern in tied.names:
                    filled = _filled(pattern, match)
                    if pattern != chosen and "{" not in filled:
                        others[filled] = pattern
                    elif pattern != chosen:
                        others.update({name: pattern for name in names if template(filled).fullmatch(name)})
        if sets:
            return sets
    return {}


def _instances(row: Row, parameters: dict[str, nn.Parameter], own: _Own) -> list[BoundRow]:
    pattern = template(row.our_names[0])
    result = []
    for name in parameters:
        match = pattern.fullmatch(name)
        if match:
            numbers = match.groupdict()
            ours = tuple(our_name.format(**numbers) for our_name in row.our_names)
            absent = [our_name for our_name in ours if our_name not in parameters]
            try:
                if absent:
                    raise TableError(f"the row {row.hf} wants {absent[0]}, which the model lacks")
                shape = _file_shape(row, ours, parameters)
            except TableError:
                if own.has(name):  # a part whose keys have another width than its queries, say
                    own.unfit.append(row.hf.format(**numbers))
                    continue
                raise
            result.append(BoundRow(row.hf.format(**numbers), ours, row.op, shape))
    return result


def _file_shape(row: Row, ours: tuple[str, ...], parameters: dict[str, nn.Parameter]) -> tuple[int, ...]:
    shapes = [tuple(parameters[name].shape) for name in ours]
    try:
        return row.op.file_shape(shapes)
    except ValueError as error:
        raise TableError(f"{row.op} cannot give {', '.join(ours)}, of shapes {shapes}") from error


def _names(row: Row) -> tuple[str, ...]:
    return (row.hf, *row.our_names)


def _texts(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _flat(rows: Iterable[Row | Sequence[Row]]) -> Iterable[Row]:
    for row in rows:
        if isinstance(row, Row):
            yield row
        else:
            yield from row
