"""Tests of all twins are collected for those twins only that they are about (``models.twins.twin.only``).

Heads of families that are another one but for a detail are left to ``make test-slow``: their code is tested there.
"""

from __future__ import annotations

import pytest
from models.twins.twin import Twin


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if all(mark.args[0](_twin(item)) for mark in item.iter_markers("twins"))]
    for item in items:
        twin = _twin(item)
        if twin is not None and (twin.repeats or (twin.variant and item.get_closest_marker("variants_later"))):
            item.add_marker(pytest.mark.slow)


def _twin(item: pytest.Item) -> Twin | None:
    call = getattr(item, "callspec", None)
    return next((value for value in call.params.values() if isinstance(value, Twin)), None) if call else None
