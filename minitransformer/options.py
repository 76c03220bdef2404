"""Options: declared once, as type hints, and read in one way.

Every option of a pipeline, of ``generate``, of a tokenizer, a recipe or the command line is declared where it is used:
as a parameter of a function or a field of a dataclass, with its type, its range, its default and a line of
documentation. ``declared`` makes a table of such declarations, and each value that a caller, a file or a shell gives
passes ``Option.read`` (``Option.from_text`` for a shell's), so that a wrong one is named in the same words everywhere::

    def rank(*, top_k: Annotated[int, Range(least=1), "how many to give"] = 5, joint: bool = False): ...

    declared(rank)["top_k"].read(0, PipelineError)     # top_k must be an integer of at least 1, not 0
    declared(rank)["joint"].read("no", PipelineError)  # joint must be True or False, not 'no'

What a hint accepts is in kinds.py, how values stand in messages in showing.py.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from minitransformer.errors import MinitransformerError, did_you_mean
from minitransformer.kinds import (
    ANY_CASE,
    CAPPED,
    INTERNAL,
    MOST,
    Count,
    Kind,
    Natural,
    Only,
    Positive,
    Probability,
    Range,
    Rows,
    TokenId,
    WrongValueError,
    kind_of,
    plain,
)
from minitransformer.showing import escaped, harmless, shown

__all__ = [  # what declarations are made of, and what is done with them
    "ANY_CASE", "CAPPED", "INTERNAL", "MOST", "Count", "ErrorClass", "Kind", "Natural", "Only", "Option", "Positive",
    "Probability", "Range", "Rows", "TokenId", "declared", "documented", "escaped", "harmless", "kind_of", "plain",
    "read_all", "read_value", "shown", "unknown_name",
]  # fmt: skip

ErrorClass = type[MinitransformerError]

_ENTRY = re.compile(r"^ {4}(\*{0,2}\w+(?:, \w+)*):\s*(.*)$")


@dataclasses.dataclass(frozen=True)
class Option:
    """One option as it is declared.

    Attributes:
        name: its name.
        hint: its type, with range and documentation.
        default: what holds where it is not given; ``inspect.Parameter.empty`` where it must be.
        doc: one line about it.
    """

    name: str
    hint: Any
    default: Any = inspect.Parameter.empty
    doc: str = ""
    kind: Kind = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", kind_of(self.hint))

    @property
    def internal(self) -> bool:
        """Whether callers may not give it."""
        return INTERNAL in getattr(self.hint, "__metadata__", ())

    def read(self, value: Any, error: ErrorClass, place: str = "") -> Any:
        """The value as it is to be used: plain numbers and lists for those of NumPy and PyTorch.

        Args:
            value: what was given.
            error: the class of the error that a wrong one raises.
            place: what the message begins with, such as a file and a table.
        """
        try:
            return self.kind.read(value)
        except WrongValueError as said:
            text = f"{place}{self.name} must be {str(said) or self.kind.words}, not {shown(value)}"
            plain = getattr(value, "value", value)
            hint = did_you_mean(plain, self.kind.choices) if isinstance(plain, str) else ""
            raise error(f"{text}.{hint}" if hint else text) from None

    def from_text(self, text: str, error: ErrorClass, place: str = "") -> Any:
        """The value that a shell's text stands for: JSON, True, False or None, or the text itself.

        The first of these that the option may be is taken, so that a text is not mistaken for the number in it.
        """
        readings: list[Any] = [_WORDS[text.lower()]] if text.lower() in _WORDS else []
        try:
            readings.insert(0, json.loads(text))
        except (ValueError, RecursionError):
            pass
        for value in readings:
            try:
                return self.kind.read(value)
            except WrongValueError:
                continue
        try:
            return self.kind.read(text)
        except WrongValueError:
            return self.read(readings[0] if readings else text, error, place)

    def schema(self) -> dict[str, Any] | None:
        """The option as JSON Schema; None where JSON has no form for it."""
        if self.kind.schema is None:
            return None
        known = {} if self.default is inspect.Parameter.empty else {"default": _as_json(self.default)}
        return {**self.kind.schema, **({"description": self.doc} if self.doc else {}), **known}


_WORDS = {"true": True, "false": False, "none": None, "null": None}


def read_all(
    values: Mapping[str, Any],
    table: Mapping[str, Option],
    error: ErrorClass,
    *,
    owner: str,
    unknown: ErrorClass | None = None,
    place: str = "",
) -> dict[str, Any]:
    """Values as their options have them; every name must be known.

    Args:
        values: what was given.
        table: the options.
        error: what a wrong value raises.
        owner: whose options they are, for the message: "fill-mask", "the tokenizer".
        unknown: what an unknown name raises, if that is another class.
        place: what messages begin with.
    """
    read = {}
    for name, value in values.items():
        option = table.get(name) if isinstance(name, str) else None
        if option is None or option.internal:
            raise (unknown or error)(place + unknown_name(name, table, owner))
        read[name] = option.read(value, error, place)
    return read


def unknown_name(name: Any, known: Iterable[str], owner: str) -> str:
    """What to say of an option that does not exist."""
    names = [each for each in known if not (isinstance(known, Mapping) and known[each].internal)]
    return f"{owner} has no option {shown(name)}.{did_you_mean(name, names)} It has: {', '.join(sorted(names))}"


def read_value(name: str, value: Any, hint: Any, error: ErrorClass) -> Any:
    """One value that is no declared parameter."""
    return Option(name, hint).read(value, error)


def _as_json(value: Any) -> Any:
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return value


# Declarations -------------------------------------------------------------------------------------------------------


def declared(
    source: Any, names: Iterable[str] | None = None, docs: Mapping[str, str] | None = None
) -> dict[str, Option]:
    """The options that a function (its keyword-only parameters) or a dataclass (its fields) declares.

    Args:
        source: the function or the class.
        names: take these parameters, whether or not they are keyword-only.
        docs: a line about each, where neither the hint nor the docstring of ``source`` has one.
    """
    lines = {**(docs or {}), **documented(source.__doc__)}
    found = {}
    if dataclasses.is_dataclass(source):
        hints = typing.get_type_hints(source, include_extras=True)
        defaults = {f.name: _default(f) for f in dataclasses.fields(source) if f.init}
        declarations = [(name, hints[name], default) for name, default in defaults.items()]
    else:
        parameters = inspect.signature(source).parameters.values()
        declarations = [
            (p.name, _evaluated(p.annotation, source), p.default)
            for p in parameters
            if (p.kind is p.KEYWORD_ONLY if names is None else p.name in names)
        ]
    for name, hint, default in declarations:
        if names is None or name in names:
            doc = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, str)), lines.get(name, ""))
            found[name] = Option(name, hint, default, doc)
    return found


def documented(docstring: str | None) -> dict[str, str]:
    """What the lists of a docstring ("Options:", "Args:", "Attributes:") say about each name, in one line."""
    found: dict[str, str] = {}
    heads: list[str] = []
    for line in inspect.cleandoc(docstring or "").splitlines():
        if match := _ENTRY.match(line):
            heads = [name.lstrip("*") for name in match[1].split(", ")]
            found |= dict.fromkeys(heads, match[2])
        elif line.startswith(" " * 8) and heads:
            found |= {name: f"{found[name]} {line.strip()}" for name in heads}
        else:
            heads = []
    return found


def _evaluated(annotation: Any, function: Any) -> Any:
    """An annotation as an object. One by one, since others of the function may name what only type checkers see."""
    if not isinstance(annotation, str):
        return annotation
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    return eval(annotation, scope)  # the package's own source  # noqa: S307


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
