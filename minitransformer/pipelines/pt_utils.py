"""Columns of data sets as inputs of pipelines: ``pipe(KeyDataset(rows, "text"))``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset


class KeyDataset(Dataset[Any]):
    """One column.

    Args:
        dataset: rows by number, each with names.
        key: the column.
    """

    def __init__(self, dataset: Sequence[Any] | Any, key: str) -> None:
        self.dataset, self.key = dataset, key

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index][self.key]


class KeyPairDataset(Dataset[Any]):
    """Two columns, as the two texts of a pair.

    Args:
        dataset: rows by number, each with names.
        key1: the column of the first text.
        key2: the column of the second.
    """

    def __init__(self, dataset: Sequence[Any] | Any, key1: str, key2: str) -> None:
        self.dataset, self.key1, self.key2 = dataset, key1, key2

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"text": self.dataset[index][self.key1], "text_pair": self.dataset[index][self.key2]}
