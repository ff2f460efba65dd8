"""Read tables for the command: CSV files, and the data sets that come with scikit-learn.

The first line of a CSV file holds the names of its columns. Commas, semicolons or tabs separate its cells, whichever
occurs most often in the first line. Columns that are not used may hold anything.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
NO_SUCH_FILE = f"there is no such file, and no such data set; those are {', '.join(BUNDLED)}"
#: A plain number, and a code: whole numbers with leading zeros, which are not the same as without.
PLAIN, CODE = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?"), re.compile(r"0\d+")
MAX_CLASSES = 20  # a target with more distinct whole numbers than this is taken for a quantity, not for classes


class Dataset(NamedTuple):
    """Samples to train on.

    X : (n, n_features) in float64. y : (n,) labels or numbers. features : names of the columns of X. target : name of
    the column y. task : "classification" or "regression".
    """

    X: np.ndarray
    y: np.ndarray
    features: list[str]
    target: str
    task: str


class Table(NamedTuple):
    """The text of a CSV file.

    columns : the cells below each name of the header. lines : for each row, the number of the line of the file at
    which it ends, for error messages.
    """

    path: str
    columns: dict[str, Sequence[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        """Return the cells of a column, stripped; raise ValueError if there is no such column or a cell is empty."""
        if name not in self.columns:
            raise ValueError(f"{self.path}: there is no column {name!r}; the columns are {', '.join(self.columns)}")
        cells = [cell.strip() for cell in self.columns[name]]
        if "" in cells:
            raise ValueError(f"{self.path}, line {self.lines[cells.index('')]}: column {name!r} is empty")
        return cells

    def numbers(self, names: Sequence[str], hint: str = "") -> np.ndarray:
        """Return the named columns, in this order, as float64 of shape (n, len(names)).

        hint : text to append to the ValueError that a cell without a finite number raises.
        """
        values = np.empty((len(self.lines), len(names)))
        for j, name in enumerate(names):
            cells = self.column(name)
            try:
                values[:, j] = np.array(cells, dtype=np.float64)  # which reads text faster than a loop does
                fine = bool(np.isfinite(values[:, j]).all())
            except ValueError:
                fine = False
            if not fine:
                bad = next(i for i, cell in enumerate(cells) if _number(cell) is None)
                where = f"{self.path}, line {self.lines[bad]}"
                raise ValueError(f"{where}: column {name!r} must have finite numbers, got {cells[bad]!r}{hint}")
        return values


def read_dataset(source: str, target: str | None = None, task: str | None = None) -> Dataset:
    """Read samples to train on from a CSV file, or load one of scikit-learn's data sets.

    Parameters
    ----------
    source : the path of a CSV file, or a name in `BUNDLED`.
    target : the column of the file to predict; all other columns are features. None for a data set, which has its own.
    task : "classification" or "regression"; None decides by the target: it holds classes if it is text (a code with
        leading zeros is text), or at most 20 distinct whole numbers that occur twice or more on average.

    Raises
    ------
    ValueError : if a feature is not a finite number or the file is not a table; the message gives line and column.
    FileNotFoundError : if there is neither such a file nor such a data set.
    ImportError : for a data set if scikit-learn is not installed.
    """
    if is_bundled(source):
        if target is not None:
            raise ValueError(f"{source}: the data set knows its own target, got --target {target}")
        return _bundled(source, task)
    table = read_csv(source)
    if target is None:
        raise ValueError(f"{source}: say with --target which column to predict; there are {', '.join(table.columns)}")
    y, task = _read_target(table, target, task)
    features = [name for name in table.columns if name != target]
    if not features:
        raise ValueError(f"{source}: there must be a column beside the target {target!r}")
    return Dataset(table.numbers(features), y, features, target, task)


def read_features(source: str, names: Sequence[str] | None, count: int) -> np.ndarray:
    """Read the inputs X (n, count) of a model from a CSV file or a data set.

    Parameters
    ----------
    source : the path of a CSV file, or a name in `BUNDLED`.
    names : the model's names of its features: these columns are taken, whatever their order, and others are ignored.
        None if the model has no names; then all columns are taken, in their order.
    count : the number of features of the model.

    Raises
    ------
    ValueError : if a column is missing, holds something else than finite numbers, or their number is not `count`.
    """
    if is_bundled(source):
        dataset = _bundled(source)
        columns, rows = dataset.features, dataset.X
        missing = [name for name in names or () if name not in columns]
        if missing:
            raise ValueError(f"{source}: there is no column {missing[0]!r}, which the model needs")
        X = rows if names is None else rows[:, [columns.index(name) for name in names]]
    else:
        table = read_csv(source)
        X = table.numbers(list(table.columns) if names is None else names)
    if X.shape[1] != count:
        raise ValueError(f"{source}: the model knows its {count} columns by place only, got {X.shape[1]} columns")
    return X


def read_csv(path: str) -> Table:
    """Read all cells of a CSV file, or of a pipe, as text; empty lines are skipped.

    Raises FileNotFoundError, or ValueError if the file is not text in UTF-8, is empty, or has rows of unequal length.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: {NO_SUCH_FILE}")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            reader = csv.reader(chain([header], file), delimiter=max(",;\t", key=header.count), strict=True)
            read = [(row, reader.line_num) for row in reader if row]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the file must be text in UTF-8: {error}") from error
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: this is no CSV: {error}") from error
    if not read:
        raise ValueError(f"{path}: the file is empty")
    columns = [name.strip() for name in read[0][0]]
    _check_header(path, columns)
    for row, line in read[1:]:
        if len(row) != len(columns):
            raise ValueError(f"{path}, line {line}: expected {len(columns)} cells, as in the header, got {len(row)}")
    if len(read) == 1:
        raise ValueError(f"{path}: there is a header and nothing below it")
    by_column = zip(*(row for row, _ in read[1:]), strict=True)
    return Table(path, dict(zip(columns, by_column, strict=True)), [line for _, line in read[1:]])


def hold_out(dataset: Dataset, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the rows at random into those to train on and those to hold out; return the row numbers of both.

    For a classification the same fraction of every class is held out (a stratified split), and at least one row of
    every class is kept for training.

    Raises
    ------
    ValueError : if the fraction is not between 0 and 1, or so small that no row would be held out.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"--held-out must be a number between 0 and 1, got {fraction}")
    rng = np.random.RandomState(seed)
    order = rng.permutation(len(dataset.y))
    held_out = np.zeros(len(dataset.y), dtype=bool)
    strata = dataset.y if dataset.task == "classification" else np.zeros(len(dataset.y))
    for stratum in np.unique(strata):
        rows = order[strata[order] == stratum]
        held_out[rows[: min(round(fraction * len(rows)), len(rows) - 1)]] = True  # one stays for training
    if not held_out.any():
        raise ValueError(f"{len(dataset.y)} samples are too few to hold out a fraction of {fraction} of them")
    return order[~held_out[order]], order[held_out[order]]


def _check_header(path: str, columns: list[str]) -> None:
    """Raise ValueError for names that are missing, repeated, or all numbers, which means that the header is missing."""
    if "" in columns:
        raise ValueError(f"{path}, line 1: column {columns.index('') + 1} has no name")
    if all(_number(name) is not None for name in columns):
        raise ValueError(f"{path}, line 1: expected the names of the columns, got the numbers {', '.join(columns[:5])}")
    if len(set(columns)) < len(columns):
        twice = [name for name in columns if columns.count(name) > 1]
        raise ValueError(f"{path}, line 1: two columns are called {twice[0]!r}")


def _read_target(table: Table, name: str, task: str | None) -> tuple[np.ndarray, str]:
    """Read y (n,) and, if it is not given, decide the task as `read_dataset` says."""
    cells = table.column(name)
    if task == "classification":
        return _labels(cells), task
    if task is None and (any(map(CODE.fullmatch, cells)) or all(_number(cell) is None for cell in cells)):
        different = len(set(cells))
        if different > max(2, len(cells) // 2):
            raise ValueError(
                f"{table.path}: column {name!r} has {different} different texts in {len(cells)} rows, such as "
                f"{cells[0]!r}: a regression must have numbers; if they are labels, say --task classification"
            )
        return np.array(cells), "classification"
    y = table.numbers([name], hint=" (if it is a label, say --task classification)")[:, 0]
    if task is None and np.all(np.mod(y, 1) == 0) and len(np.unique(y)) <= min(MAX_CLASSES, len(y) // 2):
        return _labels(cells), "classification"
    return y, "regression"


def infer_target(path: str, name: str, cells: Sequence[str], task: str | None) -> tuple[np.ndarray, str]:
    """Return y (n,) and the task, as `read_dataset` does, from the cells of a target of which none is missing."""
    return _read_target(Table(path, {name: cells}, list(range(2, len(cells) + 2))), name, task)


def _labels(cells: list[str]) -> np.ndarray:
    """Return labels as numbers if all are plain ones that a number tells apart, else as text: 007 is not 7."""
    if not all(map(PLAIN.fullmatch, cells)):
        return np.array(cells)
    whole = [int(cell.partition(".")[0]) for cell in cells if not cell.partition(".")[2].strip("0")]
    if len(whole) < len(cells):
        return np.array(cells, dtype=np.float64)
    fits = all(-(2**63) <= number < 2**63 for number in whole)
    return np.array(whole, dtype=np.int64) if fits else np.array(cells)


def is_bundled(source: str) -> bool:
    """Return whether `source` names a data set; a file of that name takes precedence."""
    return source in BUNDLED and not Path(source).exists()


def _bundled(name: str, task: str | None = None) -> Dataset:
    """Load a data set of scikit-learn's; its labels are names where it has names for them."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            f"{name} comes with scikit-learn, which is not installed: pip install scikit-learn"
        ) from error
    bunch: Any = getattr(datasets, f"load_{name}")()
    labels = getattr(bunch, "target_names", None)
    y = bunch.target if labels is None else np.asarray(labels)[bunch.target]
    task = task or ("regression" if labels is None else "classification")
    if task == "regression" and y.dtype.kind == "U":
        raise ValueError(f"{name}: the target of a regression must be numbers, got labels like {str(y[0])!r}")
    features = [str(feature) for feature in bunch.feature_names]
    return Dataset(np.asarray(bunch.data, dtype=np.float64), y, features, "target", task)


def _number(cell: str) -> float | None:
    """Return the cell as a number, or None if it is not a finite one."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
