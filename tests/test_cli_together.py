"""``torchrun -m minitransformer run``: several processes answer a file, and nobody can tell from the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_folders
from processes import torchrun
from typer.testing import CliRunner

from minitransformer.cli import app, shares
from minitransformer.errors import PipelineError

NOUNS = "paris france cat attention query key transformer capital".split()


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folders.bert(tmp_path_factory.mktemp("bert")))


def write(path: Path, count: int) -> Path:
    lines = [f"{' the'.join(NOUNS[: i % 7])} is the [MASK] of {NOUNS[i % 8]} ." for i in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(("batch_size", "count"), [(1, 23), (4, 2 * shares.ROUND + 27)])  # one round, and two
def test_the_answers_are_those_of_one_process(batch_size: int, count: int, bert: str, tmp_path: Path) -> None:
    file = write(tmp_path / "texts.txt", count)
    words = ["run", "fill-mask", "-f", str(file), "-m", bert, "-o", "top_k=2", "--batch-size", str(batch_size)]
    alone = CliRunner().invoke(app, [*words, "--device", "cpu"])
    assert alone.exit_code == 0 and len(alone.stdout.splitlines()) == count
    together = torchrun(*words, "--device", "cpu", "--output", "answers.jsonl", folder=tmp_path)
    assert together.returncode == 0, together.stderr
    assert together.stdout == ""
    assert (tmp_path / "answers.jsonl").read_text() == alone.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "texts.txt"]


def test_an_input_that_cannot_be_answered_stops_all(bert: str, tmp_path: Path) -> None:
    file = write(tmp_path / "texts.txt", 6)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:3], "no mask here", *lines[3:]]))
    # one at a time, so that the text without a mask, the fourth, is for process 1
    words = ("run", "fill-mask", "-f", str(file), "-m", bert, "--device", "cpu", "--batch-size", "1")
    done = torchrun(*words, folder=tmp_path)
    assert done.returncode != 0
    assert "error: process 1, in its share of the inputs" in done.stderr and "mask" in done.stderr
    assert len(done.stdout.splitlines()) == 3  # what comes before it


def test_standard_input_cannot_be_shared(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = CliRunner().invoke(app, ["run", "fill-mask", "-m", bert], input="a [MASK]")
    assert result.exit_code == 2 and "cannot share" in result.stderr


# ------------------------------------------------------------------------------------------------- without processes


class FakePipe:
    """Doubles numbers; cannot answer 13."""

    device = None

    def __call__(self, inputs: Iterator[int]) -> Iterator[int]:
        for number in inputs:
            if number == 13:
                raise PipelineError("13 is unlucky")
            yield 2 * number


def simulate(monkeypatch: pytest.MonkeyPatch, numbers: list[int], world: int, size: int) -> tuple[list[str], int, Any]:
    """What process 0 emits if all processes take part, round by round; how many rounds; the failure."""
    emitted: list[str] = []
    rounds = 0
    blocks = shares._blocks(iter(numbers), size)
    monkeypatch.setattr(shares, "world_size", lambda: world)
    monkeypatch.setattr(shares, "rank", lambda: 0)
    per_round = -(-shares.ROUND // size) * world
    dealt_out = list(blocks)
    for start in range(0, len(dealt_out), per_round):
        dealt = dealt_out[start : start + per_round]
        rounds += 1
        parts = [
            shares._answer(FakePipe(), [x for block in dealt[rank::world] for x in block], json.dumps)
            for rank in range(world)
        ]

        def gather(own: Any, into: list[Any], dst: int, parts: Any = parts) -> None:
            into[:] = parts

        monkeypatch.setattr(shares.dist, "gather_object", gather)
        monkeypatch.setattr(shares, "from_first", lambda value: value)
        failure = shares._meet(*parts[0], [len(block) for block in dealt], emitted.append)
        if failure is not None:
            return emitted, rounds, failure
    return emitted, rounds, None


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 12, 100])
def test_answers_come_in_order(monkeypatch: pytest.MonkeyPatch, world: int, size: int, count: int) -> None:
    monkeypatch.setattr(shares, "ROUND", 8)
    numbers = [x for x in range(count + 1) if x != 13][:count]
    emitted, rounds, failure = simulate(monkeypatch, numbers, world, size)
    assert emitted == [str(2 * x) for x in numbers] and failure is None
    assert rounds == -(-len(numbers) // (-(-8 // size) * world * size))


def test_what_comes_before_a_failure_is_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    emitted, _, failure = simulate(monkeypatch, list(range(20)), 2, 1)
    assert emitted == [str(2 * x) for x in range(13)]
    assert failure is not None and "13 is unlucky" in failure
