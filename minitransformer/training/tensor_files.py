"""Reading and writing tensors with ``torch.distributed.checkpoint``: each process its share, in its own file.

A checkpoint that so many processes wrote can be read by any other number of them.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import logging
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from minitransformer.training.distributed import world_size

METADATA = ".metadata"
logging.getLogger("c10d-NullHandler-dcp_logger").setLevel(logging.WARNING)  # it has a line to say about every tensor
_VALUES = (torch.dtype, torch.layout, torch.memory_format)


def write_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write the tensors, and see that they reach the disk. All processes have to call it."""
    with _alone_on_purpose():
        writer = FileSystemWriter(folder, sync_files=True)
        state_dict_saver.save(tensors, storage_writer=writer, no_dist=world_size() == 1)


def read_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Fill the given tensors. All processes have to call it."""
    with _alone_on_purpose():
        state_dict_loader.load(tensors, storage_reader=_Reader(folder), no_dist=world_size() == 1)


class _Reader(FileSystemReader):
    """Reads the list of tensors, which is a pickle, without letting it run code: the folder may be somebody else's."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with (Path(self.path) / METADATA).open("rb") as file:
            metadata = _Unpickler(file).load()
        if not isinstance(metadata, Metadata):
            raise pickle.UnpicklingError(f"{METADATA} is no list of tensors")
        for name, kind in metadata.state_dict_metadata.items():
            if not isinstance(kind, TensorStorageMetadata):
                raise pickle.UnpicklingError(f"{name} is no tensor")
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Unpickler(pickle.Unpickler):
    """Knows the records that describe tensors, and nothing that does anything."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch.serialization" and name == "_get_layout":
            return lambda layout: getattr(torch, layout.removeprefix("torch."))
        if (module.split(".")[0] in ("torch", "pathlib")) and "." not in name:
            found = getattr(importlib.import_module(module), name, None)
            if isinstance(found, _VALUES) or found is torch.Size:
                return found
            if isinstance(found, type) and issubclass(found, PurePath):
                return found
            described = isinstance(found, type) and (dataclasses.is_dataclass(found) or issubclass(found, enum.Enum))
            if described and module.startswith("torch.distributed.checkpoint."):
                return found
        raise pickle.UnpicklingError(f"{METADATA} asks for {module}.{name}, which describes no tensor")


@contextmanager
def _alone_on_purpose() -> Iterator[None]:
    with warnings.catch_warnings():
        # A single process is what is meant, not what is left when something failed.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        yield
