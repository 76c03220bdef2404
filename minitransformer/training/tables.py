"""Tables of a recipe as dataclasses: every key is known and every value of its type, or an error says where not."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from minitransformer.errors import TrainingError, did_you_mean

T = TypeVar("T")


def key(name: str, default: Any = None, *, factory: Callable[[], Any] | None = None) -> Any:
    """A field that has another name in the table; ``*`` takes all keys that are no fields."""
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata={"key": name})
    return dataclasses.field(default=default, metadata={"key": name})


def read_table(cls: type[T], raw: Any, place: str) -> T:
    """A table's contents as a dataclass, which may have a method ``check``.

    Raises:
        TrainingError: a key is unknown or missing, a value is of the wrong type, or ``check`` says so; the message
            begins with ``place``.
    """
    if not isinstance(raw, Mapping):
        raise TrainingError(f"{place} must be a table, not {raw!r}")
    fields = {f.metadata.get("key", f.name): f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in raw.items():
        if name in fields and name != "*":
            values[fields[name].name] = checked(value, hints[fields[name].name], f"{place}: {name}")
        elif "*" in fields:
            rest[name] = value
        else:
            raise TrainingError(f"{place}: {unknown(name, fields)}")
    if rest:
        values[fields["*"].name] = rest
    for name, f in fields.items():
        if f.default is f.default_factory is dataclasses.MISSING and f.name not in values:
            raise TrainingError(f"{place}: {name} is needed")
    try:
        table = cls(**values)
        if hasattr(table, "check"):
            table.check()
    except TrainingError as error:
        raise TrainingError(f"{place}: {error}") from error
    return table


def check_options(cls: type, options: Mapping[str, Any], known: Iterable[str] = ()) -> None:
    """See that options are keyword arguments of a class, or of those it passes them on to, and have their types.

    Raises:
        TrainingError: an unknown name, with the nearest one, or a value of the wrong type.
    """
    hints: dict[str, Any] = {}
    for klass in cls.__mro__:
        own = vars(klass).get("__init__")
        if own is None:
            continue
        parameters = inspect.signature(own).parameters.values()
        types_of = typing.get_type_hints(own)
        hints |= {p.name: types_of[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in hints}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    for name, value in options.items():
        if name not in hints:
            raise TrainingError(unknown(name, [*known, *hints]))
        checked(value, hints[name], name)


def unknown(name: str, known: Iterable[str]) -> str:
    """What to say of a key that does not exist."""
    names = [one for one in known if one != "*"]
    return f"unknown key {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}"


def checked(value: Any, kind: Any, name: str) -> Any:
    """``value``, lists as tuples where they are wanted.

    Raises:
        TrainingError: it is not of this kind.
    """
    try:
        return convert(value, kind)
    except TypeError as error:
        raise TrainingError(f"{name} must be {describe(kind)}, not {value!r}") from error


def convert(value: Any, kind: Any) -> Any:
    """A value of TOML as one of the Python type ``kind``.

    Raises:
        TypeError: it is none.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        for one in inner:
            try:
                return convert(value, one)
            except TypeError:
                continue
    elif origin is typing.Literal:
        if isinstance(value, str) and value in inner:
            return value
    elif origin in (tuple, list):
        if isinstance(value, (list, tuple)):
            return origin(convert(one, inner[0]) for one in value)
    elif origin is dict:
        if isinstance(value, Mapping):
            return {str(name): convert(one, inner[1]) for name, one in value.items()}
    elif kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise TypeError


WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "a table"}


def describe(kind: Any) -> str:
    """A type in words."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(one) for one in inner if one is not types.NoneType)
    if origin is typing.Literal:
        return " or ".join(map(repr, inner))
    if origin in (tuple, list):
        return f"a list of {describe(inner[0]).removeprefix('a ')}s" if inner[0] is not Any else "a list"
    if origin is dict:
        return "a table" if inner[1] is Any else f"a table whose values are each {describe(inner[1])}"
    return WORDS.get(kind, str(kind))
