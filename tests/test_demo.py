"""What the demo shows is what it runs; what it prints is what Python would."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from minitransformer import demo
from minitransformer.demo import tasks
from minitransformer.demo.tasks import EXAMPLES, Example, as_session, coloured, literal, shape
from minitransformer.errors import MissingFileError


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
