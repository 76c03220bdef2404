"""The course: lessons that are run, and exercises that are checked to the first wrong operation. A guest.

::

    from minitransformer.course import check

    print(check(my_attend))  # right; or the first wrong operation, and its likely cause
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minitransformer.course.checking import Verdict, check
    from minitransformer.course.exercises import EXERCISES, Exercise
    from minitransformer.course.pages import Lesson, lessons

WHERE = {"Verdict": "checking", "check": "checking", "EXERCISES": "exercises", "Exercise": "exercises"} | {
    "Lesson": "pages",
    "lessons": "pages",
}

__all__ = ["EXERCISES", "Exercise", "Lesson", "Verdict", "check", "lessons"]


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{WHERE[name]}"), name)
