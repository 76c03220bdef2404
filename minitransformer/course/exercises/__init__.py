"""All exercises, by name, in the order of the lessons."""

from __future__ import annotations

from minitransformer.course.exercises import attention, inside, llama, words
from minitransformer.course.exercises.base import Exercise, Part

EXERCISES: dict[str, Exercise] = {
    one.name: one
    for one in sorted((*attention.ALL, *inside.ALL, *words.ALL, llama.ROTATION), key=lambda one: one.lesson)
}

__all__ = ["EXERCISES", "Exercise", "Part"]
