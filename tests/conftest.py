"""Fixtures for all tests; shapes in the signatures of ``layers`` are checked while they run."""

from __future__ import annotations

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may leave this machine; those of the Hub speak to a local server

from jaxtyping import install_import_hook

install_import_hook("minitransformer.layers", "beartype.beartype")
