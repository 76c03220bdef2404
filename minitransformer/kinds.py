"""Kinds of values: what a type hint accepts, and how a value is read as it.

A hint may be plain (``int``, ``list[str] | None``) or ``Annotated`` with a `Range`, with `Only` or with a mark. Of it
`kind_of` makes what reads values, the words for it in a message ("an integer of at least 1"), and its JSON Schema.
Numbers of NumPy and of PyTorch count as numbers, and their arrays of one axis as lists; nothing counts as a boolean but
booleans.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import math
import numbers
import operator
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from typing import Annotated, Any, Final, Literal, NoReturn


@dataclasses.dataclass(frozen=True)
class Range:
    """Which numbers an option may be. Numbers are finite, and integers fit into 64 bits, unless it says otherwise."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    finite: bool = True

    def holds(self, value: float) -> bool:
        """Whether a number is in the range."""
        return (
            value == value  # no NaN
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (not self.finite or math.isfinite(value))
        )

    def words(self) -> str:
        """The range as it goes on after "a number"."""
        if self.least is not None and self.most is not None:
            return f" from {self.least} to {self.most}"
        if self.least is not None:
            return f" of at least {self.least}" if self.below is None else f" from {self.least} to below {self.below}"
        parts = [f"{word} {n}" for word, n in (("above", self.above), ("below", self.below)) if n is not None]
        parts += [] if self.most is None else [f"at most {self.most}"]
        return f" {', '.join(parts)}" if parts else ""


@dataclasses.dataclass(frozen=True)
class Only:
    """Which values of its type an option may have, where no range can say it; ``words`` describe them."""

    fits: Callable[[Any], bool]
    words: str


ANY_CASE: Final = object()
"""In a hint: upper and lower case are alike in a choice of texts."""
CAPPED: Final = object()
"""In a hint: an integer beyond 64 bits is taken for the greatest of them (lengths that stand for "none")."""
INTERNAL: Final = object()
"""In a hint: not for callers; other options are turned into it."""

Count = Annotated[int, Range(least=1)]
Natural = Annotated[int, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
Probability = Annotated[float, Range(least=0, most=1)]
TokenId = Annotated[int, Range(least=0)]
Rows = Annotated[int, Range(least=1, most=10_000)]
"""How many texts are followed or drawn for one prompt: each takes memory of its own."""

MOST = 2**63 - 1


class WrongValueError(ValueError):
    """What a value must be; `Option.read` makes an error of the caller's kind from it."""


class BrokenTextError(WrongValueError):
    """A text with half a character, which no other kind would take either: it says so through lists and choices."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a type hint accepts.

    Attributes:
        read: gives the value as it is to be used, or raises a WrongValueError.
        words: what it accepts, after "must be".
        schema: the same as JSON Schema; None for what JSON has no form for (functions, tensors).
        choices: the texts to choose from, for the nearest one.
    """

    read: Callable[[Any], Any]
    words: str
    schema: dict[str, Any] | None
    choices: tuple[str, ...] = ()


def kind_of(hint: Any) -> Kind:
    """What a type hint accepts.

    Raises:
        TypeError: a hint that options cannot have: a mistake in a declaration.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _narrowed(inner[0], inner[1:])
    if origin in (typing.Union, types.UnionType):
        return _one_of([kind_of(each) for each in inner])
    if origin is Literal:
        return _choice(inner, any_case=False)
    if hint is Any:
        return Kind(lambda value: value, "anything", {})
    if hint is None or hint is types.NoneType:
        return Kind(_read_none, "None", {"type": "null"})
    if hint is float:
        return _narrowed(float, (Range(),))
    if hint in _PLAIN:
        return _PLAIN[hint]
    base = origin or hint
    if base is Callable or hint is Callable:
        return Kind(_read_callable, "a function", None)
    if base is tuple and inner and inner[-1] is not Ellipsis:
        return _row([kind_of(each) for each in inner])
    if base in _LISTS:
        return _list(kind_of(inner[0] if inner else Any), _LISTS[base])
    if base in (dict, Mapping):
        return _table(kind_of(inner[0]), kind_of(inner[1])) if inner else _table(kind_of(Any), kind_of(Any))
    if getattr(base, "_is_protocol", False):
        return _protocol(base)
    if isinstance(base, type):
        return Kind(_instance(base), f"a {base.__name__}", None)
    raise TypeError(f"options cannot be declared as {hint}")


def plain(value: Any) -> Any:
    """A number or boolean of NumPy or PyTorch, also in an array without axes, as Python's; others as they are."""
    if type(value) in _PYTHON:
        return value
    try:
        if value.shape == () and callable(value.item):
            return value.item()
    except Exception:  # it has no such attribute, or, on PyTorch's meta device, no value
        pass
    return value.value if isinstance(value, enum.Enum) else value


_PYTHON = frozenset({int, float, bool, str, bytes, list, tuple, dict, set, frozenset, types.NoneType})
_LISTS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    Sequence: list,
    Iterable: list,
    tuple: tuple,
    Collection: list,
    Set: frozenset,
    set: set,
    frozenset: frozenset,
}


def refuse(words: str = "") -> NoReturn:
    """Say that a value does not fit; without words, that of the whole kind."""
    raise WrongValueError(words)


def _read_none(value: Any) -> None:
    if value is not None:
        refuse()


def _read_bool(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    found = plain(value)
    return found if isinstance(found, bool) and type(value) is not str else refuse()


def _read_int(value: Any) -> int:
    found = value if type(value) is int else plain(value)
    if isinstance(found, bool) or not isinstance(found, numbers.Integral):
        refuse()
    whole = operator.index(found)
    return whole if -MOST - 1 <= whole <= MOST else refuse("an integer of at most 64 bits")


def _capped(value: Any) -> Any:
    return min(value, MOST) if type(value) is int else value


def _read_float(value: Any) -> float:
    found = value if type(value) is float else plain(value)
    if isinstance(found, bool) or not isinstance(found, numbers.Real):
        refuse()
    try:
        return float(found)
    except (OverflowError, ValueError):
        refuse("a number that a float can hold")


def _read_str(value: Any) -> str:
    if not isinstance(value, str):
        refuse()
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            repair = "text.encode(errors='replace').decode() repairs it"
            raise BrokenTextError(f"valid Unicode (it is not at {error.start}; {repair})") from error
    return value if type(value) is str else str.__str__(value)


def _read_callable(value: Any) -> Any:
    return value if callable(value) else refuse()


def _instance(base: type) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, base) else refuse()


def _protocol(base: Any) -> Kind:
    """Objects that have what a protocol names."""
    kinds = [each for each in base.__mro__ if getattr(each, "_is_protocol", False)]
    names = {name for each in kinds for name in {**vars(each), **inspect.get_annotations(each)} if name[0] != "_"}
    is_function = any("__call__" in vars(each) for each in kinds)

    def read(value: Any) -> Any:
        if isinstance(value, type) or is_function and not callable(value):
            refuse()
        return value if all(hasattr(value, name) for name in names) else refuse()

    return Kind(read, f"an object with {', '.join(sorted(names))}", None)


_PLAIN: dict[Any, Kind] = {
    bool: Kind(_read_bool, "True or False", {"type": "boolean"}),
    int: Kind(_read_int, "an integer", {"type": "integer"}),
    float: Kind(_read_float, "a number", {"type": "number"}),
    str: Kind(_read_str, "a text", {"type": "string"}),
    object: Kind(lambda value: value, "anything", {}),
}


def _narrowed(inner: Any, extra: tuple[Any, ...]) -> Kind:
    """A kind with a range, or with what `Only` says."""
    if typing.get_origin(inner) is Literal:
        return _choice(typing.get_args(inner), any_case=ANY_CASE in extra)
    ranges = [each for each in extra if isinstance(each, Range)]
    if ranges and typing.get_origin(inner) in (typing.Union, types.UnionType):  # of the numbers in it
        return _one_of([_narrowed(each, tuple(ranges)) for each in typing.get_args(inner)])
    if ranges and inner not in (int, float):
        ranges = []
    kind = _PLAIN[float] if inner is float else kind_of(inner)
    if CAPPED in extra:
        kind = dataclasses.replace(kind, read=lambda value: _PLAIN[int].read(_capped(value)))
    schema, words = kind.schema, kind.words
    checks: list[Callable[[Any], bool]] = []
    if inner is float and not ranges:
        ranges = [Range()]
    for each in ranges:
        words += each.words()
        checks.append(each.holds)
        limits = {
            "minimum": each.least,
            "maximum": each.most,
            "exclusiveMinimum": each.above,
            "exclusiveMaximum": each.below,
        }
        schema = None if schema is None else {**schema, **{k: v for k, v in limits.items() if v is not None}}
    for each in extra:
        if isinstance(each, Only):
            words = each.words
            checks.append(each.fits)
    if not checks:
        return kind

    def read(value: Any) -> Any:
        try:
            found = kind.read(value)
        except WrongValueError as error:
            refuse(str(error) or words)
        for check in checks:
            if not check(found):
                refuse(words)
        return found

    return Kind(read, words, schema, kind.choices)


def _one_of(kinds: list[Kind]) -> Kind:
    # what is narrow goes first: a text that is one of some choices, a boolean, an integer
    words = _join([kind.words for kind in kinds if kind.words != "None"]) or "None"
    schemas = [kind.schema for kind in kinds if kind.schema is not None]
    of_lists = {each for kind in kinds for each in kind.choices}

    def read(value: Any) -> Any:
        for kind in kinds:
            try:
                return kind.read(value)
            except BrokenTextError:
                raise
            except WrongValueError:
                continue
        refuse(words)

    schema = (
        None
        if not any(s != {"type": "null"} for s in schemas)
        else schemas[0]
        if len(schemas) == 1
        else {"anyOf": schemas}
    )
    return Kind(read, words, schema, tuple(sorted(of_lists)))


def _choice(values: tuple[Any, ...], *, any_case: bool) -> Kind:
    texts = tuple(value for value in values if isinstance(value, str))
    folded = {text.lower(): text for text in texts} if any_case else {}

    def read(value: Any) -> Any:
        found = plain(value)
        for each in values:
            if type(found) is type(each) and found == each:
                return each
        if isinstance(found, str):
            if found in texts:
                return texts[texts.index(found)]
            if any_case and found.lower() in folded:
                return folded[found.lower()]
        refuse()

    words = _join([repr(value) for value in values])
    return Kind(
        read, words if len(values) < 3 else f"one of {', '.join(map(_bare, values))}", {"enum": list(values)}, texts
    )


def _bare(value: Any) -> str:
    return value if isinstance(value, str) and value and not set(value) & set(" ,'\"") else repr(value)


def _list(item: Kind, make: Callable[[Iterable[Any]], Any]) -> Kind:
    words = "a list" if item.words == "anything" else f"a list, each of it {item.words}"
    if item.words in _PLURAL:
        words = f"a list of {_PLURAL[item.words]}"

    def read(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            items: Iterable[Any] = value
        elif isinstance(value, (Set, type({}.keys()), range)):
            items = list(value)
        else:
            items = _rows(value)
        try:
            return make(item.read(each) for each in items)
        except BrokenTextError:
            raise
        except WrongValueError:
            refuse(words)
        except TypeError:  # unhashable, for a set
            refuse(words)

    schema = None if item.schema is None else {"type": "array", "items": item.schema}
    return Kind(read, words, schema)


_PLURAL = {
    "a text": "texts",
    "an integer": "integers",
    "a number": "numbers",
    "True or False": "booleans",
    "a function": "functions",
}


def _rows(value: Any) -> list[Any]:
    """The items of an array or tensor with axes."""
    if type(value) not in _PYTHON:
        try:
            if len(value.shape) > 0 and callable(value.tolist):
                found = value.tolist()
                return found if isinstance(found, list) else refuse()
        except WrongValueError:
            raise
        except Exception:
            pass
    refuse()


def _row(items: list[Kind]) -> Kind:
    words = f"a list of {len(items)}: {', '.join(item.words for item in items)}"

    def read(value: Any) -> tuple[Any, ...]:
        row = value if isinstance(value, (list, tuple)) else _rows(value)
        if len(row) != len(items):
            refuse(words)
        try:
            return tuple(item.read(each) for item, each in zip(items, row, strict=True))
        except WrongValueError:
            refuse(words)

    return Kind(read, words, {"type": "array", "minItems": len(items), "maxItems": len(items)})


def _table(names: Kind, values: Kind) -> Kind:
    words = "a dictionary" if values.words == "anything" else f"a dictionary whose values are each {values.words}"

    def read(value: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            refuse(words)
        try:
            return {names.read(name): values.read(each) for name, each in value.items()}
        except WrongValueError:
            refuse(words)

    return Kind(read, words, {"type": "object"})


def _join(words: Sequence[str]) -> str:
    return " or ".join(dict.fromkeys(words))
