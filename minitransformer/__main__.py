"""``python -m minitransformer`` and ``minitransformer`` are the command line."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Run a command.

    What interrupts it ends it: at once and without a word while the program is being loaded, and after that by way of
    everything that has to be put away. Libraries may swallow an interrupt while they are being loaded; the exit status
    tells of it all the same.
    """
    interrupts = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    try:
        by_keyboard = signal.signal(signal.SIGINT, signal.SIG_DFL)
        from minitransformer.cli import app
        from minitransformer.cli.streams import finish, prepare

        prepare()
        signal.signal(signal.SIGINT, interrupt if by_keyboard is signal.default_int_handler else by_keyboard)
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        app()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except SystemExit as left:
        sys.exit(finish(left.code or (128 + signal.SIGINT if interrupts else 0)))
    except OSError as error:
        sys.exit(finish(error))


if __name__ == "__main__":
    main()
