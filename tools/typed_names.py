"""Write minitransformer/__init__.pyi, what type checkers see of the lazy names: python tools/typed_names.py."""

from __future__ import annotations

from pathlib import Path

import minitransformer
from minitransformer.compat.names import HOMES

STUB = Path(minitransformer.__file__).with_name("__init__.pyi")
TOKENIZERS = "minitransformer.compat.tokenizers"
WRITTEN_OUT = ("BatchEncoding", "PreTrainedTokenizer", "PreTrainedTokenizerFast")
"""Of the tokenizers' names, those that are classes; the others are made when they are asked for."""


def stub() -> str:
    """The contents of the stub."""
    homes = {name: (module, name) for name, module in minitransformer._HOME.items()} | HOMES
    made = [name for name, (module, _) in homes.items() if module == TOKENIZERS and name not in WRITTEN_OUT]
    found = [(module, own, name) for name, (module, own) in homes.items() if name not in made]
    lines = ['"""Written by tools/typed_names.py."""\n', "# fmt: off\nfrom typing import Any\n"]
    lines += [f"from {module} import {own} as {own}" for module, own, _ in sorted(found)]
    lines.append("\n__version__: str")
    lines += [f"{name} = {own}" for _, own, name in sorted(found) if name != own]
    lines += [f"{name}: Any" for name in sorted(made)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
