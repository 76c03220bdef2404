"""Tensors that come from memory, or under other names than a file gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from minitransformer.errors import CheckpointError


class Source(Protocol):
    """Tensors by name, read one at a time (``open_checkpoint`` gives one)."""

    where: str

    def names(self) -> list[str]:
        """Names of all tensors."""

    def shape(self, name: str) -> Sequence[int]:
        """Shape of a tensor, without reading it."""

    def read(self, name: str, *, transient: bool = False) -> Tensor:
        """A tensor; ``transient`` says that it will be copied and dropped."""


class Tensors:
    """A dictionary of tensors, as a source.

    Raises:
        CheckpointError: it is none.
    """

    def __init__(self, tensors: Mapping[str, Any], where: str = "the state_dict") -> None:
        self.where = where
        if not isinstance(tensors, Mapping):
            raise CheckpointError(f"{where} must be a dictionary of tensors, not {type(tensors).__name__}")
        for name, tensor in tensors.items():
            if not isinstance(name, str) or not isinstance(tensor, Tensor):
                raise CheckpointError(
                    f"{where} holds {name!r}, of type {type(tensor).__name__}: names and tensors only"
                )
        self._tensors = tensors

    def names(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def read(self, name: str, *, transient: bool = False) -> Tensor:
        tensor: Tensor = self._tensors[name].detach()
        return tensor if transient else tensor.clone()  # a model shares no memory with it


class Renamed:
    """Another source's tensors under other names."""

    def __init__(self, source: Source, rename: Callable[[str], str]) -> None:
        self.where, self._source = source.where, source
        self._old: dict[str, str] = {}
        for name in source.names():
            new = rename(name)
            if new in self._old:
                raise CheckpointError(f"{self._old[new]} and {name} in {self.where} would both be called {new}")
            self._old[new] = name

    def names(self) -> list[str]:
        return list(self._old)

    def shape(self, name: str) -> Sequence[int]:
        return self._source.shape(self._old[name])

    def read(self, name: str, *, transient: bool = False) -> Tensor:
        return self._source.read(self._old[name], transient=transient)


@dataclass(frozen=True)
class Renaming:
    """What a caller does to the names in a file.

    Args:
        prefix: taken off names that begin with it.
        patterns: regular expression -> what its matches become.
    """

    prefix: str = ""
    patterns: Mapping[str, str] = field(default_factory=dict)

    def applied_to(self, source: Source) -> Source:
        """The source under the new names."""
        return Renamed(source, self) if self.prefix or self.patterns else source

    def __call__(self, name: str) -> str:
        name = name.removeprefix(self.prefix)
        for pattern, new in self.patterns.items():
            name = re.sub(pattern, new, name)
        return name


WRAPPERS = {
    "module.": "DistributedDataParallel or DataParallel",
    "_orig_mod.": "torch.compile",
    "base_model.model.": "PEFT",
    "model.": "a module around the model, such as Lightning's",
}
"""What programs put before all names -> which programs."""


def strange_prefix(names: Iterable[str], fitting: Callable[[list[str]], int]) -> str | None:
    """What stands before (nearly) all names and must go for them to fit.

    Args:
        names: of the tensors in a file.
        fitting: how many of some names fit.
    """
    names = list(names)
    best, most, prefix = None, fitting(names), ""
    for _ in range(4):
        heads = [name.removeprefix(prefix).partition(".")[0] + "." for name in names if name.startswith(prefix)]
        if not heads:
            break
        prefix += max(set(heads), key=heads.count)
        inside = [name for name in names if name.startswith(prefix)]
        if len(inside) < 0.8 * len(names):
            break
        fits = fitting([name.removeprefix(prefix) for name in inside])
        if fits > most and fits >= 0.5 * len(inside):
            best, most = prefix, fits
    return best
