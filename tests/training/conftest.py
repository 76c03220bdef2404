"""One thread for all of these tests: with more, sums are added in another order than in the processes they compare."""

from __future__ import annotations

import pytest
import torch

from minitransformer.training import logs


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_pictures(monkeypatch):
    """Leave out what takes time and what a test does not look at."""
    monkeypatch.setattr(logs, "draw_curve", lambda *_: None)
    monkeypatch.setattr(logs, "_tensorboard", lambda *_: None)
