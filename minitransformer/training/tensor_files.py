"""Reading and writing a training's tensors: each process its share, in a safetensors file of its own.

The head of a file tells of each tensor in it how large the whole is and where this box of it begins, so that what so
many processes wrote can be read by any other number of them. Nothing is pickled.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from minitransformer.errors import TrainingError
from minitransformer.jsons import JSONError, parse_json
from minitransformer.training.boxes import Box, TensorFileError, fill
from minitransformer.training.distributed import rank, summed, world_size
from minitransformer.training.old_checkpoints import METADATA, OldTensors

BOXES = "boxes"
"""The key of what the head of a file tells."""


def write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors, and see that they reach the disk. All processes have to call it.

    Raises:
        TrainingError: another process could not write its share.
    """
    ours, heads = {}, {}
    for i, (name, tensor) in enumerate(tensors.items()):
        local, box = share_of(tensor)
        shared_out = isinstance(tensor, DTensor) and tensor.numel() > 0
        if local.numel() if shared_out else i % world_size() == rank():  # what all have, they write in turns
            ours[name] = local.contiguous()
            heads[name] = {"whole": box.whole, "begin": box.begin}
    path = folder / f"tensors-{rank():05d}.safetensors"
    with _all_or_none(folder):
        save_file(ours, path, metadata={BOXES: json.dumps(heads)})
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill the given tensors. All processes have to call it.

    Raises:
        TensorFileError: there is no such tensor, or another one, or only a part of it.
        TrainingError: another process could not read its share.
    """
    with _all_or_none(folder):
        stored: Any = OldTensors(folder) if (folder / METADATA).exists() else Tensors(folder)
        for name, tensor in tensors.items():
            local, box = share_of(tensor)
            fill(name, local, box, stored)


class Tensors:
    """The files of a checkpoint."""

    def __init__(self, folder: Path) -> None:
        self._places: dict[str, list[tuple[Box, Path]]] = {}
        paths = sorted(folder.glob("tensors-*.safetensors"))
        if not paths:
            raise TensorFileError("it holds no tensors")
        for path in paths:
            with safe_open(path, "pt") as file:
                heads = _heads(path, file.metadata())
                for name in file.keys():  # noqa: SIM118
                    whole, begin = heads.get(name, ((), None))
                    shape = tuple(file.get_slice(name).get_shape())
                    if begin is None or not len(whole) == len(begin) == len(shape):
                        raise TensorFileError(f"{path.name} does not say which part of {name} it holds")
                    self._places.setdefault(name, []).append((Box(whole, begin, shape), path))

    def boxes(self, name: str) -> list[tuple[Box, Any]]:
        """The boxes that are stored of a tensor, each with what ``read`` wants of it."""
        return self._places.get(name, [])

    def read(self, name: str, path: Path, place: tuple[slice, ...]) -> Tensor:
        """The numbers at a place of a box."""
        with safe_open(path, "pt") as file:
            found: Tensor = file.get_slice(name)[place] if place else file.get_tensor(name)
        return found


def share_of(tensor: Tensor) -> tuple[Tensor, Box]:
    """This process's share of a tensor, and which box of it that is."""
    whole = tuple(tensor.shape)
    if not isinstance(tensor, DTensor):
        return tensor.detach(), Box(whole, (0,) * len(whole), whole)
    local = tensor.to_local().detach()
    (placement,) = tensor.placements
    begin = [0] * len(whole)
    if isinstance(placement, Shard):
        size = math.ceil(whole[placement.dim] / tensor.device_mesh.size())  # torch.chunk's
        begin[placement.dim] = min(size * tensor.device_mesh.get_local_rank(), whole[placement.dim])
    elif not isinstance(placement, Replicate):
        raise TensorFileError(f"a tensor that is kept as {placement} cannot be written")
    return local, Box(whole, tuple(begin), tuple(local.shape))


def _heads(path: Path, metadata: Mapping[str, str] | None) -> Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """What the head of a file tells: name -> shape of the whole, and where the box begins."""
    try:
        told = parse_json((metadata or {})[BOXES])
        heads = {name: (tuple(head["whole"]), tuple(head["begin"])) for name, head in told.items()}
        if all(type(n) is int and n >= 0 for pair in heads.values() for numbers in pair for n in numbers):
            return heads
    except (AttributeError, JSONError, LookupError, TypeError):
        pass
    raise TensorFileError(f"{path.name} was not written by a training")


@contextmanager
def _all_or_none(folder: Path) -> Iterator[None]:
    """If one process fails, all do; nobody waits for it."""
    failure: Exception | None = None
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, ValueError, LookupError) as error:
        failure = error
    failures = int(summed(torch.tensor(float(failure is not None))))
    if failure is not None:
        raise failure
    if failures:
        raise TrainingError(f"{folder}: {failures} other processes failed with theirs; see what they say")
