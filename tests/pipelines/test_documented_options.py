"""The options that docs/pipelines.md and the docstrings name are those that the pipelines take, and no others."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from minitransformer.pipelines.options import STEPS
from minitransformer.pipelines.tasks import TASKS, find_class

PAGE = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##)", PAGE, re.M | re.S))  # heading -> text
INTERNAL = {  # what `translate` makes of others, by task
    "fill-mask": {"target_ids", "target_words"},
    "text-classification": {"ranked"},
}


def own_options(task: str) -> set[str]:
    """The options that the steps of a task name in their signatures, and the old names."""
    kind = find_class(task)
    names = set(kind.old_names)
    for step in STEPS:
        names |= kind.step_options(step) - kind.open_options.get(step, frozenset())
    return names - INTERNAL.get(task, set())


def documented(task: str) -> set[str]:
    """The names in the first column of a task's table."""
    text = next(text for heading, text in SECTIONS.items() if task in heading.split(", "))
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in re.findall(r"`(\w+)(?:=[^`]*)?`", cell)}


def described(task: str) -> set[str]:
    """The names under "Options:" in the docstrings of a task's class and those above it."""
    names: set[str] = set()
    for kind in find_class(task).__mro__:
        block = re.search(r"Options:\n(.*?)(?:\n\n|\Z)", inspect.cleandoc(kind.__doc__ or ""), re.S)
        for line in block[1].splitlines() if block else ():
            heads = re.match(r" {4}([a-z]\w*(?:, [a-z]\w*)*):", line)
            names |= {*heads[1].split(", ")} if heads else set()
    return names


@pytest.mark.parametrize("task", TASKS)
def test_the_page_names_every_option_and_no_other(task: str) -> None:
    """What `generate` and the tokenizer take is told in a line of its own, and may be named."""
    missing = own_options(task) - documented(task)
    assert not missing, f"docs/pipelines.md lacks options of {task}: {sorted(missing)}"
    shared = {"src_lang", "tgt_lang"} if "translation" not in task else set()  # one table for three tasks
    unknown = documented(task) - find_class(task).known_options() - shared
    assert not unknown, f"docs/pipelines.md has options that {task} does not take: {sorted(unknown)}"


@pytest.mark.parametrize("task", TASKS)
def test_docstrings_name_options_that_there_are(task: str) -> None:
    unknown = described(task) - find_class(task).known_options()
    assert not unknown, f"docstrings have options that {task} does not take: {sorted(unknown)}"
    old = {"topk", "return_text", "return_type"}  # told in prose, or on the page only
    assert not (missing := own_options(task) - described(task) - old), f"docstrings of {task} lack {sorted(missing)}"


def test_what_all_tasks_take_is_on_the_page() -> None:
    general = PAGE.split("## The tasks")[0]
    for task in TASKS:
        everywhere = find_class(task).known_options() - own_options(task)
        assert "num_workers" in everywhere and "`num_workers`" in general
