"""``minitransformer demo``: the nine tasks with checkpoints of this package, then a look inside a real one."""

from __future__ import annotations

from rich.console import Console

from minitransformer.demo.inside import SENTENCES, checkpoint_folder, embed, show_inside
from minitransformer.demo.tasks import show_tasks
from minitransformer.errors import MissingFileError

__all__ = ["SENTENCES", "checkpoint_folder", "embed", "main"]


def main() -> None:
    """Print the demo. The second part is left out where its checkpoint is not installed."""
    console = Console()
    show_tasks(console)
    try:
        folder = checkpoint_folder()
    except MissingFileError as error:
        console.print(f"A look inside a model is left out: {error}", markup=False)
        return
    show_inside(console, folder)
