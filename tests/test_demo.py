"""What the demo shows is what it runs; what it prints is what Python would."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path

import pytest
from rich.console import Console

from minitransformer import AutoModel, AutoTokenizer, demo
from minitransformer.demo import tasks
from minitransformer.demo.inside import show_parity
from minitransformer.demo.tasks import EXAMPLES, Example, as_session, coloured, literal, shape
from minitransformer.errors import MissingFileError

pytestmark = pytest.mark.environment


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.model)
def test_the_code_that_is_shown_makes_the_call(example: Example) -> None:
    calls = []

    def pipeline(task: str, model: str) -> object:
        assert (task, model) == (example.task, f"minitransformer/{example.model}")
        return lambda *inputs, **options: calls.append((inputs, options))

    exec(example.code(), {"pipeline": pipeline})
    assert calls == [(example.inputs, example.options)]
    assert max(len(line) for line in example.code().splitlines() if "Deep neural" not in line) < tasks.WIDTH + 20


def test_python_as_it_is_typed_and_printed() -> None:
    assert literal('say "a\\b"') == r'"say \"a\\b\""'
    assert literal(["a", 1, None]) == '["a", 1, None]'
    assert as_session("a = f(\n    1,\n)") == ">>> a = f(\n...     1,\n... )"
    assert shape([[[0.5, -1.0, 0.25, 2.0, 9.0]]]) == (
        "[[\n [0.500, -1.000, 0.250, 2.000, ...],  # 5 numbers\n]]  # 1 text, 1 tokens"
    )
    assert coloured("x = 'a'", "python").plain == "x = 'a'"


def test_without_the_package_that_has_a_real_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(demo, "Console", lambda: Console(file=printed, width=200))
    monkeypatch.setattr(demo, "show_tasks", lambda console: console.print("nine tasks"))

    def missing() -> None:
        raise MissingFileError("the package is not [here]")

    monkeypatch.setattr(demo, "checkpoint_folder", missing)
    demo.main()
    assert printed.getvalue() == "nine tasks\nA look inside a model is left out: the package is not [here]\n"


def stand_in(version: str, from_pretrained: object) -> types.ModuleType:
    """What is imported as transformers."""
    module = types.ModuleType("transformers")
    module.__version__ = version  # type: ignore[attr-defined]
    module.AutoModel = types.SimpleNamespace(from_pretrained=from_pretrained)  # type: ignore[attr-defined]
    return module


def incompatible(*_: object, **__: object) -> None:
    raise RuntimeError("this release\n needs [another] torch")


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        (None, "transformers is not installed; with it (transformers 4.57)"),
        (stand_in("3.0.2", incompatible), "cannot be compared with (this release needs [another] torch)"),
        (stand_in("9.0.0", lambda *_, **__: object()), "cannot be compared with ("),
        (types.ModuleType("transformers"), "cannot be compared with (module 'transformers' has no attribute"),
    ],
)
def test_a_reference_that_is_absent_older_or_newer_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, installed: types.ModuleType | None, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", installed)
    printed = io.StringIO()
    model, tokenizer = (auto.from_pretrained("minitransformer/bert-books") for auto in (AutoModel, AutoTokenizer))
    show_parity(Console(file=printed, width=200), model, tokenizer, Path("."))
    assert said in " ".join(printed.getvalue().split())
