"""Columns of a table in three plain forms: numbers, dates, and categories as codes into a list of levels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

#: Dates as ISO 8601 writes them, with or without a time; "Z" at the end is UTC.
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?Z?")
#: The largest whole number up to which float64 has every one.
LARGEST_WHOLE = 2**53


class Column(NamedTuple):
    """A column of a table.

    kind : "number", "date", "category", or "empty", where every cell is missing.
    values : (n,): numbers in float64 with NaN, dates as datetime64[us] with NaT, or codes in int64 with -1 where a cell
        is missing.
    levels : the texts that the codes stand for. is_text : whether they are free text, and no declared categories.
    """

    kind: str
    values: np.ndarray
    levels: tuple[str, ...] = ()
    is_text: bool = False

    def take(self, rows: np.ndarray) -> Column:
        """Return the column of these rows."""
        return self._replace(values=self.values[rows])

    @property
    def missing(self) -> np.ndarray:
        """Whether each cell is missing (n,)."""
        match self.kind:
            case "number":
                return np.isnan(self.values)
            case "date":
                return np.isnat(self.values)
            case "category":
                return self.values < 0
        return np.ones(len(self.values), dtype=bool)


class Table(NamedTuple):
    """The columns of a table by name, and the number of its rows."""

    columns: dict[str, Column]
    n: int

    def take(self, rows: np.ndarray) -> Table:
        """Return the table of these rows."""
        return Table({name: column.take(rows) for name, column in self.columns.items()}, len(rows))

    def without(self, names: Iterable[str]) -> Table:
        """Return the table without some columns."""
        left_out = set(names)
        return self._replace(columns={name: c for name, c in self.columns.items() if name not in left_out})


def factorise(values: Iterable[Any], n: int, is_text: bool = True) -> Column:
    """Return texts as a column of codes; anything that is no text is missing."""
    levels: dict[str, int] = {}
    codes = (levels.setdefault(v, len(levels)) if isinstance(v, str) else -1 for v in values)
    found = np.fromiter(codes, dtype=np.int64, count=n)
    return Column("category", found, tuple(levels), is_text) if levels else empty(n)


def empty(n: int) -> Column:
    """Return a column without a value."""
    return Column("empty", np.full(n, -1))


def whole_numbers(values: np.ndarray, missing: np.ndarray | None = None) -> Column:
    """Return whole numbers as numbers, or as categories where float64 would merge some of them."""
    if len(values) and max(-int(values.min()), int(values.max())) > LARGEST_WHOLE:
        texts = [None if missing is not None and missing[i] else str(v) for i, v in enumerate(values)]
        return factorise(texts, len(values))
    return Column("number", values.astype(np.float64))


def with_dates(column: Column) -> Column:
    """Return a column of text as dates if all its texts are dates as ISO 8601 writes them; else as it is."""
    if not (column.is_text and column.levels and all(map(ISO_DATE.fullmatch, column.levels))):
        return column
    try:
        return _as_dates(column)
    except ValueError:  # the 30th of February
        return column


def _as_dates(column: Column) -> Column:
    dates = np.array([*(level.removesuffix("Z") for level in column.levels), "NaT"], dtype="datetime64[us]")
    return Column("date", dates[column.values])


def convert(where: str, name: str, column: Column, kind: str) -> Column:
    """Return a column as one of another kind, that which it had when the encoder was fitted.

    Numbers become text, and text that stands for numbers or dates becomes these. Raise ValueError, which names the
    column and a cell, for anything else.
    """
    if kind == column.kind:
        return column
    n = len(column.values)
    if column.kind == "empty":
        blank = {"number": np.full(n, np.nan), "date": np.full(n, "NaT", dtype="datetime64[us]")}
        return Column(kind, blank.get(kind, column.values))
    if kind == "category" and column.kind == "number":
        texts = (None if v != v else number_as_text(v) for v in column.values.tolist())
        return factorise(texts, n, is_text=False)
    if column.kind == "category" and kind in ("number", "date"):
        for level in column.levels:
            if not _reads_as(level, kind):
                row = int(np.flatnonzero(column.values == column.levels.index(level))[0])
                raise ValueError(f"{where}: column {name!r} must have {kind}s, as in fit, got {level!r} in row {row}")
        if kind == "date":
            return _as_dates(column)
        return Column("number", np.array([*map(float, column.levels), np.nan])[column.values])
    raise ValueError(f"{where}: column {name!r} must have {_PLURALS[kind]}, as in fit, got {_PLURALS[column.kind]}")


_PLURALS = {"number": "numbers", "date": "dates", "category": "categories"}


def number_as_text(number: float) -> str:
    """Return a number as people write it: 3 and not 3.0."""
    return str(int(number)) if float(number).is_integer() else repr(float(number))


def _reads_as(level: str, kind: str) -> bool:
    try:
        if kind == "number":
            float(level)
            return True
        if ISO_DATE.fullmatch(level) is None:
            return False
        np.datetime64(level.removesuffix("Z"), "us")
    except ValueError:
        return False
    return True


def same_length(where: str, columns: Mapping[str, Column]) -> Table:
    """Return the columns as a table; raise ValueError if they have unequal numbers of rows, or there are none."""
    lengths = {name: len(column.values) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{where}: all columns must have the same number of rows, got {lengths}")
    if not lengths:
        raise ValueError(f"{where}: the table has no columns")
    return Table(dict(columns), next(iter(lengths.values())))
