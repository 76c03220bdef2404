"""Tests of all twins are collected for those twins only that they are about (``models.twins.twin.only``)."""

from __future__ import annotations

import pytest
from models.twins.twin import Twin


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if all(mark.args[0](_twin(item)) for mark in item.iter_markers("twins"))]


def _twin(item: pytest.Item) -> Twin:
    given = item.callspec.params.values()  # type: ignore[attr-defined]
    return next(value for value in given if isinstance(value, Twin))
