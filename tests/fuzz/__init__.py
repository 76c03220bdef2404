"""Attacks on the library, to run for as long as one likes: `make fuzz`, or `python -m fuzz` from this folder's parent.

An attack is a module here with a function ``case(draw, folder)``. From the random numbers of one seed it makes one
case: a description, and a function that tries it, which may write into the folder and nowhere else. Whatever is tried
has to end in an answer or in a named error (`MinitransformerError`); anything else breaks a promise: another exception,
a hang, a dead process, too much memory, code that ran, a file half-written. A case with more to promise checks it
itself, and raises `Broken`. See docs/security.md for the promises.

A case comes back by its name and seed: ``python -m fuzz --attack weights --seed 17 --cases 1``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

Case: TypeAlias = tuple[str, Callable[[], Any]]
"""What is tried, in a line; and the trying."""
Attack: TypeAlias = Callable[[Random, Path], Case]

ATTACKS: tuple[str, ...] = (
    # one name a line
    "checkpoints",
    "command_lines",
    "data",
    "hub",
    "kills",
    "option_values",
    "recipes",
    "savings",
    "texts",
)
"""The modules of this folder that are attacks; each has a line in docs/security.md."""


class Broken(AssertionError):
    """A promise that a case has found broken, in words: ``raise Broken("half-written", "config.json is empty")``.

    Args:
        outcome: what the report counts it as.
        what: what was found.
    """

    def __init__(self, outcome: str, what: str) -> None:
        super().__init__(f"{outcome}: {what}")
        self.outcome = outcome


def find_attack(name: str) -> Attack:
    """The function ``case`` of the module of this name."""
    found: Attack = import_module(name if "." in name else f"fuzz.{name}").case
    return found
