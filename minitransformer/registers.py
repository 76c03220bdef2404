"""Names under which other packages offer what they have: one thing to a name."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from minitransformer.errors import RegistrationError, did_you_mean

Thing = TypeVar("Thing")


def register(kind: str, names: dict[str, Thing], name: str, thing: Thing, *, taken: Iterable[str] = ()) -> None:
    """Let ``names`` have this thing under this name; the same class once more, of a module that is run again, is new.

    Args:
        kind: what it is, for messages.
        names: what is registered.
        name: its name.
        thing: a class, or an object with one.
        taken: names that are the library's own.

    Raises:
        RegistrationError: the name is no text, or belongs to another thing.
    """
    if not isinstance(name, str) or not name.strip():
        raise RegistrationError(f"the name of a {kind} must be a text of at least one letter, not {name!r:.60}")
    if name in taken:
        raise RegistrationError(f"the {kind} {name!r} is one of the library's own: choose another name")
    if name in names and _home(names[name]) != _home(thing):
        raise RegistrationError(
            f"the {kind} {name!r} is registered already, as {_home(names[name])}: choose another name for {_home(thing)}"
        )
    names[name] = thing


def _home(thing: Any) -> str:
    named = thing if isinstance(thing, type) else getattr(thing, "config", type(thing))
    return f"{named.__module__}.{named.__qualname__}"


def installed(group: str, name: str) -> EntryPoint | None:
    """The entry point of that name that an installed package offers, or None.

    Raises:
        RegistrationError: two packages offer different things under it.
    """
    found = {point.value: point for point in entry_points(group=group, name=name)}
    if len(found) > 1:
        raise RegistrationError(
            f"several packages offer {name!r} in {group}: {', '.join(found)}; uninstall all but one"
        )
    return next(iter(found.values()), None)


def installed_names(group: str) -> list[str]:
    """Names of all entry points of a group."""
    return sorted({point.name for point in entry_points(group=group)})


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """What to say of a name that nobody has registered."""
    known = sorted(known)
    there = f"Registered: {', '.join(known)}." if known else "None is registered."
    return f"no {kind} is registered under the name {name!r:.100}.{did_you_mean(name, known)} {there}"
