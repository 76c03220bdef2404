"""The base of layers: a module that tells where a part is that other libraries call otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

hints: list[Callable[[nn.Module, str], str]] = []
"""(module, name that it has not) -> what to add to the error; models, which know such names, put theirs here."""


class Part(nn.Module):
    """A module whose ``AttributeError`` says where the part is, if somebody knows."""

    if not TYPE_CHECKING:  # type checkers shall find misspelt names

        def __getattr__(self, name: str) -> Any:
            modules = self.__dict__.get("_modules", {})
            if name in modules:
                return modules[name]
            try:
                return super().__getattr__(name)
            except AttributeError as error:
                told = "".join(hint(self, name) for hint in hints)
                raise AttributeError(f"{error}.{told}" if told else str(error)) from None
