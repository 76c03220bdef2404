"""Checkpoints that torch.distributed.checkpoint wrote are read as data: the same tensors, and no code."""

from __future__ import annotations

import enum
import io
import os
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint import FileSystemWriter, state_dict_saver
from torch.distributed.checkpoint.metadata import BytesStorageMetadata

from minitransformer.errors import TrainingError
from minitransformer.training.checkpoints import load
from minitransformer.training.old_checkpoints import METADATA

TWO_PROCESSES = Path(__file__).parent / "fixtures" / "two-processes"  # by Python 3.11.2, see write_two_processes.py


@pytest.fixture
def tensors():
    made = {"matrix": torch.arange(6.0).view(2, 3), "number": torch.tensor(1.5, dtype=torch.float64)}
    made |= {"ids": torch.tensor([1, 2]), "yes": torch.tensor([True, False]), "nothing": torch.zeros(3, 0)}
    return made | {"small": torch.randn(4, 5).bfloat16(), "view": torch.arange(12.0).view(3, 4).T[1:]}


@pytest.fixture
def old(tmp_path, tensors):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state_dict_saver.save(tensors, storage_writer=FileSystemWriter(tmp_path / "old"), no_dist=True)
    return tmp_path / "old"


def assert_read(path, tensors):
    read = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    load(path, read)
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor), name


def rewrite(path: Path, change=lambda metadata: None, pickler=pickle.Pickler) -> None:
    """Change a description as somebody else might."""
    metadata = pickle.loads((path / METADATA).read_bytes())
    change(metadata)
    buffer = io.BytesIO()
    pickler(buffer, 4).dump(metadata)
    (path / METADATA).write_bytes(buffer.getvalue())


def test_one_process_wrote_it(old, tensors):
    assert_read(old, tensors)


def test_two_processes_wrote_it():
    assert_read(TWO_PROCESSES, {"shares": torch.arange(35.0).view(7, 5), "copies": torch.arange(4)})


class EnumsAsGetattr(pickle.Pickler):
    """As Python 3.11.0 to 3.11.3 do."""

    def reducer_override(self, thing):
        return (getattr, (type(thing), thing.name)) if isinstance(thing, enum.Enum) else NotImplemented


def test_enumerations_of_python_3_11_0_to_3_11_3(old, tensors):
    rewrite(old, pickler=EnumsAsGetattr)
    assert b"getattr" in (old / METADATA).read_bytes()
    assert_read(old, tensors)


class Harmful:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def dotted_system(path):
    """The way that once led from a list of allowed names to the shell."""
    return Harmful(getattr(torch, "_import_dotted_name"), ("os.mkdir",))  # noqa: B009


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda path: Harmful(os.mkdir, (path,)), "(posix|nt).mkdir"),
        (dotted_system, "torch._utils._import_dotted_name"),
        (lambda path: Harmful(eval, (f"__import__('os').mkdir({path!r})",)), "builtins.eval"),
        (lambda path: Harmful(exec, ("1",), {"a": 1}), "builtins.exec"),
        (lambda path: Harmful(getattr, (Harmful(__import__, ("os",)), "mkdir")), "builtins.__import__"),
    ],
)
def test_a_description_that_wants_to_run_code(old, tensors, tmp_path, harm, named):
    path = str(tmp_path / "harm-was-done")
    (old / METADATA).write_bytes(pickle.dumps(harm(path)))
    with pytest.raises(TrainingError, match=rf"asks for {named}, which describes no tensor"):
        load(old, tensors)

    class Inside(pickle.Pickler):
        def reducer_override(self, thing):
            return harm(path).__reduce__() if isinstance(thing, torch.Size) else NotImplemented

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state_dict_saver.save({"a": torch.zeros(2)}, storage_writer=FileSystemWriter(old), no_dist=True)
    rewrite(old, pickler=Inside)
    with pytest.raises(TrainingError, match=rf"asks for {named}"):
        load(old, {"a": torch.zeros(2)})
    assert not Path(path).exists()


def test_names_that_are_allowed_are_not_called(old, tensors):
    (old / METADATA).write_bytes(pickle.dumps(Harmful(getattr, (torch.float32, "is_floating_point"))))
    with pytest.raises(TrainingError, match="is no list of tensors"):
        load(old, tensors)


def test_a_tensor_that_wants_to_run_code(old, tmp_path):
    path = str(tmp_path / "harm-was-done")
    buffer = io.BytesIO()
    torch.save(Harmful(os.mkdir, (path,)), buffer)

    def change(metadata):
        (info,) = (i for k, i in metadata.storage_data.items() if k.fqn == "ids")
        info.offset, info.length = 0, len(buffer.getvalue())

    rewrite(old, change)
    (data,) = old.glob("*.distcp")
    data.write_bytes(buffer.getvalue())
    with pytest.raises(TrainingError, match="cannot be read"):
        load(old, {"ids": torch.zeros(2, dtype=torch.int64)})
    assert not Path(path).exists()


def test_files_outside_of_the_folder_are_not_read(old, tensors):
    (data,) = old.glob("*.distcp")
    data.rename(old.parent / "elsewhere")
    for elsewhere in ("../elsewhere", str(old.parent / "elsewhere"), "..", ""):

        def change(metadata, to=elsewhere):
            for info in metadata.storage_data.values():
                info.relative_path = to

        rewrite(old, change)
        with pytest.raises(TrainingError, match="which is no file of this folder|cannot be read"):
            load(old, tensors)


def test_what_is_no_tensor_is_named(old, tensors):
    rewrite(old, lambda metadata: metadata.state_dict_metadata.update(ids=BytesStorageMetadata()))
    with pytest.raises(TrainingError, match="ids is no tensor"):
        load(old, tensors)


def test_damaged_ones_are_named(old, tensors):
    whole = (old / METADATA).read_bytes()
    for size in range(0, len(whole), 97):
        (old / METADATA).write_bytes(whole[:size])
        with pytest.raises(TrainingError, match="cannot be read"):
            load(old, tensors)
    for wrong in (None, [], {"a": 1}, 3):
        (old / METADATA).write_bytes(pickle.dumps(wrong))
        with pytest.raises(TrainingError, match="is no list of tensors"):
            load(old, tensors)
    (old / METADATA).write_bytes(whole)
    (data,) = old.glob("*.distcp")
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="cannot be read"):
        load(old, tensors)
