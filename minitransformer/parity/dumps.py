"""Tensors of somebody's port, from the files that they could write; nothing is ever unpickled.

Read are: a safetensors file or a folder of them, .npz, a folder of .npy, the tree of transformers' model debugger
(written with ``use_repr=False``), llm-viz's JSON, raw numbers with a manifest, and traces of ours.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np
import torch
from torch import Tensor

from minitransformer.jsons import read_json
from minitransformer.parity.reading import read_npy
from minitransformer.parity.traces import FORMAT, MANIFEST, TENSORS, ParityError, Tensors

FORMATS = (
    ".safetensors, .npz, a folder of .npy, transformers' debugger tree (use_repr=False), llm-viz's JSON, .bin with a "
    "manifest.json"
)
TREE = "_debug_tree_FULL_TENSORS.json"


class Dump(Mapping[str, Tensor]):
    """Tensors by the names that their writer gave them, in the order written; each is read when it is asked for.

    Attributes:
        kind: the format.
        remarks: what could not be read, one sentence each.
    """

    def __init__(self, kind: str, readers: Mapping[str, Callable[[], Tensor]]) -> None:
        self.kind, self.readers, self.remarks = kind, dict(readers), list[str]()

    def __getitem__(self, name: str) -> Tensor:
        return self.readers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.readers)

    def __len__(self) -> int:
        return len(self.readers)


def read_dump(path: str | Path) -> Dump:
    """The tensors of a dump.

    Raises:
        ParityError: there is none, or it is damaged, or of no known format.
    """
    path = Path(path)
    if not path.exists():
        raise ParityError(f"there is no dump {path}")
    dump = _folder(path) if path.is_dir() else _file(path)
    if not dump:
        raise ParityError(f"{path} holds no tensors; {dump.remarks[0] if dump.remarks else f'read are {FORMATS}'}")
    return dump


def _file(path: Path) -> Dump:
    if path.suffix == ".safetensors":
        return _safetensors([path])
    if path.suffix == ".npz":
        return _npz(path)
    if path.suffix == ".npy":
        return Dump("npy", {path.stem: lambda: as_tensor(read_npy(path), path.name)})
    if path.suffix == ".json":
        raw = read_json(path, error=ParityError)
        if isinstance(raw, dict) and "module_path" in raw:
            return _tree(path, raw)
        if isinstance(raw, dict) and "tensors" in raw:
            return _raw(path, raw)
        if isinstance(raw, dict) and any(_is_viz(value) for value in raw.values()):
            return _viz(path, raw)
        raise ParityError(f"{path} is JSON, but no dump: read are {FORMATS}")
    if path.suffix in (".pt", ".pth", ".pkl", ".bin"):
        raise ParityError(
            f"{path} is a pickle, or raw numbers without their manifest, and is not opened: write "
            "safetensors.torch.save_file(tensors, 'dump.safetensors')"
        )
    raise ParityError(f"{path} is no dump that is known: read are {FORMATS}")


def _folder(folder: Path) -> Dump:
    manifest = folder / MANIFEST
    if manifest.is_file():
        raw = read_json(manifest, error=ParityError)
        if isinstance(raw, dict) and raw.get("format") == FORMAT:
            return _safetensors([folder / TENSORS])
        if isinstance(raw, dict) and "tensors" in raw:
            return _raw(manifest, raw)
    for tree in sorted(folder.glob(f"*{TREE}")):
        return _tree(tree, read_json(tree, error=ParityError))
    arrays = sorted(folder.rglob("*.npy"))
    if arrays:
        names = [str(path.relative_to(folder).with_suffix("")) for path in arrays]
        return Dump(
            "npy",
            {
                name: lambda path=path: as_tensor(read_npy(path), path.name)  # type: ignore[misc]
                for name, path in zip(names, arrays, strict=True)
            },
        )
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.npz"))
    if files and files[0].suffix == ".npz":
        return _npz(files[0])
    if files:
        return _safetensors(files)
    raise ParityError(f"{folder} holds no dump that is known: read are {FORMATS}")


def _safetensors(files: list[Path]) -> Dump:
    readers: dict[str, Callable[[], Tensor]] = {}
    for file in files:
        tensors = Tensors(file)
        readers |= {name: lambda name=name, tensors=tensors: tensors[name] for name in tensors}  # type: ignore[misc]
    return Dump("safetensors", readers)


def _npz(path: Path) -> Dump:
    if not is_zipfile(path):  # numpy would leave it open
        raise ParityError(f"{path} is no whole .npz file: write it with numpy.savez, or copy it anew")
    try:
        arrays = np.load(path, allow_pickle=False)
        names = list(arrays.files)
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise ParityError(f"{path} is no whole .npz file ({error}): write it with numpy.savez") from error

    def reader(name: str) -> Callable[[], Tensor]:
        def read() -> Tensor:
            try:
                return as_tensor(arrays[name], name)
            except (ValueError, OSError, EOFError, BadZipFile) as error:
                raise ParityError(f"{name} of {path} cannot be read ({error}): write it as plain numbers") from error

        return read

    return Dump("npz", {name: reader(name) for name in names})


def as_tensor(array: np.ndarray[Any, Any], name: str) -> Tensor:
    """An array of numbers as a tensor.

    Raises:
        ParityError: it holds something else.
    """
    if array.dtype.kind not in "biuf":
        raise ParityError(f"{name} holds {array.dtype}, not numbers")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))


def _is_viz(value: Any) -> bool:
    return isinstance(value, dict) and {"shape", "dtype", "data"} <= set(value)


def _viz(path: Path, raw: Mapping[str, Any]) -> Dump:
    def reader(name: str, told: Mapping[str, Any]) -> Callable[[], Tensor]:
        def read() -> Tensor:
            dtype = _numpy_type(str(told["dtype"]), name)
            try:
                data = base64.b64decode(told["data"], validate=True)
            except (binascii.Error, TypeError, ValueError) as error:
                raise ParityError(f"{name} of {path} is not base64: {error}") from error
            return _shaped(data, dtype, told["shape"], f"{name} of {path}")

        return read

    return Dump("llm-viz", {name: reader(name, told) for name, told in raw.items() if _is_viz(told)})


def _raw(path: Path, raw: Mapping[str, Any]) -> Dump:
    """Raw little-endian numbers: ``{"tensors": [{"name", "shape", "dtype", "file", "offset"}]}``."""
    rows = raw["tensors"]
    if not isinstance(rows, list) or not all(isinstance(r, dict) and {"name", "shape"} <= set(r) for r in rows):
        raise ParityError(f'{path} must say "tensors": [{{"name": ..., "shape": [...], "dtype": ..., "file": ...}}]')

    def reader(told: Mapping[str, Any]) -> Callable[[], Tensor]:
        def read() -> Tensor:
            name = str(told["name"])
            dtype = _numpy_type(str(told.get("dtype", "float32")), name)
            file = (path.parent / str(told.get("file", raw.get("file", f"{name}.bin")))).resolve()
            if path.parent.resolve() not in file.parents:
                raise ParityError(f"{name} of {path} lies in {file}, outside of the dump")
            size = int(np.prod([int(n) for n in told["shape"]], dtype=np.int64)) * dtype.itemsize
            try:
                with file.open("rb") as opened:
                    opened.seek(int(told.get("offset", 0)))
                    data = opened.read(size)
            except OSError as error:
                raise ParityError(f"{name} of {path} should lie in {file}: {error.strerror}") from error
            return _shaped(data, dtype, told["shape"], f"{name} of {path}")

        return read

    return Dump("bin", {str(told["name"]): reader(told) for told in rows})


def _numpy_type(name: str, tensor: str) -> np.dtype[Any]:
    name = {"F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "I32": "int32"}.get(name, name)
    name = name.removeprefix("torch.")
    if name not in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"):
        raise ParityError(f"{tensor} has the type {name!r}: write float64, float32, float16 or whole numbers")
    return np.dtype(name).newbyteorder("<")


def _shaped(data: bytes, dtype: np.dtype[Any], shape: Any, name: str) -> Tensor:
    try:
        sizes = tuple(int(size) for size in shape)
    except (TypeError, ValueError) as error:
        raise ParityError(f"{name} has no shape: {shape!r:.80}") from error
    needed = int(np.prod(sizes, dtype=np.int64)) * dtype.itemsize
    if len(data) != needed or any(size < 0 for size in sizes):
        raise ParityError(f"{name} has {len(data)} bytes, but {sizes} of {dtype.name} needs {needed}")
    return as_tensor(np.frombuffer(data, dtype).reshape(sizes), name)


_PLACE = re.compile(r"\./(.+\.safetensors)")


def _tree(path: Path, raw: Mapping[str, Any]) -> Dump:
    readers: dict[str, Callable[[], Tensor]] = {}
    printed = 0

    def reader(file: Path) -> Callable[[], Tensor]:
        def read() -> Tensor:
            return Tensors(file)["data"]

        return read

    def visit(value: Any, name: str) -> None:
        nonlocal printed
        if isinstance(value, list):
            for i, one in enumerate(value):
                visit(one, name if i == 0 else f"{name}.{i}")
        elif isinstance(value, dict) and "value" in value and "shape" in value:
            place = value["value"]
            match = _PLACE.fullmatch(place) if isinstance(place, str) else None
            if match and (path.parent / match[1]).is_file() and "/" not in match[1]:
                readers.setdefault(name, reader(path.parent / match[1]))
            else:
                printed += 1
        elif isinstance(value, dict):
            for key, one in value.items():
                visit(one, f"{name}.{key}")

    def node(told: Mapping[str, Any]) -> None:
        module = str(told.get("module_path", ""))
        top = module.endswith("(top-level)")
        module = "" if top else module.partition(".")[2]
        visit(told.get("inputs"), f"{module}.inputs" if module else "inputs")
        for child in told.get("children") or []:
            node(child)
        visit(told.get("outputs"), f"{module}.outputs" if module else "outputs")

    try:
        json.dumps(raw.get("children"))
        node(raw)
    except (TypeError, AttributeError, RecursionError) as error:
        raise ParityError(f"{path} is no tree of transformers' debugger: {error}") from error
    dump = Dump("transformers' debugger", readers)
    if printed:
        dump.remarks.append(
            f"{printed} tensors of {path.name} are printed, not saved, or their files are gone: pass use_repr=False"
        )
    return dump
