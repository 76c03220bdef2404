"""The same training on one process and on two, with copies (DDP) and with shares (FSDP2) of the model."""

from __future__ import annotations

import csv
import os

import pytest
import torch
from training.toy_run import NextToken, start, toy_trainer, weights

from minitransformer.errors import TrainingError
from minitransformer.models.gpt2 import GPT2LMHeadModel

pytestmark = pytest.mark.usefixtures("no_pictures")

RUN = {"steps": 6, "save_every": 2, "evaluate_every": 3, "precision": "float64"}


def numbers(folder):
    with (folder / "log.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = ("step", "loss", "gradient_norm", "valid_loss")
    return [float(row[name]) for row in rows for name in names if row[name]]


def assert_same_model(folder, expected):
    found = weights(GPT2LMHeadModel.from_pretrained(folder / "final", dtype="auto"))
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-8)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    trainer = toy_trainer(folder, NextToken(noise=0.1), **RUN)
    trainer.train()
    return numbers(folder), weights(trainer.model)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What two processes do, in one start of torchrun, because starting takes most of the time."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("copies", "shares", "resumed")}
    with pytest.raises(InterruptedError):
        toy_trainer(folders["resumed"], NextToken(noise=0.1, fail_at=4), **RUN).train()
    shared = {**RUN, "parallel": "fsdp"}
    runs = [
        {"folder": str(folders["copies"]), "options": {**RUN, "accumulate": 2}},
        {"folder": str(folders["shares"]), "options": shared, "fail_at": 4},
        {"folder": str(folders["resumed"]), "options": {**shared, "gradient_checkpointing": True}},
    ]
    done = start("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", runs=runs)
    assert done.returncode == 0, done.stderr
    return folders


def test_two_copies(together, alone):
    assert numbers(together["copies"]) == pytest.approx(alone[0], abs=1e-10)
    assert_same_model(together["copies"], alone[1])


def test_shares_of_two_processes_resume_on_one(together, alone):
    folder = together["shares"]
    before = numbers(folder)
    assert before == pytest.approx(alone[0][: len(before)], abs=1e-10)
    assert len(before) == 10  # three steps
    checkpoint = folder / "checkpoints" / "step-000002"
    assert len(list(checkpoint.glob("*.safetensors"))) == 2  # each process wrote its share

    toy_trainer(folder, NextToken(noise=0.1), **RUN).train()
    assert numbers(folder) == pytest.approx(alone[0], abs=1e-8)
    assert_same_model(folder, alone[1])


def test_one_process_resumes_on_two_shares(together, alone):
    assert numbers(together["resumed"]) == pytest.approx(alone[0], abs=1e-8)
    assert_same_model(together["resumed"], alone[1])


def test_a_number_of_processes_that_does_not_divide_the_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(TrainingError, match=r"batch_size 8 cannot be split evenly over 3 \(processes x accumulate\)"):
        toy_trainer(tmp_path, steps=1)
    assert not os.listdir(tmp_path)
