"""The conformance kit: right parts pass, and each wrong one fails the check that names what is wrong."""

from __future__ import annotations

import copy

import pytest
import torch
from extending.wrong_parts import WRONG, Forgets, OffByOne, WithoutTaps
from torch import nn

from minitransformer import register_part
from minitransformer.layers import FeedForward, GatedFeedForward, MultiHeadAttention, like
from minitransformer.models.common import parts
from minitransformer.parity.conformance import CHECKS, NEEDS
from minitransformer.testing import PartError, check_part


@pytest.mark.parametrize(("check", "part"), WRONG, ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_part_fails_exactly_the_check_that_names_it(check, part):
    with pytest.raises(PartError) as caught:
        check_part(part)
    assert list(caught.value.failed) == [check]
    assert f"{check}  " in str(caught.value) and caught.value.failed[check]


def test_every_check_is_failed_by_a_wrong_part():
    names = [check.__name__.replace("_", " ") for check in CHECKS]
    assert names == list(NEEDS) and set(names) == {name for name, _ in WRONG} and len(names) >= 12
    for name, needs in NEEDS.items():
        assert set(needs) <= set(names[: names.index(name)])


@pytest.mark.parametrize(
    "part", [MultiHeadAttention, MultiHeadAttention(8, 4), FeedForward, nn.Linear, like(GatedFeedForward)]
)
def test_the_librarys_own_parts_pass(part):
    report = check_part(part)
    assert not report.failed and {one.state for one in report.results if one.check != "cache"} == {"passed"}
    assert not any("checked" in name for name in parts.PARTS)


def test_taps_may_be_declared_absent():
    class Declares(WithoutTaps):
        without_taps = ("q", "k", "v", "raw_scores", "scores", "pattern", "mixed", "out")

    assert not check_part(Declares).failed and not check_part(WithoutTaps, without_taps=Declares.without_taps).failed


def test_what_needs_a_failed_check_is_not_run():
    with pytest.raises(PartError) as caught:
        check_part(OffByOne)
    states = {one.check: one.state for one in caught.value.report.results}
    assert states["cache"] == states["generate"] == "not run" and states["gradients"] == states["saved"] == "passed"


def test_the_kind_is_told_by_what_forward_takes_or_said():
    assert "as layer" in check_part(lambda old: copy.deepcopy(old) if isinstance(old, nn.Linear) else None).part
    for what in (3, "attention", lambda old: 3):
        with pytest.raises(TypeError):
            check_part(what)
    with pytest.raises(TypeError, match="cannot be made as feed-forward"):
        check_part(Forgets, kind="feed-forward")


def test_the_checks_leave_random_numbers_and_registers_as_they_were(monkeypatch):
    monkeypatch.setattr(parts, "PARTS", {})
    register_part("mine", Plain)
    before = torch.random.get_rng_state()
    check_part(Plain)
    assert torch.equal(torch.random.get_rng_state(), before) and list(parts.PARTS) == ["mine"]


class Plain(FeedForward):
    """The usual one under another name."""
