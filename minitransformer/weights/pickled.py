"""pytorch_model.bin: what ``torch.save`` writes, read as data only.

The file holds a pickle, which says of each tensor in which storage it lies and how, and the storages themselves. The
pickle is read by `minitransformer.pickles`, in which nothing runs; the tensors are views of the mapped file. Since
PyTorch 1.6 the file is a zip archive (``data.pkl``, ``data/0``, ``data/1``, ...); before, five things one after
another: a magic number, a version, the sizes of C's types, the pickle, the keys of the storages; then the storages.

Reference: ``torch/serialization.py`` (_load, _legacy_load), ``torch/_utils.py`` (_rebuild_tensor_v2).
"""

from __future__ import annotations

import io
import mmap
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from minitransformer.errors import CheckpointError
from minitransformer.hub import check_no_pointer
from minitransformer.pickles import Call, Global, Persistent, RefusedNameError, read_pickle

MAGIC = 0x1950A86A20F9469CFC6C
MOST_DIMENSIONS = 16

_STORAGES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}
_UNTYPED = {
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e4m3fnuz": torch.float8_e4m3fnuz,
    "float8_e5m2": torch.float8_e5m2,
    "float8_e5m2fnuz": torch.float8_e5m2fnuz,
    "uint16": torch.uint16,
    "uint32": torch.uint32,
    "uint64": torch.uint64,
}
_TENSORS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
_PARAMETERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
NAMES = frozenset(
    [f"{module}.{name}" for module in ("torch", "torch.cuda") for name in _STORAGES]
    + [f"torch.{name}" for name in _UNTYPED]
    + [f"torch._utils.{name}" for name in (*_TENSORS, *_PARAMETERS)]
    + ["torch.storage.UntypedStorage", "torch.Size"]
)
"""All that a file may name."""


class Piece(NamedTuple):
    """Where a tensor lies in the file: its storage's bytes, and the elements in there."""

    dtype: torch.dtype
    begin: int
    end: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class PickleFile:
    """One pytorch_model.bin, read without running anything in it."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        check_no_pointer(path)
        try:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                contents, storages = _read_zip(path, data) if data[:2] == b"PK" else _read_legacy(data)
                if not isinstance(contents, dict):
                    kind = contents.function if isinstance(contents, Call) else type(contents).__name__
                    raise _OtherError(f"holds a {kind}, not a dictionary of tensors")
                self._pieces = {name: _find(name, value, storages) for name, value in contents.items()}
            self._storage: Any = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
        except RefusedNameError as error:
            raise CheckpointError(
                f"{path} holds more than tensors: it wants to use {error}. It was not opened, because a pickle "
                "can run any code. Ask its author for a .safetensors file."
            ) from error
        except _OtherError as error:
            raise CheckpointError(f"{path} {error}") from error
        except Exception as error:  # a damaged file raises almost anything: KeyError, struct.error, EOFError, ...
            raise damaged(path, error) from error

    def names(self) -> list[str]:
        return list(self._pieces)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._pieces[name].shape

    def read(self, name: str, *, transient: bool = False) -> Tensor:
        piece = self._pieces[name]
        tensor = torch.empty(0, dtype=piece.dtype)
        return tensor.set_(self._storage[piece.begin : piece.end], piece.offset, piece.shape, piece.stride)


class _OtherError(ValueError):
    """A file that is whole, but holds something else than tensors."""


def read_one_tensor(name: str, data: bytes) -> Tensor:
    """The tensor that ``torch.save`` wrote by itself, read without running anything.

    Raises:
        ValueError: it is damaged, or something else than a tensor.
    """
    try:
        contents, storages = _read_zip(io.BytesIO(data), data)
        piece = _find(name, contents, storages)
    except (LookupError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{name} is damaged ({error})") from error
    storage = torch.frombuffer(bytearray(data[piece.begin : piece.end]) or bytearray(1), dtype=torch.uint8)
    tensor = torch.empty(0, dtype=piece.dtype)
    return tensor.set_(storage.untyped_storage(), piece.offset, piece.shape, piece.stride)


def _read_zip(path: Path | io.BytesIO, data: mmap.mmap | bytes) -> tuple[Any, Mapping[str, tuple[int, int]]]:
    """The pickle of an archive, and where each storage begins and ends."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    main = next((name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")), None)
    if main is None:
        raise ValueError("it is an archive without data.pkl")
    folder = main.removesuffix("data.pkl")

    def place(entry: zipfile.ZipInfo) -> tuple[int, int]:
        head = data[entry.header_offset : entry.header_offset + 30]
        begin = entry.header_offset + 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        if entry.compress_type != zipfile.ZIP_STORED or head[:4] != b"PK\x03\x04":
            raise ValueError(f"{entry.filename} in it is compressed")
        if begin + entry.file_size > len(data):
            raise ValueError(f"{entry.filename} in it is cut off")
        return begin, begin + entry.file_size

    order = entries.get(f"{folder}byteorder")
    if order is not None and data[slice(*place(order))] != b"little":
        raise _OtherError("was written on a machine that orders bytes otherwise: save it again as .safetensors")
    contents, _ = read_pickle(data[slice(*place(entries[main]))], NAMES)
    storages = {
        name.removeprefix(f"{folder}data/"): place(entry)
        for name, entry in entries.items()
        if name.startswith(f"{folder}data/")
    }
    return contents, storages


def _read_legacy(data: mmap.mmap) -> tuple[Any, Mapping[str, tuple[int, int]]]:
    """The same of a file from before PyTorch 1.6. The storages tell their size in elements, the pickle of what type."""
    magic, at = read_pickle(data, start=0)
    if magic != MAGIC:
        raise ValueError("it is no file of PyTorch")
    _, at = read_pickle(data, start=at)
    system, at = read_pickle(data, start=at)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _OtherError("was written on a machine that orders bytes otherwise: save it again as .safetensors")
    contents, at = read_pickle(data, NAMES, at)
    keys, at = read_pickle(data, start=at)
    if not isinstance(contents, dict):
        return contents, {}
    stored = (_describe(name, value)[0] for name, value in contents.items())
    sizes = {key: dtype.itemsize for dtype, key, _, _ in stored}
    storages: dict[str, tuple[int, int]] = {}
    for key in keys:
        begin = at + 8
        at = begin + sizes[key] * int.from_bytes(data[at:begin], "little")
        if at > len(data):
            raise ValueError("it ends inside of a tensor")
        storages[key] = (begin, at)
    return contents, storages


def _find(name: Any, value: Any, storages: Mapping[str, tuple[int, int]]) -> Piece:
    """Where a tensor lies, if it lies inside of the file."""
    (dtype, key, first, count), offset, shape, stride = _describe(name, value)
    begin, end = storages[key]
    begin += first * dtype.itemsize
    if begin + count * dtype.itemsize > end:
        raise ValueError(f"the storage of {name} is cut off")
    numbers = 1
    for size in shape:
        numbers *= size
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if numbers and (last >= count or numbers > count):
        raise ValueError(f"{name} is larger than its storage")
    return Piece(dtype, begin, begin + count * dtype.itemsize, offset if numbers else 0, shape, stride)


def _describe(name: Any, value: Any) -> tuple[tuple[torch.dtype, str, int, int], int, tuple[int, ...], tuple[int, ...]]:
    """A tensor's storage (type, key, first element and number of elements), then its offset, shape and stride there."""
    if not isinstance(name, str):
        raise _OtherError(f"has a {type(name).__name__} where the name of a tensor should be")
    if isinstance(value, Call) and value.function.name in _PARAMETERS and value.arguments:
        value = value.arguments[0]
    if not isinstance(value, Call) or value.function.name not in _TENSORS:
        kind = value.function if isinstance(value, Call) else type(value).__name__
        raise _OtherError(f"does not fit: {name[:80]!r} is of type {kind}, not a tensor")
    storage, offset, shape, stride, *more = value.arguments
    if isinstance(shape, Call) and shape.function.name == "Size" and shape.arguments:
        shape = shape.arguments[0]
    if not isinstance(storage, Persistent) or len(more) > 2 and more[2] and value.function.name != "_rebuild_tensor_v3":
        raise _OtherError(f"does not fit: {name[:80]!r} is a tensor of a kind that weights are not")
    _, kind, key, _, count, *view = storage.name
    dtype = _STORAGES.get(kind.name)
    if value.function.name == "_rebuild_tensor_v3" and isinstance(more[2], Global):
        dtype = _UNTYPED[more[2].name]
        count //= dtype.itemsize
    first = 0
    if view and view[0] is not None:
        _, first, count = view[0]
    numbers = (first, count, offset, *shape, *stride)
    if dtype is None or not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        raise ValueError(f"{name} is described by other things than numbers")
    if len(shape) > MOST_DIMENSIONS or len(shape) != len(stride) or not isinstance(key, str):
        raise ValueError(f"{name} has {len(shape)} dimensions and {len(stride)} strides")
    return (dtype, key, first, count), offset, tuple(shape), tuple(stride)


def damaged(path: Path, error: Exception) -> CheckpointError:
    """The error for a file that is not whole."""
    reason = (str(error) or type(error).__name__).splitlines()[0][:300]
    return CheckpointError(
        f"{path} ({path.stat().st_size} bytes) is damaged or cut off ({reason}). Fetch or copy it again."
    )
