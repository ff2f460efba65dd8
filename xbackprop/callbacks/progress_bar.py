"""`ProgressBar`: a bar if output goes to a terminal and rich is installed, otherwise a few lines."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from xbackprop.callbacks.protocol import Callback, Fit
from xbackprop.training.loop import Epoch

LINES = 10  # about this many lines are printed, however many epochs there are


class Speed:
    """Samples per second over the epochs so far, without the first if there are more: a compiler may work in it."""

    def __init__(self) -> None:
        self.samples, self.seconds, self.epochs = 0, 0.0, 0

    def add(self, epoch: Epoch) -> float:
        """Take one more epoch into account and return the speed."""
        if self.epochs == 1:
            self.samples, self.seconds = 0, 0.0
        self.samples, self.seconds, self.epochs = (
            self.samples + epoch.samples, self.seconds + epoch.seconds, self.epochs + 1,
        )  # fmt: skip
        return self.samples / self.seconds


class ProgressBar(Callback):
    """Show epochs, loss, score and samples per second, and the time left, while a network trains.

    Attributes
    ----------
    rate_ : the samples per second; 0 before an epoch has ended, and on other ranks than the first.
    """

    rate_ = 0.0

    def on_train_begin(self, fit: Fit) -> None:
        """Begin a bar."""
        self._speed = Speed()
        self._bar: Any = None
        if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task("", total=fit.max_iter)

    def on_epoch_end(self, fit: Fit, epoch: Epoch) -> None:
        """Move it on, or print a line after the first epoch and every tenth of all epochs."""
        self.rate_ = self._speed.add(epoch)
        score = "" if epoch.score is None else f"  score {epoch.score:.4f}"
        if self._bar is not None:
            text = f"loss {epoch.loss:<9.4g}{score} {self.rate_:>11,.0f} samples/s"
            self._bar.update(self._task, completed=epoch.number, description=text)
        elif epoch.number == 1 or epoch.number % -(-fit.max_iter // LINES) == 0:
            number = f"{epoch.number:{len(str(fit.max_iter))}}/{fit.max_iter}"
            print(f"epoch      {number}  loss {epoch.loss:<10.6g}{score} {self.rate_:>11,.0f} samples/s", flush=True)

    def on_train_end(self, fit: Fit, reason: str) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()


def _bar() -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("training  "), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
