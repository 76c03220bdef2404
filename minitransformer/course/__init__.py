"""The course: lessons that are run, and exercises that are checked to the first wrong operation. A guest.

::

    from minitransformer.course import check

    print(check(my_attend))  # right; or the first wrong operation, and its likely cause
"""

from __future__ import annotations

from minitransformer.course.checking import Verdict, check
from minitransformer.course.exercises import EXERCISES, Exercise
from minitransformer.course.pages import Lesson, lessons

__all__ = ["EXERCISES", "Exercise", "Lesson", "Verdict", "check", "lessons"]
