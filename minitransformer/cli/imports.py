"""``--import MODULE``: a user's own module, which registers parts, architectures, tokenizers or tasks."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from typer.core import TyperGroup

from minitransformer.cli.common import clear_errors
from minitransformer.errors import RegistrationError


class ImportingGroup(TyperGroup):
    """Commands, before or behind whose name ``--import MODULE`` may stand, as often as wanted."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Import the modules, and go on without them."""
        modules, rest = split_imports(args)
        with clear_errors():
            for module in modules:
                import_named(module)
        return super().parse_args(ctx, rest)


def split_imports(args: list[str]) -> tuple[list[str], list[str]]:
    """The modules to import, and the other arguments; behind ``--`` all are texts."""
    modules, rest = [], []
    end = args.index("--") if "--" in args else len(args)
    words = iter(args[:end])
    for word in words:
        if word == "--import":
            modules.append(next(words, ""))
        elif word.startswith("--import="):
            modules.append(word.removeprefix("--import="))
        else:
            rest.append(word)
    return modules, rest + args[end:]


def import_named(module: str) -> None:
    """Import a module, of an installed package or of the current folder.

    Raises:
        RegistrationError: it cannot be imported; says why.
    """
    if not module or not all(name.isidentifier() for name in module.split(".")):
        raise RegistrationError(
            f"--import takes the name of a Python module, such as my_package.parts, not {module!r:.100}"
        )
    if "" not in sys.path:
        sys.path.append("")  # last, so that a file there hides no installed module
    try:
        import_module(module)
    except Exception as error:
        raise RegistrationError(f"--import {module}: it cannot be imported: {error}") from error
