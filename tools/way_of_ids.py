"""What a reader meets who follows ``input_ids`` through a model: the functions that run, counted by file and line.

    python tools/way_of_ids.py

Counted are whole functions of the package, each once, without docstrings, comments and empty lines; what PyTorch does
is not. The boundary is what looks at arguments before ``forward`` runs.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

import minitransformer
from minitransformer.models.bert import BertConfig, BertForMaskedLM

PACKAGE = Path(minitransformer.__file__).parent
BOUNDARY = ("models/common/boundary.py",)
"""Files that only look at arguments."""


def functions_of(call: Callable[[], Any]) -> set[CodeType]:
    """The functions of the package that run in a call."""
    found: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        is_step = frame.f_code.co_name != "__getattr__"  # how Python finds a part
        if is_step and frame.f_code.co_filename.startswith(str(PACKAGE)):
            found.add(frame.f_code)

    before = sys.gettrace()
    sys.settrace(note)
    try:
        call()
    finally:
        sys.settrace(before)
    return found


def lines_of(functions: set[CodeType]) -> dict[str, set[int]]:
    """File -> the numbers of the lines of code that these functions have."""
    lines: dict[str, set[int]] = {}
    for code in functions:
        path = Path(code.co_filename)
        source, first = inspect.getsourcelines(code)
        texts = {first + i: text.strip() for i, text in enumerate(source)}
        told = {n for n in docstring_lines(path) if n in texts}
        mine = {n for n, text in texts.items() if text and not text.startswith("#") and n not in told}
        lines.setdefault(path.relative_to(PACKAGE).as_posix(), set()).update(mine)
    return lines


def docstring_lines(path: Path) -> set[int]:
    """The numbers of the lines of a file that are docstrings."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
            found |= {*range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)}
    return found


def way_through_bert() -> dict[str, set[int]]:
    """The way of ``input_ids`` through ``BertForMaskedLM``, with padding, from the call to the logits."""
    sizes = {"vocab_size": 60, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 32}
    model = BertForMaskedLM(BertConfig(**sizes)).eval()
    ids, mask = torch.tensor([[2, 7, 9], [2, 5, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    with torch.no_grad():
        model(ids, mask)
        return lines_of(functions_of(lambda: model(ids, mask)))


def told(way: Mapping[str, set[int]]) -> str:
    """A line for each file, and the sums."""
    rows = [f"{len(lines):5} {file}" for file, lines in sorted(way.items())]
    inside = [len(lines) for file, lines in way.items() if file not in BOUNDARY]
    both = sum(map(len, way.values()))
    return "\n".join(
        [*rows, f"{both:5} lines in {len(way)} files; {sum(inside)} in {len(inside)} without the boundary"]
    )


if __name__ == "__main__":
    print(told(way_through_bert()))
