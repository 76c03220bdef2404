"""Checkpoints as ``torch.distributed.checkpoint`` writes them, and as trainings once were kept; read as data only.

``.metadata`` is a pickle that describes the tensors: of which boxes each consists, and where these lie in the files
``*.distcp``, each as ``torch.save`` writes it. Both are read by `minitransformer.pickles`, in which nothing runs.

Reference: ``torch/distributed/checkpoint/metadata.py``, ``filesystem.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from minitransformer.pickles import Call, Global, PickleError, RefusedNameError, read_pickle
from minitransformer.training.boxes import Box
from minitransformer.weights.pickled import read_one_tensor

METADATA = ".metadata"
_DESCRIPTIONS = "torch.distributed.checkpoint.metadata"
_INFO = "torch.distributed.checkpoint.filesystem._StorageInfo"
_RECORDS = (
    "Metadata",
    "MetadataIndex",
    "TensorStorageMetadata",
    "TensorProperties",
    "ChunkStorageMetadata",
    "StorageMeta",
)
_DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128"
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
NAMES = frozenset(
    [f"{_DESCRIPTIONS}.{name}" for name in (*_RECORDS, "BytesStorageMetadata", "_MEM_FORMAT_ENCODING")]
    + [f"torch.{name}" for name in _DTYPES.split()]
    + [f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS]
    + [_INFO, "torch.Size", "torch.serialization._get_layout"]
    + ["builtins.getattr"]  # how Python 3.11.0 to 3.11.3 name a member of an enumeration
)
"""All that a description may name."""


class OldTensors:
    """The tensors of such a checkpoint."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            root, _ = read_pickle((folder / METADATA).read_bytes(), NAMES)
            self._tensors: Any = _state(root, "Metadata")["state_dict_metadata"]
            self._places = {}
            for index, info in _state(root, "Metadata")["storage_data"].items():
                key = _state(index, "MetadataIndex")
                if key.get("offset") is not None:  # else it is no tensor
                    self._places[key["fqn"], _numbers(key["offset"])] = info
        except RefusedNameError as error:
            raise PickleError(f"{METADATA} asks for {error}, which describes no tensor") from error
        except (AttributeError, LookupError, TypeError) as error:
            raise PickleError(f"{METADATA} is no list of tensors") from error

    def boxes(self, name: str) -> list[tuple[Box, Any]]:
        """The boxes that are stored of a tensor, each with where it lies."""
        if name not in self._tensors:
            return []
        if _name(self._tensors[name]) == f"{_DESCRIPTIONS}.BytesStorageMetadata":
            raise PickleError(f"{name} is no tensor")
        found = []
        try:
            described = _state(self._tensors[name], "TensorStorageMetadata")
            for chunk in described["chunks"]:
                box = _state(chunk, "ChunkStorageMetadata")
                own = Box(*map(_numbers, (described["size"], box["offsets"], box["sizes"])))
                if len({len(numbers) for numbers in own}) > 1:
                    raise PickleError(f"{METADATA} tells of {name} what cannot be")
                found.append((own, self._places[name, own.begin]))
        except (AttributeError, LookupError, TypeError) as error:
            raise PickleError(f"{METADATA} does not describe {name}") from error
        return found

    def read(self, name: str, where: Any, place: tuple[slice, ...]) -> Tensor:
        """The numbers at a place of a box."""
        if _name(where) != _INFO or not isinstance(where.state, dict):
            raise PickleError(f"{METADATA} does not tell where {name} is")
        file, offset, length = (where.state[key] for key in ("relative_path", "offset", "length"))
        if Path(str(file)).name != file or not all(type(n) is int and n >= 0 for n in (offset, length)):
            raise PickleError(f"{name} lies in {file!r}, which is no file of this folder")
        with (self._folder / file).open("rb") as stream:
            stream.seek(offset)
            data = stream.read(min(length, (self._folder / file).stat().st_size))
        return read_one_tensor(name, data)[place]


def _name(record: Any) -> str:
    return str(record.function) if isinstance(record, Call) else ""


def _state(record: Any, kind: str) -> dict[str, Any]:
    """The fields of a record of a kind."""
    if _name(record) != f"{_DESCRIPTIONS}.{kind}" or not isinstance(record.state, dict):
        raise TypeError(kind)
    return record.state


def _numbers(size: Any) -> tuple[int, ...]:
    """A ``torch.Size``."""
    if not isinstance(size, Call) or size.function != Global("torch", "Size"):
        raise TypeError("Size")
    numbers = tuple(size.arguments[0]) if size.arguments else ()
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise TypeError("Size")
    return numbers
