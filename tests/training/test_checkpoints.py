"""Checkpoints are whole or not there, and say what a disk refused."""

from __future__ import annotations

import errno
import os
import pickle
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from training.toy_run import NextToken, tiny_model, toy_trainer

from minitransformer.errors import TrainingError
from minitransformer.training import checkpoints, logs, tensor_files
from minitransformer.training.checkpoints import Checkpoints, load, read_state, size_in_bytes, training_tensors
from minitransformer.training.optimizer import make_optimizer
from minitransformer.training.settings import Settings
from minitransformer.training.tensor_files import BOXES

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def tensors():
    return {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(1.5, dtype=torch.float64), "c": torch.tensor([1, 2])}


def full_disk(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_round_trip(tmp_path, tensors):
    path = Checkpoints(tmp_path).save(3, tensors, {"history": {"loss": 0.1}})
    read = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    load(path, read)
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert read_state(path) == {"history": {"loss": 0.1}}


def test_the_last_ones_are_kept(tmp_path, tensors):
    kept = Checkpoints(tmp_path, keep=2)
    for step in (5, 999_999, 1_000_000):
        kept.save(step, tensors, {})
    assert [path.name for path in kept.finished()] == ["step-999999", "step-1000000"]
    assert kept.latest() == tmp_path / "step-1000000"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_others_put_among_checkpoints_stays_and_is_none(tmp_path, tensors):
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(1, tensors, {})
    foreign = ["step-", "step-x1", "step-1.0", "step-99999999999999999999", "step--2", "step-x.part", "notes.part", "a"]
    for name in foreign:
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text("{}")
    (tmp_path / "step-000007").mkdir()  # no checkpoint yet
    (tmp_path / "step-000009").write_text("a file")
    (tmp_path / "step-000003.part").mkdir()  # ours, of a process that was killed
    (tmp_path / "step-000004.part").write_text("a file")
    kept.clean()
    assert kept.latest() == tmp_path / "step-000001"
    kept.save(2, tensors, {})
    assert {path.name for path in tmp_path.iterdir()} == {*foreign, "step-000002", "step-000007", "step-000009"}


def test_a_shared_weight_is_written_once():
    model = tiny_model()
    optimizer = make_optimizer(model.named_parameters(), Settings(steps=1))
    names = training_tensors(model, optimizer)
    assert "model.backbone.embeddings.word.weight" in names
    assert "model.head.output.weight" not in names
    assert {name.split(".")[1] for name in names if name.startswith("optimizer.")} == {"step", "exp_avg", "exp_avg_sq"}


def test_buffers_that_change_are_kept():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.register_buffer("table", torch.zeros(3), persistent=False)
    names = training_tensors(model, make_optimizer(model.named_parameters(), Settings(steps=1)))
    assert "model.1.running_mean" in names
    assert "model.table" not in names


@pytest.mark.parametrize("what", ["tensors", "state"])
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, tensors, monkeypatch, what):
    kept = Checkpoints(tmp_path)
    good = kept.save(1, tensors, {"step": 1})
    if what == "tensors":
        monkeypatch.setattr(tensor_files, "save_file", full_disk)
    else:
        monkeypatch.setattr(checkpoints, "write_whole", full_disk)
    needed = size_in_bytes(tensors)
    assert needed == 6 * 4 + 8 + 2 * 8
    with pytest.raises(TrainingError, match=rf"{re.escape(str(tmp_path))} .*No space left.* {needed} bytes"):
        kept.save(2, tensors, {"step": 2})
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [good]
    load(good, {name: torch.zeros_like(tensor) for name, tensor in tensors.items()})


def test_training_stops_when_the_disk_is_full_and_can_go_on(tmp_path, monkeypatch):
    class FillsDisk(NextToken):
        def loss(self, model, batch, counts):
            if self.step == 3:
                monkeypatch.setattr(tensor_files, "save_file", full_disk)
            return super().loss(model, batch, counts)

    with pytest.raises(TrainingError, match=r"No space left .* make room and start again"):
        toy_trainer(tmp_path, FillsDisk(), steps=6, save_every=2).train()
    monkeypatch.undo()
    assert Checkpoints(tmp_path / "checkpoints").latest().name == "step-000002"
    assert toy_trainer(tmp_path, steps=6, save_every=2).train().stopped == "finished"


def test_a_write_that_the_system_stops_half_way(tmp_path):
    """No stand-in: the system allows files of 100,000 bytes, and a checkpoint needs 200,000."""
    resource = pytest.importorskip("resource")
    kept = Checkpoints(tmp_path)
    tensors = {"a": torch.arange(50_000.0)}
    good = kept.save(1, tensors, {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(TrainingError, match=r"could not be written .*File too large"):
            kept.save(2, {"a": torch.zeros(50_000)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [good]
    read = {"a": torch.zeros(50_000)}
    load(good, read)
    assert torch.equal(read["a"], tensors["a"])


class Board:
    """TensorBoard's writer on a disk that is full when ``moment`` comes."""

    def __init__(self, moment):
        self.moment = moment

    def add_scalar(self, *_):
        if self.moment == "line":
            full_disk()

    def flush(self):
        pass

    def close(self):
        if self.moment == "end":
            full_disk()


@pytest.mark.parametrize("moment", ["line", "end", "picture"])
def test_a_disk_that_is_full_for_the_log(tmp_path, monkeypatch, moment):
    monkeypatch.setattr(logs, "_tensorboard", lambda *_: Board(moment))
    if moment == "picture":
        monkeypatch.setattr(logs, "draw_curve", full_disk)
    with pytest.raises(TrainingError, match=rf"{re.escape(str(tmp_path))} could not be written .*No space left"):
        toy_trainer(tmp_path, steps=1).train()


def test_the_first_error_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "_tensorboard", lambda *_: Board("end"))
    with pytest.raises(InterruptedError):
        toy_trainer(tmp_path, NextToken(fail_at=1), steps=1).train()


def test_a_model_that_cannot_be_written(tmp_path, monkeypatch):
    trainer = toy_trainer(tmp_path, steps=1)
    monkeypatch.setattr(type(trainer.model), "save_pretrained", full_disk)
    with pytest.raises(TrainingError, match=rf"{re.escape(str(tmp_path / 'best'))} could not be written .*No space"):
        trainer.train()


def test_too_little_room_is_noticed_before_the_training(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(TrainingError, match=r"1,000 bytes free, but 2 checkpoints .* take \d+,\d+: make room"):
        toy_trainer(tmp_path, NextToken(fail_at=1), steps=1).train()


def test_damaged_checkpoints_are_named(tmp_path, tensors):
    path = Checkpoints(tmp_path).save(1, tensors, {})
    (path / checkpoints.STATE).write_text("{")
    with pytest.raises(TrainingError, match=r"state\.json is damaged"):
        read_state(path)
    (data,) = path.glob("*.safetensors")
    whole = data.read_bytes()
    for size in (0, 7, 100, len(whole) - 1):
        data.write_bytes(whole[:size])
        with pytest.raises(TrainingError, match=rf"{re.escape(str(path))} cannot be read"):
            load(path, tensors)
    data.unlink()
    with pytest.raises(TrainingError, match=rf"{re.escape(str(path))} cannot be read \(it holds no tensors\)"):
        load(path, tensors)


def test_a_tensor_that_is_missing(tmp_path, tensors):
    path = Checkpoints(tmp_path).save(1, tensors, {})
    for name, tensor, reason in (
        ("unknown", torch.zeros(2), "it has no tensor unknown"),
        ("a", torch.zeros(3, 2), r"a is of shape \(2, 3\), not \(3, 2\)"),
        ("a", torch.zeros(6), r"a is of shape \(2, 3\), not \(6,\)"),
        ("b", torch.tensor(0.0), "b is of type torch.float64, not torch.float32"),
    ):
        with pytest.raises(TrainingError, match=f"cannot be read .*{reason}"):
            load(path, {**tensors, name: tensor})


@pytest.mark.parametrize(
    "head",
    [
        "{",
        "[]",
        "{}",
        '{"a": 3}',
        '{"a": {"whole": [2, 3], "begin": [0]}}',
        '{"a": {"whole": [2], "begin": [-1]}}',
    ],
)
def test_files_of_somebody_else_are_no_checkpoint(tmp_path, tensors, head):
    path = Checkpoints(tmp_path).save(1, tensors, {})
    (data,) = path.glob("*.safetensors")
    for metadata in ({BOXES: head}, {"format": "pt"}, None):
        save_file({"a": tensors["a"]}, data, metadata=metadata)
        with pytest.raises(TrainingError, match=r"cannot be read \(tensors-00000.safetensors "):
            load(path, {"a": tensors["a"]})


def test_a_part_that_is_missing(tmp_path, tensors):
    path = Checkpoints(tmp_path).save(1, {"a": torch.zeros(4, 3)}, {})
    (data,) = path.glob("*.safetensors")
    head = '{"a": {"whole": [4, 3], "begin": [2, 0]}}'
    save_file({"a": torch.ones(2, 3)}, data, metadata={BOXES: head})  # what a second process wrote
    with pytest.raises(TrainingError, match="a part of a is not there"):
        load(path, {"a": torch.zeros(4, 3)})


def test_nothing_is_pickled(tmp_path, tensors, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("something was pickled")

    for module, name in ((pickle, "dump"), (pickle, "dumps"), (pickle, "load"), (pickle, "loads"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    path = Checkpoints(tmp_path).save(1, tensors, {})
    load(path, {name: torch.zeros_like(tensor) for name, tensor in tensors.items()})
    (data,) = path.glob("*.safetensors")
    assert {*load_file(data)} == {*tensors} and len(list(path.iterdir())) == 2
