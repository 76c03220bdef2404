"""Formulae, shapes, and the lines of code that compute what the page shows, read from the code that ran."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import minitransformer
from minitransformer.layers import attention
from minitransformer.study import lenses, logits, patching
from minitransformer.study.anatomy import top_stack

ROOT = Path(minitransformer.__file__).parent.parent


def explanations(model: Any) -> dict[str, dict[str, Any]]:
    """What is pointed at -> formula, shape in letters, and lines of code with the place where they stand."""
    block: Any = model.get_submodule(top_stack(model).blocks[0])
    told = {
        "pattern": (
            "softmax(q·k / √K + bias, masked)",
            "batch, heads, query, key",
            attention.attend,
            ".softmax(dim=-1)",
        ),
        "mixed": (
            "Σ over keys of weight · value",
            "batch, heads, query, head size",
            attention.attend,
            "pattern, value)",
        ),
        "stream": (_wiring(block), "batch, token, hidden size", type(block).forward, "self.attn("),
        "ffn": ("down(f(up(x)))", "batch, token, hidden size", type(block.ffn).forward, "hidden ="),
        "lens": ("head(final norm(stream))", "layer, batch, token, class", lenses._read_at, "stack.normed(x)"),
        "parts": (
            "part · frozen norms · row of the head; the sum is the logit",
            "part",
            logits.Written.towards,
            "shares =",
        ),
        "patch": ("(patched − base) / (source − base)", "tap, head or position", patching.patch, "effect = (effect"),
    }
    head = getattr(model, "head", None)
    if head is not None and hasattr(type(head), "forward"):
        told["head"] = ("scores of the last stream", "batch, token, class", type(head).forward, "return")
    return {name: _explained(*facts) for name, facts in told.items()}


def _wiring(block: Any) -> str:
    post = "PostNorm" in type(block).__name__
    return "x = norm(x + sublayer(x))" if post else "x = x + sublayer(norm(x))"


def _explained(formula: str, shape: str, function: Callable[..., Any], mark: str) -> dict[str, Any]:
    """With the line that holds ``mark``, and two around it."""
    told: dict[str, Any] = {"formula": formula, "shape": shape}
    try:
        lines, first = inspect.getsourcelines(inspect.unwrap(function))
        file = Path(inspect.getsourcefile(inspect.unwrap(function)) or "")
    except (OSError, TypeError):  # a class made at a prompt has no source
        return told
    found = next((i for i, line in enumerate(lines) if mark in line), None)
    if found is None:
        return told
    place = file.relative_to(ROOT) if file.is_relative_to(ROOT) else Path(file.name)
    shown = [line.rstrip("\n") for line in lines[max(0, found - 2) : found + 3]]
    indent = min((len(line) - len(line.lstrip()) for line in shown if line.strip()), default=0)
    code = "\n".join(line[indent:] for line in shown)
    return {**told, "code": code, "place": f"{place}:{first + found}", "line": found - max(0, found - 2)}
