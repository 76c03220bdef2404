"""Tables of a recipe as dataclasses: every key is known and every value of its type, or an error says where not."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from minitransformer.errors import TrainingError, did_you_mean
from minitransformer.options import Option, declared, shown

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
        raise TrainingError(f"{place} must be a table, not {shown(raw)}")
    fields = {f.metadata.get("key", f.name): f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    options = declared(cls)
    values: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in raw.items():
        if name in fields and name != "*":
            option = dataclasses.replace(options[fields[name].name], name=name)
            values[fields[name].name] = option.read(value, TrainingError, f"{place}: ")
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
    table: dict[str, Option] = {}
    for klass in cls.__mro__:
        own = vars(klass).get("__init__")
        if own is None:
            continue
        table = {**declared(own), **table}
        if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(own).parameters.values()):
            break
    for name, value in options.items():
        if name not in table:
            raise TrainingError(unknown(name, [*known, *table]))
        table[name].read(value, TrainingError)


def unknown(name: str, known: Iterable[str]) -> str:
    """What to say of a key that does not exist."""
    names = [one for one in known if one != "*"]
    return f"unknown key {shown(name)}.{did_you_mean(name, names)} Known: {', '.join(names)}"
