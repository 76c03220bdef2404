"""Names under which other packages offer what they have: one thing to a name."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points
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
    if name in names and not is_same(names[name], thing):
        old, new = _home(names[name]), _home(thing)
        raise RegistrationError(f"the {kind} {name!r} is registered already, as {old}: choose another name for {new}")
    names[name] = thing


def is_same(one: Any, other: Any) -> bool:
    """Whether two classes are one, or the same one of a module that was run again."""
    return _home(one) == _home(other)


def _home(thing: Any) -> str:
    named = thing if isinstance(thing, type) else getattr(thing, "config", type(thing))
    return f"{named.__module__}.{named.__qualname__}"


def load_installed(group: str, name: str) -> Any:
    """What an installed package offers under a name, or None: the package's code runs, as if it were imported.

    Raises:
        RegistrationError: two packages offer different things under it, or it cannot be loaded.
    """
    found = {point.value: point for point in entry_points(group=group, name=name)}
    if len(found) > 1:
        places = ", ".join(found)
        raise RegistrationError(f"several packages offer {name!r} in {group}: {places}; uninstall all but one")
    for value, point in found.items():
        try:
            return point.load()
        except Exception as error:
            raise RegistrationError(f"{value}, which offers {name!r} in {group}, cannot be loaded: {error}") from error
    return None


def installed_names(group: str) -> list[str]:
    """Names of all entry points of a group."""
    return sorted({point.name for point in entry_points(group=group)})


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """What to say of a name that nobody has registered."""
    known = sorted(known)
    there = f"Registered: {', '.join(known)}." if known else "None is registered."
    return f"no {kind} is registered under the name {name!r:.100}.{did_you_mean(name, known)} {there}"
