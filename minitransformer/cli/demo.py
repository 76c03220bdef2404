"""``minitransformer demo``."""

from __future__ import annotations

from minitransformer.cli.common import clear_errors


def demo() -> None:
    """Nine tasks, answered offline by the toy checkpoints of this package; then a look inside a real one."""
    with clear_errors():
        from minitransformer.demo import main

        main()
