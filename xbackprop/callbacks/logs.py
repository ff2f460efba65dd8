"""Callbacks that write an epoch's numbers down: CSV, JSON lines, TensorBoard."""

from __future__ import annotations

import csv
import json
from os import PathLike
from pathlib import Path
from typing import IO, Any

from xbackprop.callbacks.protocol import Callback, Fit
from xbackprop.training.loop import Epoch
from xbackprop.validation import needed

FIELDS = ("epoch", "loss", "score", "samples", "seconds")


def numbers_of(epoch: Epoch) -> dict[str, float | None]:
    """Return the numbers of an epoch by the names of FIELDS; `score` is None without early stopping."""
    return dict(zip(FIELDS, (epoch.number, epoch.loss, epoch.score, epoch.samples, epoch.seconds), strict=True))


class _FileLog(Callback):
    """A text file, to which a line is added after each epoch, so that it is whole whenever training ends.

    path : the file. append : whether to go on with a file that is there, which is otherwise begun anew.
    """

    def __init__(self, path: str | PathLike[str], *, append: bool = False) -> None:
        self.path, self.append = Path(path), append
        self._file: IO[str] | None = None

    def on_train_begin(self, fit: Fit) -> None:
        """Open the file."""
        self._file = open(self.path, "a" if self.append else "w", encoding="utf-8", newline="")  # noqa: SIM115

    def on_epoch_end(self, fit: Fit, epoch: Epoch) -> None:
        """Write a line."""
        assert self._file is not None
        self._write(self._file, numbers_of(epoch))
        self._file.flush()

    def on_train_end(self, fit: Fit, reason: str) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, file: IO[str], numbers: dict[str, float | None]) -> None:
        raise NotImplementedError


class CSVLog(_FileLog):
    """Write a row for each epoch to a CSV file: epoch, loss, score, samples, seconds.

    path : the file. append : whether to go on with a file that is there, which is otherwise begun anew.
    """

    def _write(self, file: IO[str], numbers: dict[str, float | None]) -> None:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if not file.tell():
            writer.writeheader()
        writer.writerow(numbers)


class JSONLog(_FileLog):
    """Write an object for each epoch as a line of JSON: epoch, loss, score, samples, seconds.

    path : the file. append : whether to go on with a file that is there, which is otherwise begun anew.
    """

    def _write(self, file: IO[str], numbers: dict[str, float | None]) -> None:
        file.write(json.dumps(numbers) + "\n")


class TensorBoardLog(Callback):
    """Write loss, score and samples per second of each epoch for TensorBoard; needs tensorboardX.

    folder : of the run; `tensorboard --logdir` shows it.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder, self._open = Path(folder), needed("TensorBoardLog", "tensorboardX").SummaryWriter
        self._writer: Any = None

    def on_train_begin(self, fit: Fit) -> None:
        """Open the run."""
        self._writer = self._open(str(self.folder))

    def on_epoch_end(self, fit: Fit, epoch: Epoch) -> None:
        """Write the numbers."""
        rate = epoch.samples / max(epoch.seconds, 1e-9)
        scalars = {"loss": epoch.loss, "score": epoch.score, "samples_per_second": rate}  # names without spaces
        for name, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(name, value, epoch.number)

    def on_train_end(self, fit: Fit, reason: str) -> None:
        """Close the run."""
        if self._writer is not None:
            self._writer.close()
