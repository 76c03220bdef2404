"""What a run tells about itself: its history, a CSV file, TensorBoard's files, a progress bar, a picture."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typing_extensions import Self

from minitransformer.errors import TrainingError
from minitransformer.files import draft_of, open_whole
from minitransformer.options import Natural, Only, declared, read_all
from minitransformer.training.checkpoints import writing

Row = dict[str, float]
AnyNumber = Annotated[Any, Only(lambda value: type(value) in (int, float), "a number")]
"""Also one that is not finite: a metric may be."""
Rows = Annotated[
    list[dict[str, AnyNumber]],
    Only(lambda rows: all("step" in row for row in rows), "rows, each with a step"),
]

CSV_ROW, BOARD_ROW, PICTURE = 100, 1_000, 100_000  # bytes that a line of log.csv or TensorBoard and curve.png take
NO_NEWS = ("step", "epoch", "seconds", "tokens_per_second", "learning_rate", "gradient_norm")


@dataclass
class History:
    """Where a run stands, and the way it came. A checkpoint keeps all of it."""

    step: Natural = 0
    """Steps done."""
    examples: Natural = 0
    """Examples seen, repetitions counted."""
    seconds: float = 0.0
    """Time spent, in all starts together."""
    rows: Rows = field(default_factory=list)
    """One for every line of log.csv; ``loss`` is the mean since the line before."""
    best: AnyNumber | None = None
    best_step: int | None = None
    worse_evaluations: int = 0
    """Evaluations in a row without a better one."""
    stopped: Literal["finished", "patience", "minutes"] | None = None
    """Why training ended: "finished" (all steps), "patience" or "minutes"; None while it is under way."""
    unlogged: dict[str, AnyNumber] = field(default_factory=dict)
    """Sums since the last line."""

    def to_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any, place: str) -> Self:
        """What a checkpoint has kept.

        Raises:
            TrainingError: it has another shape; the message begins with ``place``.
        """
        if not isinstance(values, Mapping) or "step" not in values:
            raise TrainingError(f"{place} is damaged: it has no history of a training; remove its folder")
        return cls(**read_all(values, declared(cls), TrainingError, owner="a history", place=f"{place}: "))

    def is_complete(self) -> bool:
        """Whether there is nothing left to do."""
        return self.stopped in ("finished", "patience")

    def count(self, loss: float, indices: list[int], tokens: int, seconds: float) -> None:
        """Add a step: its loss, the examples that it used, their tokens, and the time at its end."""
        self.step += 1
        self.examples += len(indices)
        news = {"loss": loss, "steps": 1, "tokens": tokens, "seconds": seconds - self.seconds}
        self.unlogged = {name: self.unlogged.get(name, 0) + value for name, value in news.items()}
        self.seconds = seconds

    def row(self, examples: int) -> Row:
        """A line about the steps since the line before; ``examples`` make an epoch."""
        sums, self.unlogged = self.unlogged, {}
        return {
            "step": self.step,
            "epoch": self.examples / examples,
            "seconds": self.seconds,
            "tokens_per_second": sums["tokens"] / max(sums["seconds"], 1e-9),
            "loss": sums["loss"] / sums["steps"],
        }

    def column(self, name: str) -> tuple[list[float], list[float]]:
        """Steps and values of one column, where it has values."""
        rows = [row for row in self.rows if name in row]
        return [row["step"] for row in rows], [row[name] for row in rows]


class Log:
    """Writes the history where people look. Silent in all processes but the first.

    Args:
        folder: for log.csv, curve.png and tensorboard/.
        history: of the run so far.
        steps: in all.
        speaks: whether this process writes at all.
    """

    def __init__(self, folder: Path, history: History, steps: int, *, speaks: bool = True) -> None:
        self.folder = folder
        self.history = history
        self.speaks = speaks
        self._columns: list[str] = []
        self._board = _tensorboard(folder / "tensorboard", history.step) if speaks else None
        self._progress = Progress(
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TimeRemainingColumn(),
            TextColumn("{task.fields[news]}"),
            console=Console(stderr=True),
            disable=not (speaks and sys.stderr.isatty()),
        )
        self._bar = self._progress.add_task("", total=steps, completed=history.step, news="")
        if speaks:
            self._write_all()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()
        if self._board is not None:
            guard: AbstractContextManager[Any]  # after an error, another one would hide it
            guard = writing(self.folder, BOARD_ROW) if kind is None else suppress(OSError)
            with guard:
                self._board.close()

    def tick(self) -> None:
        """A step is done."""
        self._progress.update(self._bar, completed=self.history.step)

    def write(self, row: Row) -> None:
        """Add a line."""
        self.history.rows.append(row)
        if not self.speaks:
            return
        measured = [f"{name} {value:.4g}" for name, value in row.items() if name not in NO_NEWS]
        self._progress.update(self._bar, news="  ".join([*measured, f"{row['tokens_per_second']:,.0f} tokens/s"]))
        if set(row) <= set(self._columns):
            with (
                writing(self.folder, CSV_ROW),
                (self.folder / "log.csv").open("a", newline="", encoding="utf-8") as file,
            ):
                csv.DictWriter(file, self._columns).writerow(row)
        else:
            self._write_all()
        if self._board is not None:
            with writing(self.folder, BOARD_ROW):
                for name, value in row.items():
                    if name != "step":
                        self._board.add_scalar(name, value, int(row["step"]))
                self._board.flush()

    def _write_all(self) -> None:
        self._columns = list(dict.fromkeys(name for row in self.history.rows for name in row))
        with writing(self.folder, CSV_ROW * len(self.history.rows)), open_whole(self.folder / "log.csv") as file:
            table = csv.DictWriter(file, self._columns)
            table.writeheader()
            table.writerows(self.history.rows)

    def draw(self) -> None:
        """Draw the learning curve to curve.png, if matplotlib is installed."""
        if self.speaks:
            with writing(self.folder, PICTURE):
                draw_curve(self.history, self.folder / "curve.png")


def draw_curve(history: History, path: Path) -> None:
    """Loss against steps, for what was trained on and for what was held back."""
    try:
        from matplotlib.figure import Figure  # without pyplot: no window, no global state
    except ImportError:
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for column, label in (("loss", "training"), ("valid_loss", "validation")):
        steps, values = history.column(column)
        if values:
            axes.plot(steps, values, label=label, marker="o" if len(values) < 30 else None, markersize=3)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    if history.rows:
        axes.legend(loc="upper right")
    with draft_of(path) as draft:
        figure.savefig(draft, format=path.suffix[1:], dpi=120)


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
