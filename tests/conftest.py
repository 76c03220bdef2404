"""Fixtures for all tests; shapes in the signatures of ``layers`` are checked while they run."""

from __future__ import annotations

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may leave this machine; those of the Hub speak to a local server

from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

install_import_hook("minitransformer.layers", "beartype.beartype")

# Property tests draw the same examples each time; HYPOTHESIS_PROFILE=search draws many others.
settings.register_profile(
    "same",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("search", settings.get_profile("same"), derandomize=False, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
