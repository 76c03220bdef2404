"""Options are declared once and read in one way: each kind of value, from Python, from a shell, and in messages."""

from __future__ import annotations

import dataclasses
import enum
import math
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import pytest
import torch

from minitransformer.errors import PipelineError
from minitransformer.options import (
    ANY_CASE,
    CAPPED,
    INTERNAL,
    MOST,
    Count,
    Only,
    Option,
    Probability,
    Range,
    declared,
    documented,
    escaped,
    harmless,
    kind_of,
    read_all,
    shown,
)


class Colour(enum.Enum):
    RED = "red"
    TWO = 2


class Draws(Protocol):
    def draw(self, n: int) -> int: ...


class Pen:
    def draw(self, n: int) -> int:
        return n


Hint = Any
GOOD: list[tuple[Hint, Any, Any]] = [
    (bool, True, True),
    (bool, np.False_, False),
    (bool, torch.tensor(True), True),
    (int, 3, 3),
    (int, np.int64(3), 3),
    (int, torch.tensor(3), 3),
    (int, Colour.TWO, 2),
    (int, MOST, MOST),
    (float, 3, 3.0),
    (float, np.float32(0.5), 0.5),
    (str, "東京", "東京"),
    (str, np.str_("a"), "a"),
    (None, None, None),
    (int | None, None, None),
    (bool | int, True, True),
    (list[int], (1, np.int32(2)), [1, 2]),
    (list[int], np.array([1, 2]), [1, 2]),
    (Sequence[str], {"a": 1}.keys(), ["a"]),
    (frozenset[int], range(3), frozenset({0, 1, 2})),
    (tuple[int, str], [1, "a"], (1, "a")),
    (dict[str, int], {"a": np.int8(1)}, {"a": 1}),
    (Literal["red", "blue"], Colour.RED, "red"),
    (Annotated[Literal["red"], ANY_CASE], "RED", "red"),
    (Annotated[int, CAPPED], 10**30, MOST),
    (Annotated[float, Range(finite=False)], math.inf, math.inf),
    (list[int] | int, 3, 3),
    (Any, object, object),
]
BAD: list[tuple[Hint, Any, str]] = [
    (bool, 1, "True or False, not 1"),
    (bool, "False", "True or False, not 'False'"),
    (bool, np.int64(1), "True or False"),
    (bool, None, "True or False"),
    (int, True, "an integer, not True"),
    (int, 1.0, "an integer, not 1.0"),
    (int, "1", "an integer, not '1'"),
    (int, 2**63, "an integer of at most 64 bits"),
    (int, np.array([1]), "an integer"),
    (int, torch.zeros(1, device="meta"), "an integer"),
    (float, math.nan, "a number, not nan"),
    (float, math.inf, "a number, not inf"),
    (float, 10**400, "a number that a float can hold"),
    (float, 1j, "a number"),
    (str, b"a", "a text"),
    (str, "\ud800", "valid Unicode"),
    (str | None, "\ud800", "valid Unicode"),
    (list[str], ["a", "\udfff"], "valid Unicode"),
    (list[str], "ab", "a list of texts, not 'ab'"),
    (list[int], {1: 2}, "a list of integers"),
    (set[Any], [[]], "a list"),
    (tuple[int, int], [1], "a list of 2: an integer, an integer"),
    (dict[str, int], {"a": "b"}, "a dictionary whose values are each an integer"),
    (dict[str, Any], [], "a dictionary, not []"),
    (Literal["red", "blue"], "rde", "Did you mean 'red'?"),
    (Literal["red", "blue"], "RED", "'red' or 'blue'"),
    (Count, 0, "an integer of at least 1, not 0"),
    (Probability, 1.5, "a number from 0 to 1, not 1.5"),
    (Annotated[float, Range(above=0, below=1)], 1, "a number above 0, below 1"),
    (Annotated[float, Range(least=0, below=1)], 1, "a number from 0 to below 1"),
    (Annotated[int | None, Range(least=2)], 1, "an integer of at least 2"),
    (Annotated[list[str], Only(bool, "some texts")], [], "some texts, not []"),
    (Callable[[int], int], 3, "a function, not 3"),
    (Draws, object(), "an object with draw"),
    (Draws, Pen, "an object with draw"),
    (Pen, "x", "a Pen, not 'x'"),
]


def name_of(value: object) -> str:
    """For a test's name, which must be the same in every process: no addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


@pytest.mark.parametrize(("hint", "value", "expected"), GOOD, ids=name_of)
def test_what_an_option_takes(hint: Hint, value: Any, expected: Any) -> None:
    found = Option("x", hint).read(value, PipelineError)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(("hint", "value", "words"), BAD, ids=name_of)
def test_what_it_refuses_names_the_option_and_what_it_takes(hint: Hint, value: Any, words: str) -> None:
    with pytest.raises(PipelineError) as said:
        Option("x", hint).read(value, PipelineError, "here: ")
    assert str(said.value).startswith("here: x must be ")
    assert words in str(said.value)


def test_objects_pass_as_they_are() -> None:
    pen = Pen()
    assert Option("x", Draws).read(pen, PipelineError) is pen
    assert Option("x", Callable[[int], int] | None).read(len, PipelineError) is len


def test_a_hint_that_cannot_be_is_a_mistake_of_the_declaration() -> None:
    with pytest.raises(TypeError, match="cannot be declared"):
        kind_of("int")


@pytest.mark.parametrize(
    ("hint", "text", "expected"),
    [
        (bool, "False", False),
        (bool, "true", True),
        (int, "3", 3),
        (float, "1e-3", 1e-3),
        (str, "3", "3"),
        (str, "None", "None"),
        (str | None, "none", None),
        (list[int], "[1, 2]", [1, 2]),
        (list[str] | str, "a, b", "a, b"),
        (dict[str, int], '{"a": 1}', {"a": 1}),
    ],
)
def test_what_a_shell_says(hint: Hint, text: str, expected: Any) -> None:
    assert Option("x", hint).from_text(text, PipelineError) == expected


@pytest.mark.parametrize(
    ("hint", "text"), [(bool, "no"), (bool, "0"), (int, "3.5"), (int, "1" * 5000), (bool, "[" * 9999)]
)
def test_what_a_shell_says_wrongly(hint: Hint, text: str) -> None:
    with pytest.raises(PipelineError, match="x must be"):
        Option("x", hint).from_text(text, PipelineError)


def rank(
    first: str,
    *,
    top_k: Annotated[Count, "how many"] = 5,
    joint: bool = False,
    secret: Annotated[int, INTERNAL] = 0,
) -> None:
    """Rank.

    Args:
        first: is no option.
        joint: whether all are
            looked at together.
    """


@dataclasses.dataclass
class Settings:
    """Settings.

    Attributes:
        rate: of learning.
    """

    rate: float = 0.1
    names: list[str] = dataclasses.field(default_factory=list)


def test_options_are_declared_where_they_are_used() -> None:
    table = declared(rank)
    assert list(table) == ["top_k", "joint", "secret"]
    assert (table["top_k"].default, table["top_k"].doc) == (5, "how many")
    assert table["joint"].schema() == {
        "type": "boolean",
        "description": "whether all are looked at together.",
        "default": False,
    }
    assert table["top_k"].schema() == {"type": "integer", "minimum": 1, "description": "how many", "default": 5}
    assert declared(Settings)["rate"].doc == "of learning."
    assert declared(Settings)["names"].default == []
    assert documented(None) == {}


def test_many_are_read_at_once() -> None:
    table = declared(rank)
    assert read_all({"top_k": 3, "joint": True}, table, PipelineError, owner="rank") == {"top_k": 3, "joint": True}
    for name in ("topk", "secret", 5, ("a",)):
        with pytest.raises(PipelineError, match="rank has no option") as said:
            read_all({name: 1}, table, PipelineError, owner="rank")
        assert "secret" not in str(said.value).partition("It has: ")[2]


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "value", ["x" * 10**6, 10**5000, [[[[[[1]]]]]] * 99, {str(i): i for i in range(99)}, Broken()], ids="abcde"
)
def test_what_a_message_shows_is_short(value: Any) -> None:
    assert len(shown(value)) < 700
    assert "\n" not in shown(value)


def test_nothing_that_is_shown_steers_a_terminal() -> None:
    assert harmless("a\x1b[31m\u202eb\tc") == "a\\u001b[31m\\u202eb\tc"
    assert escaped("\U0001f642") == "\\ud83d\\ude42"
