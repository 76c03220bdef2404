"""``python -m minitransformer`` and ``minitransformer`` are the command line."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run a command.

    What interrupts it ends it: at once and without a word while the program is being loaded, and after that by way of
    everything that has to be put away.
    """
    try:
        by_keyboard = signal.signal(signal.SIGINT, signal.SIG_DFL)
        from minitransformer.cli import app
        from minitransformer.cli.streams import finish, prepare

        prepare()
        signal.signal(signal.SIGINT, by_keyboard)
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        app()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except SystemExit as left:
        sys.exit(finish(left.code))
    except OSError as error:
        sys.exit(finish(error))


if __name__ == "__main__":
    main()
