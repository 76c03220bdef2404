"""Solutions pass ``check``; three mistakes planted into each are named."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from lessons.planted import PLANTED

from minitransformer.course import EXERCISES, check, solutions
from minitransformer.errors import StudyError


def planted(name: str, old: str, new: str) -> Any:
    code = inspect.getsource(getattr(solutions, name))
    assert old in code, f"the solution of {name} has no {old!r}"
    names = dict(vars(solutions))
    exec(code.replace(old, new), names)
    return names[name]


@pytest.mark.parametrize("name", EXERCISES)
def test_solution_is_right_and_planted_mistakes_are_named(name: str) -> None:
    verdict = check(EXERCISES[name].solution)
    assert verdict.right and verdict and "right" in repr(verdict), verdict
    assert len(PLANTED[name]) == 3
    wrong = []
    for old, new, words in PLANTED[name]:
        verdict = check(planted(name, old, new))
        if verdict.right or verdict.first is None or words not in (verdict.cause or "") or words == "unknown":
            wrong.append((new, verdict))
    assert not wrong, wrong


@pytest.mark.slow
def test_every_known_mistake_is_one_and_names_itself() -> None:
    """None is right, none gives the numbers of another: causes can be told apart."""
    for one in EXERCISES.values():
        for why, mistake in one.mistakes.items():
            verdict = check(mistake, one.name)
            assert not verdict.right, (one.name, why)
            assert (verdict.cause or "").startswith(why), (one.name, why, verdict)


def test_there_is_an_exercise_for_each_lesson() -> None:
    assert [one.lesson for one in EXERCISES.values()] == list(range(19))
    assert set(PLANTED) == set(EXERCISES)


def test_what_no_mistake_explains_is_told_to_be_unknown() -> None:
    verdict = check(lambda logits, p: logits + 1, "top_p")
    assert not verdict and "unknown" in repr(verdict) and verdict.first == "the logits for p = 0.9"
    verdict = check(lambda query, key, value, mask: value + 0.1 * query, "attend")
    assert not verdict and "attn.mixed" in str(verdict.first) and "unknown" in repr(verdict)


def test_what_raises_or_has_another_shape_is_told() -> None:
    def attend(query: Any, key: Any, value: Any, mask: Any) -> Any:
        return undefined  # type: ignore[name-defined]  # noqa: F821

    assert "NameError" in repr(check(attend))
    assert "shape" in repr(check(lambda queries, keys: None, "causal_mask")) or not check(
        lambda q, k: None, "causal_mask"
    )
    assert not check(lambda ids, weights, heads: {}, "bert")
    assert not check(lambda ids, weights, heads: {"nothing": ids}, "bert")


def test_names_are_read_as_meant_or_refused() -> None:
    def my_top_p(logits: Any, p: float) -> Any:
        return solutions.top_p(logits, p)

    assert check(my_top_p)
    with pytest.raises(StudyError, match="Did you mean 'attend'"):
        check(solutions.attend, "atend")
    with pytest.raises(StudyError, match="no exercise is called '<lambda>'"):
        check(lambda x: x)
    with pytest.raises(StudyError, match="function"):
        check(3)  # type: ignore[arg-type]
