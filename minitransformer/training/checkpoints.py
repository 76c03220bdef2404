"""Checkpoints to resume from: whole or not there at all, and independent of the number of processes.

A checkpoint is a folder ``step-000500`` with the weights and the optimizer's state in safetensors files (every process
writes its share), and ``state.json`` with everything else. It is written under another name and renamed when all of it
is on the disk, so a process killed at any moment leaves the one before.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from minitransformer.errors import TrainingError
from minitransformer.files import together, write_whole
from minitransformer.jsons import JSONError, parse_json
from minitransformer.options import shown
from minitransformer.training.distributed import rank, wait_for_all
from minitransformer.training.tensor_files import read_tensors, write_tensors

STATE = "state.json"
"""Names of checkpoints; whatever else lies beside them is somebody else's."""
PART = ".part"  # ends the name of a folder that is not finished, or no longer whole


def training_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that a step changes, by name: weights, buffers, and the optimizer's averages. Shared weights once."""
    kept = model.state_dict().keys()
    tensors = {f"model.{name}": buffer for name, buffer in model.named_buffers() if name in kept}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    return tensors


def size_in_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Room that the tensors of all processes take on a disk."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: where they are; made if it does not exist.
        keep: how many of them stay.
    """

    STEM, DIGITS = "step-", 6
    """A checkpoint's name: this, and the number of its step with so many digits at least."""

    def __init__(self, folder: Path, keep: int = 1) -> None:
        self.folder = folder
        self.keep = keep

    def clean(self) -> None:
        """Remove what an earlier process left unfinished."""
        if rank() == 0:
            with writing(self.folder, 0):
                self.folder.mkdir(parents=True, exist_ok=True)
                for part in self._ours(PART):
                    shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
        wait_for_all()

    def finished(self) -> list[Path]:
        """All checkpoints, oldest first."""
        found = [path for path in self._ours() if (path / STATE).exists()]
        return sorted(found, key=lambda path: int(path.name.removeprefix(self.STEM)))

    def _ours(self, end: str = "") -> list[Path]:
        """What is called as we call it; others may have put something beside it."""
        name = re.compile(f"{re.escape(self.STEM)}[0-9]{{1,18}}{re.escape(end)}")
        return [path for path in self.folder.glob(f"{self.STEM}*{end}") if name.fullmatch(path.name)]

    def latest(self) -> Path | None:
        """The one to resume from."""
        finished = self.finished()
        return finished[-1] if finished else None

    def check_room(self, tensors: Mapping[str, Tensor]) -> None:
        """See that the disk can hold the checkpoints, before hours are spent.

        Raises:
            TrainingError: it cannot.
        """
        needed, free = (self.keep + 1) * size_in_bytes(tensors), shutil.disk_usage(self.folder).free
        if needed > free:
            raise TrainingError(
                f"{self.folder} has {free:,} bytes free, but {self.keep + 1} checkpoints (keep, and one in the making) "
                f"take {needed:,}: make room, or choose another folder"
            )

    def save(
        self,
        step: int,
        tensors: dict[str, Tensor],
        state: Mapping[str, Any],
        beside: Callable[[Path], None] | None = None,
    ) -> Path:
        """Write a checkpoint, then remove those that are too many. All processes have to call it.

        Args:
            step: steps done.
            tensors: of ``training_tensors``.
            state: everything else that a run goes on with.
            beside: writes further files into the folder, in process 0.

        Raises:
            TrainingError: the disk is full, or cannot be written; older checkpoints are as they were.
        """
        path = self.folder / f"{self.STEM}{step:0{self.DIGITS}d}"
        part = path.with_name(path.name + PART)
        with writing(self.folder, size_in_bytes(tensors), part):
            if rank() == 0:
                part.mkdir(parents=True, exist_ok=True)
            wait_for_all()
            write_tensors(part, tensors)
            if rank() == 0:
                if beside is not None:
                    beside(part)
                write_whole(part / STATE, json.dumps(state, indent=1))
                _sync_folder(part)
                if path.exists():
                    self._remove(path)
                os.replace(part, path)
                _sync_folder(self.folder)
                for old in self.too_many():
                    self._remove(old)
        wait_for_all()
        return path

    def too_many(self) -> list[Path]:
        """Those that shall not stay."""
        return self.finished()[: -self.keep]

    def _remove(self, old: Path) -> None:
        part = old.with_name(old.name + PART)
        os.replace(old, part)  # so that one half removed is not taken for a checkpoint
        shutil.rmtree(part)


def read_state(path: Path) -> dict[str, Any]:
    """What a checkpoint holds beside tensors.

    Raises:
        TrainingError: it is damaged.
    """
    try:
        state: dict[str, Any] = parse_json((path / STATE).read_bytes())
    except (OSError, JSONError) as error:
        raise TrainingError(f"{path / STATE} is damaged ({error}); remove {path} to use an earlier one") from error
    if not isinstance(state, dict):
        raise TrainingError(f"{path / STATE} is damaged (it is no object); remove {path} to use an earlier one")
    return state


def check_identity(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """See that a checkpoint is of the run that is to go on.

    Raises:
        TrainingError: it is of another; names what differs.
    """
    differences = list(_differences(theirs, ours))
    if differences:
        shown = "; ".join(differences[:5]) + (f"; and {len(differences) - 5} more" if len(differences) > 5 else "")
        raise TrainingError(
            f"{path} belongs to another run: {shown}. Train into another folder, or remove this one to start anew"
        )


def _differences(theirs: Any, ours: Any, name: str = "") -> Iterator[str]:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in dict.fromkeys([*theirs, *ours]):
            yield from _differences(theirs.get(key), ours.get(key), f"{name}.{key}".lstrip("."))
    elif theirs != ours:
        yield f"{name} was {shown(theirs)} and is {shown(ours)} now"


def load(path: Path, tensors: dict[str, Tensor]) -> None:
    """Read a checkpoint's tensors into those that are given, of whatever number of processes they were.

    Raises:
        TrainingError: it is damaged, or lacks a tensor.
    """
    try:
        read_tensors(path, tensors)
    except (SafetensorError, OSError, RuntimeError, ValueError, LookupError) as error:
        raise TrainingError(f"{path} cannot be read ({_reason(error)}); remove it to use an earlier one") from error


def save_model(model: Any, folder: Path, tokenizer: Any = None) -> None:
    """Write a model in the Hub's format, with its tokenizer; all files appear, or none.

    Raises:
        TrainingError: the disk is full, or cannot be written.
    """
    with writing(folder, sum(p.numel() * p.element_size() for p in model.parameters())), together(folder):
        model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)


@contextmanager
def writing(folder: Path, needed: int, part: Path | None = None) -> Iterator[None]:
    """Turn what a disk may refuse into an error that says what is needed, and remove the unfinished ``part``.

    Raises:
        TrainingError: instead of the system's error.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
        raise TrainingError(
            f"{folder} could not be written ({_reason(error)}). It takes {needed:,} bytes and "
            f"{_free(folder):,} are free. What was saved before is whole: make room and start again"
        ) from error


def _reason(error: BaseException) -> str:
    # When a write fails, torch still tries to end its file, and then complains of that: what came first says why.
    error = next((one for one in _with_contexts(error) if isinstance(one, OSError)), error)
    return (str(error) or type(error).__name__).splitlines()[0]


def _with_contexts(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came from or upon."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _free(folder: Path) -> int:
    """Bytes free where a folder is, or would be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
