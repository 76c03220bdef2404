"""Runs the course's cells with one of the two libraries, and writes down what each of them gives.

    python cells.py transformers OUT.json sections/*.py

A section is a script of cells, divided by ``# %%``; the value of a cell is that of its last line, if that is an
expression, as in a notebook. The library is one changed import: ``from transformers import ...``.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

MOST = 4000
"""Numbers of a tensor that are written down; of a longer one every n-th."""


def plain(value: Any, depth: int = 0) -> Any:
    """A cell's value as JSON can hold it: numbers, texts, lists, names and values."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, torch.Tensor | np.ndarray):
        flat = torch.as_tensor(value).detach().flatten()
        step = max(1, len(flat) // MOST)
        return {"shape": list(value.shape), "numbers": flat[::step].tolist()}
    if isinstance(value, Mapping) or hasattr(value, "keys"):
        return {str(name): plain(value[name], depth + 1) for name in value.keys()}  # noqa: SIM118
    if isinstance(value, list | tuple | set | range):
        return [plain(each, depth + 1) for each in (sorted(value) if isinstance(value, set) else value)]
    return f"<{type(value).__name__}>"


def run(path: Path, library: str) -> list[dict[str, Any]]:
    """The cells of a section: their text, their value, what they print, or their error."""
    code = path.read_text(encoding="utf-8").replace("from transformers", f"from {library}")
    code = code.replace("import transformers", f"import {library} as transformers")
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = []
    for number, text in enumerate(re.split(r"(?m)^# %%.*$", code)[1:]):
        cell: dict[str, Any] = {"text": text.strip(), "value": None, "printed": "", "error": None}
        tree = ast.parse(text)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        printed = io.StringIO()
        torch.manual_seed(number)
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                exec(compile(tree, path.name, "exec"), names)  # noqa: S102  (cells of this folder)
                if last is not None:
                    value = eval(compile(ast.Expression(last.value), path.name, "eval"), names)  # noqa: S307
                    cell["value"] = plain(value)
            except Exception as error:
                cell["error"] = f"{type(error).__name__}: {error}"
                cell["traceback"] = traceback.format_exc()
        cell["printed"] = printed.getvalue()
        cells.append(cell)
    return cells


def main() -> None:
    """Run the sections in a folder that is thrown away."""
    library, out, *sections = sys.argv[1:]
    found, paths = {}, [Path(section).resolve() for section in sections]
    target = Path(out).resolve()
    torch.set_num_threads(1)
    if library == "transformers":
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for path in paths:
            found[path.stem] = run(path, library)
        os.chdir("/")
    target.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
