"""A run that was interrupted ends where the uninterrupted one does, bit for bit."""

from __future__ import annotations

import json
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from training import killed_writer
from training.toy_run import NextToken, run_python, start, toy_trainer, weights

from minitransformer.errors import TrainingError
from minitransformer.models.gpt2 import GPT2LMHeadModel
from minitransformer.training import checkpoints

pytestmark = pytest.mark.usefixtures("no_pictures")

RUN = {"steps": 14, "save_every": 4, "evaluate_every": 5, "dropout": 0.1, "log_every": 3}
TIMES = ("seconds", "tokens_per_second")


def timeless(rows):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    trainer = toy_trainer(folder, NextToken(noise=0.1), **RUN)
    history = trainer.train()
    return folder, history, weights(trainer.model)


def assert_ends_alike(folder, trainer, history, uninterrupted):
    expected_folder, expected, expected_weights = uninterrupted
    assert timeless(history.rows) == timeless(expected.rows)
    assert (history.best, history.best_step, history.step) == (expected.best, expected.best_step, expected.step)
    ours = weights(trainer.model)
    assert ours.keys() == expected_weights.keys()
    assert all(torch.equal(ours[name], expected_weights[name]) for name in ours)
    for name in ("best", "final"):
        saved = (folder / name / "model.safetensors").read_bytes()
        assert saved == (expected_folder / name / "model.safetensors").read_bytes()


def test_a_process_killed_in_mid_run(tmp_path, uninterrupted):
    killed = start(runs=[{"folder": str(tmp_path), "options": RUN, "kill_at": 11}])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in checkpoints.Checkpoints(tmp_path / "checkpoints").finished()] == ["step-000008"]

    trainer = toy_trainer(tmp_path, NextToken(noise=0.1), **RUN)
    assert_ends_alike(tmp_path, trainer, trainer.train(), uninterrupted)


@pytest.mark.parametrize(("what", "least"), [("checkpoint", 8), ("model", 4)])
def test_a_process_killed_at_every_moment_of_writing(tmp_path, what, least):
    """By the system, before each thing that it asks of the disk: what is there is whole, the old or the new."""
    done = run_python(killed_writer.__file__, what, str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) > least  # moments
    assert found[0] == [1] and found[-1] == [2]
    assert all(steps in ([1], [2]) or (what == "checkpoint" and steps == [1, 2]) for steps in found)
    assert found == sorted(found, key=max)  # and never the old again once the new is there


@pytest.mark.parametrize("moment", ["tensors", "state", "rename", "removal"])
def test_a_process_killed_while_it_writes_a_checkpoint(tmp_path, uninterrupted, monkeypatch, moment):
    class Killed(BaseException):
        """As abrupt as a test can be without losing its own process."""

    def killed(*_args, **_kwargs):
        raise Killed

    def second_time(module, name, action):
        original, calls = getattr(module, name), []

        def function(*args, **kwargs):
            calls.append(1)
            return original(*args, **kwargs) if len(calls) == 1 else action(original, *args, **kwargs)

        monkeypatch.setattr(module, name, function)

    def half(original, folder, tensors):
        original(folder, dict(list(tensors.items())[: len(tensors) // 2]))
        raise Killed

    if moment == "tensors":
        second_time(checkpoints, "write_tensors", half)
    elif moment == "state":
        second_time(checkpoints, "write_whole", killed)
    elif moment == "rename":
        monkeypatch.setattr(checkpoints, "os", SimpleNamespace(**vars(os)))  # the writer of files has its own
        second_time(checkpoints.os, "replace", killed)
    else:
        monkeypatch.setattr(checkpoints.shutil, "rmtree", killed)
    with pytest.raises(Killed):
        toy_trainer(tmp_path, NextToken(noise=0.1), **RUN).train()
    monkeypatch.undo()

    expected = "step-000008" if moment == "removal" else "step-000004"
    assert [path.name for path in checkpoints.Checkpoints(tmp_path / "checkpoints").finished()] == [expected]
    trainer = toy_trainer(tmp_path, NextToken(noise=0.1), **RUN)
    assert_ends_alike(tmp_path, trainer, trainer.train(), uninterrupted)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000014"]


def test_a_run_that_is_cut_into_pieces_by_the_clock(tmp_path):
    run = {"steps": 3, "dropout": 0.1, "evaluate_every": 2, "log_every": 2}
    whole = toy_trainer(tmp_path / "whole", NextToken(noise=0.1), **run)
    expected = (tmp_path / "whole", whole.train(), weights(whole.model))

    pieces = tmp_path / "pieces"
    for done in (1, 2):
        history = toy_trainer(pieces, NextToken(noise=0.1), **run, minutes=1e-9).train()
        assert (history.stopped, history.step) == ("minutes", done)
        assert not (pieces / "final").exists()
    trainer = toy_trainer(pieces, NextToken(noise=0.1), **run, minutes=1e-9)
    assert_ends_alike(pieces, trainer, trainer.train(), expected)


def test_a_finished_run_only_gives_its_result(uninterrupted):
    folder, history, expected = uninterrupted
    trainer = toy_trainer(folder, NextToken(fail_at=1), **RUN)
    assert trainer.train().rows == history.rows
    assert all(torch.equal(parameter, expected[name]) for name, parameter in trainer.model.named_parameters())
    assert not trainer.model.training


def test_models_are_in_the_hubs_format(uninterrupted):
    folder, _, expected = uninterrupted
    model = GPT2LMHeadModel.from_pretrained(folder / "final")
    assert all(torch.equal(parameter, expected[name]) for name, parameter in model.named_parameters())
    assert model.head.output.weight is model.backbone.embeddings.word.weight


def test_another_run_in_the_same_folder(tmp_path):
    toy_trainer(tmp_path, steps=2).train()
    with pytest.raises(TrainingError, match=r"another run: settings.learning_rate was 0.01 and is 0.5 now"):
        toy_trainer(tmp_path, steps=2, learning_rate=0.5).train()
    trainer = toy_trainer(tmp_path, steps=2)
    trainer.identity["config"] = {"hidden_size": 16}
    with pytest.raises(TrainingError, match=r"config was None and is \{'hidden_size': 16\} now"):
        trainer.train()
    trainer = toy_trainer(tmp_path, steps=2)
    trainer.examples.append({"input_ids": [1]})
    with pytest.raises(TrainingError, match=r"examples.number was 120 and is 121 now"):
        remade = type(trainer)(trainer.model, NextToken(), trainer.examples, trainer.settings, tmp_path, device="cpu")
        remade.train()
    toy_trainer(tmp_path, steps=2, minutes=5.0, keep=3, log_every=7, save_every=1).train()  # none of these matter
