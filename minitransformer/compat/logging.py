"""How much the library says, in the words of ``transformers.logging``.

The library speaks through Python's logger ``minitransformer`` and through warnings; these functions set its level.
"""

from __future__ import annotations

import logging
from logging import CRITICAL, DEBUG, ERROR, FATAL, INFO, NOTSET, WARN, WARNING  # noqa: F401  (names that people use)

LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR, "critical": CRITICAL}


def get_logger(name: str | None = None) -> logging.Logger:
    """A logger of this name; the library's own by default."""
    return logging.getLogger(name or "minitransformer")


def get_verbosity() -> int:
    """The level from which the library's logger speaks."""
    return get_logger().getEffectiveLevel()


def set_verbosity(verbosity: int) -> None:
    """Let the library's logger speak from this level on."""
    get_logger().setLevel(verbosity)


def set_verbosity_debug() -> None:
    """Say everything."""
    set_verbosity(DEBUG)


def set_verbosity_info() -> None:
    """Say what happens, and more than that."""
    set_verbosity(INFO)


def set_verbosity_warning() -> None:
    """Say what may be wrong, and errors."""
    set_verbosity(WARNING)


def set_verbosity_error() -> None:
    """Say errors only."""
    set_verbosity(ERROR)


def disable_progress_bar() -> None:
    """Show no bars while files are downloaded."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()


def enable_progress_bar() -> None:
    """Show bars while files are downloaded."""
    from huggingface_hub.utils.tqdm import enable_progress_bars

    enable_progress_bars()
