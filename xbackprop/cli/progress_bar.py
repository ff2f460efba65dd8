"""Show the progress of training: a bar if output goes to a terminal and rich is installed, otherwise a few lines."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xbackprop.training.loop import Epoch

LINES = 10  # about this many lines are printed, however many epochs there are


@contextmanager
def progress_bar(max_iter: int) -> Iterator[Callable[[Epoch], None]]:
    """Context manager that gives a callback for `MLP.fit`, which shows epoch, loss and samples per second.

    max_iter : the number of epochs at which the bar is full.
    """
    if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
        with _bar(max_iter) as show:
            yield show
    else:
        yield _lines(max_iter)


class Speed:
    """Samples per second over the epochs so far, without the first if there are more: a compiler may work in it."""

    def __init__(self) -> None:
        self.samples, self.seconds, self.epochs = 0, 0.0, 0

    def __call__(self, epoch: Epoch) -> float:
        """Take one more epoch into account and return the speed."""
        if self.epochs == 1:
            self.samples, self.seconds = 0, 0.0
        self.samples, self.seconds, self.epochs = (
            self.samples + epoch.samples, self.seconds + epoch.seconds, self.epochs + 1,
        )  # fmt: skip
        return self.samples / self.seconds


def _lines(max_iter: int) -> Callable[[Epoch], None]:
    """Return a callback that prints a line for the first epoch and after every tenth of the epochs."""
    step = -(-max_iter // LINES)
    width = len(str(max_iter))
    speed = Speed()

    def show(epoch: Epoch) -> None:
        rate = speed(epoch)
        if epoch.number == 1 or epoch.number % step == 0:
            number = f"{epoch.number:{width}}/{max_iter}"
            print(f"epoch      {number}  loss {epoch.loss:<10.6g} {rate:>11,.0f} samples/s", flush=True)

    return show


@contextmanager
def _bar(max_iter: int) -> Iterator[Callable[[Epoch], None]]:
    """Context manager that gives a callback which moves a progress bar of rich."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("training  "),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    speed = Speed()
    with Progress(*columns) as bar:
        task = bar.add_task("", total=max_iter)

        def show(epoch: Epoch) -> None:
            text = f"loss {epoch.loss:<9.4g} {speed(epoch):>11,.0f} samples/s"
            bar.update(task, completed=epoch.number, description=text)

        yield show
