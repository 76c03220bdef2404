"""``minitransformer demo``."""

from __future__ import annotations

from minitransformer.cli.common import clear_errors


def demo() -> None:
    """Load a real checkpoint from an installed package: similarities, an attention head, parity by layer."""
    with clear_errors():
        from minitransformer.demo import main

        main()
