"""Checkpoint files: model.safetensors or pytorch_model.bin, whole or in shards; read lazily, written atomically.

A pickle (.bin) is read as data only (`weights/pickled.py`): nothing in it runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from minitransformer.errors import CheckpointError, MissingFileError, SavingError
from minitransformer.files import draft_of, remove_outdated, together, write_whole
from minitransformer.hub import Repository, as_repository, check_no_pointer, contents, read_json
from minitransformer.weights.pickled import PickleFile, damaged

FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where weights may be, in order of preference."""


class SafetensorsFile:
    """One .safetensors file."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        check_no_pointer(path)
        try:
            file: Any = safe_open(path, framework="pt")
        except SafetensorError as error:
            raise damaged(path, error) from error
        self._file = file
        written_for = (file.metadata() or {}).get("format", "pt")
        if written_for not in ("pt", "tf", "flax", "mlx"):
            raise CheckpointError(f"{path} says that its format is {written_for!r}; known: pt, tf, flax, mlx")

    def names(self) -> list[str]:
        return list(self._file.keys())

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._file.get_slice(name).get_shape())

    def read(self, name: str, *, transient: bool = False) -> Tensor:
        # Tensors are views of the mapped file. One that will be copied is read through a mapping of its own, which
        # goes away with it: else its pages would count as memory for as long as any tensor of the file lives.
        file: Any = safe_open(self.where, framework="pt") if transient else self._file
        tensor: Tensor = file.get_tensor(name)
        return tensor


class ShardedCheckpoint:
    """Several files and an index that says which tensor is in which."""

    def __init__(self, index: Path, open_shard: Callable[[str], SafetensorsFile | PickleFile]) -> None:
        self.where = str(index.parent)
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{index} has no weight_map that says which tensor is in which file")
        self._shard_of: dict[str, SafetensorsFile | PickleFile] = {}
        strange = [file for file in weight_map.values() if not isinstance(file, str)]
        files = [] if strange else sorted(set(weight_map.values()))
        strange += [file for file in files if Path(file).name != file or "\0" in file]
        if strange:
            raise CheckpointError(f"{index} names {strange[0]!r:.100} as a shard, which is no name of a file beside it")
        for file in files:
            try:
                shard = open_shard(file)
            except MissingFileError as error:
                raise MissingFileError(f"{index.name} names a shard that is missing: {error}") from error
            for name in shard.names():  # also those that the index forgets: no tensor is dropped silently
                if weight_map.get(name, file) == file:
                    self._shard_of[name] = shard
        for name, file in weight_map.items():
            if name not in self._shard_of:
                raise CheckpointError(f"{index} says that {name} is in {file}, but it is not")

    def names(self) -> list[str]:
        return list(self._shard_of)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shard_of[name].shape(name)

    def read(self, name: str, *, transient: bool = False) -> Tensor:
        return self._shard_of[name].read(name, transient=transient)


Checkpoint = SafetensorsFile | PickleFile | ShardedCheckpoint


def open_checkpoint(
    source: str | Path | Repository, *, use_safetensors: bool | None = None, variant: str | None = None
) -> Checkpoint:
    """The weights of a folder or a model id on the Hub, ready to be read tensor by tensor.

    Args:
        source: where they are.
        use_safetensors: True for .safetensors files only, False for .bin files only, None for what there is.
        variant: such as "fp16", for files with that in their names: model.fp16.safetensors.

    Raises:
        MissingFileError: there are no weights, or a shard is missing.
        CheckpointError: a file is damaged, or is a pickle that wants to run code.
        HubError: the Hub could not be reached, or refused.
    """
    repository = as_repository(source)

    def open_file(name: str) -> SafetensorsFile | PickleFile:
        path = repository.file(name)
        return SafetensorsFile(path) if name.endswith(".safetensors") else PickleFile(path)

    names = [
        name if variant is None else _of_variant(name, variant)
        for name in FILES
        if use_safetensors in (None, name.startswith("model."))
    ]
    for name in names:
        path = repository.find(name)
        if path is not None:
            return ShardedCheckpoint(path, open_file) if name.endswith(".json") else open_file(name)
    folder = repository.folder
    present = f" It holds: {contents(folder)}." if folder else ""
    raise MissingFileError(f"{repository} has no weights; looked for {', '.join(names)}.{present}")


def _of_variant(name: str, variant: str) -> str:
    """``model.safetensors`` -> ``model.fp16.safetensors``, ``...index.json`` -> ``...index.fp16.json``, as on the Hub.

    Raises:
        CheckpointError: it is no part of a file's name.
    """
    if not re.fullmatch(r"\w+", variant):
        raise CheckpointError(f"variant={variant!r} must be letters and digits, such as 'fp16'")
    stem, dot, ending = name.rpartition(".")
    model, dash, number = stem.partition("-")
    return f"{model}.{variant}{dash}{number}{dot}{ending}"


def save_checkpoint(
    tensors: Mapping[str, Tensor],
    folder: str | Path,
    *,
    max_shard_size: int | None = None,
    variant: str | None = None,
) -> None:
    """Write tensors as model.safetensors, or as shards with an index; each file appears whole or not at all.

    Args:
        tensors: name -> tensor.
        folder: an existing folder; .safetensors files of an earlier save that would be read instead are removed.
        max_shard_size: bytes in one file, unless a single tensor is larger.
        variant: such as "fp16", for files with that in their names.
    """
    folder = Path(folder)
    shards = _shards(tensors, max_shard_size)
    if len(shards) == 1:
        names = ["model.safetensors"]
    else:
        names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    if variant is not None:
        names = [_of_variant(name, variant) for name in names]
    whole, index = (folder / (name if variant is None else _of_variant(name, variant)) for name in FILES[:2])
    with together():
        for shard, name in zip(shards, names, strict=True):
            contiguous = {name: tensor.contiguous() for name, tensor in shard.items()}
            with draft_of(folder / name) as draft:
                try:
                    save_file(contiguous, draft, metadata={"format": "pt"})
                except SafetensorError as error:  # such as a full disk
                    raise SavingError(f"{folder / name} cannot be written: {error}") from error
        if len(shards) > 1:
            total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
            weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
            text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2)
            write_whole(index, text + "\n")
            names.append(index.name)
        shard_names = "model-*-of-*.safetensors" if variant is None else f"model.{variant}-*-of-*.safetensors"
        for old in [whole, index, *folder.glob(shard_names)]:
            if old.name not in names:
                remove_outdated(old)


def _shards(tensors: Mapping[str, Tensor], max_size: int | None) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if max_size is not None and shards[-1] and filled + size > max_size:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += size
    return shards
