"""Read the tables that people have, of whatever library, into `Table`s.

pandas, polars and pyarrow tables are read through narwhals, which has one interface for all of them.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from xbackprop.arrays.backend import is_sparse
from xbackprop.tabular.columns import (
    LARGEST_WHOLE,
    Column,
    Table,
    empty,
    factorise,
    number_as_text,
    same_length,
    whole_numbers,
    with_dates,
)  # fmt: skip

NESTED = (Mapping, list, tuple, set, np.ndarray, bytes)
DATES = (datetime.date, np.datetime64)  # a datetime and a Timestamp are dates too


def read_table(where: str, X: Any) -> Table:
    """Return a table of numbers, dates and categories.

    Parameters
    ----------
    X : a pandas, polars or pyarrow table; a mapping from names to columns, or from names to the cells of one row; a
        list of such rows; a structured array; or (n, n_columns) numbers or objects, whose columns are called x0, x1, ….

    Raises
    ------
    ValueError : for a column that holds several kinds of values, or values with parts; it names the column.
    """
    if isinstance(X, Table):
        return X
    if is_sparse(X):
        raise TypeError(f"{where}: sparse input is not supported: X must be a table; an MLP takes sparse matrices")
    if isinstance(X, Mapping):
        return _mapping(where, X)
    if isinstance(X, Sequence) and not isinstance(X, str) and X and all(isinstance(row, Mapping) for row in X):
        names = dict.fromkeys(name for row in X for name in row)
        return _mapping(where, {name: [row.get(name) for row in X] for name in names})
    if isinstance(X, np.ndarray) and X.dtype.names:
        return same_length(where, {name: _array(where, name, X[name]) for name in X.dtype.names})
    if isinstance(X, np.ndarray | list | tuple):
        return _rows(where, X)
    if hasattr(X, "__array__") and not hasattr(X, "columns"):
        return _rows(where, np.asarray(X))
    return _frame(where, X)


def has_names(X: Any) -> bool:
    """Return whether the columns of a user's table have names of their own."""
    if isinstance(X, Table):
        return True
    return (
        not isinstance(X, np.ndarray | list | tuple)
        or bool(getattr(getattr(X, "dtype", None), "names", None))
        or (isinstance(X, list) and bool(X) and isinstance(X[0], dict))
    )


def _mapping(where: str, X: Mapping[Any, Any]) -> Table:
    cells = {str(name): value for name, value in X.items()}
    if cells and all(value is None or np.ndim(value) == 0 for value in cells.values()):
        cells = {name: [value] for name, value in cells.items()}
    return same_length(where, {name: _column(where, name, value) for name, value in cells.items()})


def _rows(where: str, X: Any) -> Table:
    try:
        rows = np.asarray(X)
        rows = np.asarray(X, dtype=object) if rows.dtype.kind in "US" and not isinstance(X, np.ndarray) else rows
    except ValueError as error:
        raise ValueError(f"{where}: the rows of X must be equally long: {error}") from error
    if rows.ndim == 2 and not rows.shape[1]:
        raise ValueError(f"{where}: X has 0 feature(s) (shape={rows.shape}) while a minimum of 1 is required.")
    if rows.ndim != 2 or 0 in rows.shape:
        hint = ". Reshape your data: X.reshape(1, -1) is one row" if rows.ndim == 1 else ""
        raise ValueError(f"{where}: X must have shape (n_samples, n_features), got {rows.shape}{hint}")
    if rows.dtype.kind == "c":
        raise ValueError(f"{where}: Complex data not supported, X has the type {rows.dtype}")
    return same_length(where, {f"x{j}": _array(where, f"x{j}", rows[:, j]) for j in range(rows.shape[1])})


def _frame(where: str, X: Any) -> Table:
    """Read a table of another library."""
    try:
        import narwhals as nw
    except ImportError as error:  # scikit-learn brings it from 1.9 on
        raise ImportError(f"{where}: tables of {type(X).__module__} need narwhals: pip install narwhals") from error
    try:
        frame = nw.from_native(X, eager_only=True)
        names = frame.columns
    except TypeError as error:
        raise TypeError(
            f"{where}: X must be a table of pandas, polars or pyarrow, a mapping of columns or an array, got "
            f"{type(X).__name__}"
        ) from error
    except Exception as error:
        raise ValueError(f"{where}: {error}") from error
    texts = [str(name) for name in names]
    if twice := [name for name in texts if texts.count(name) > 1]:
        raise ValueError(f"{where}: two columns are called {twice[0]!r}")
    return same_length(where, {str(name): _series(where, str(name), frame.get_column(name)) for name in names})


def _column(where: str, name: str, values: Any) -> Column:
    """Read a column of a mapping: an array, a list, or a series of another library."""
    if isinstance(values, str) or np.ndim(values) == 0:
        raise ValueError(f"{where}: column {name!r} must have a cell for each row, got {values!r}")
    if isinstance(values, np.ndarray):
        return _array(where, name, values)
    if isinstance(values, list | tuple | range):
        return _objects(where, name, list(values))
    try:
        import narwhals as nw

        series = nw.from_native(values, series_only=True)
    except (ImportError, TypeError):
        return _array(where, name, np.asarray(values))
    return _series(where, name, series)


def _series(where: str, name: str, series: Any) -> Column:
    """Read a series of narwhals'."""
    import narwhals as nw

    dtype, n = series.dtype, len(series)
    if dtype.is_integer() and n and (series.null_count() < n):
        largest = max(-int(series.min()), int(series.max()))
        if largest > LARGEST_WHOLE:
            return factorise(series.cast(nw.String).to_list(), n)
    if dtype.is_numeric():
        values = series.cast(nw.Float64).to_numpy().astype(np.float64)
        return Column("number", values)
    if dtype == nw.Boolean:
        return _objects(where, name, series.to_list())
    if dtype in (nw.String, nw.Categorical) or isinstance(dtype, nw.Enum):
        is_text = dtype == nw.String
        return with_dates(factorise(map(_level, series.to_list()), n, is_text))
    if dtype in (nw.Datetime, nw.Date):
        if getattr(dtype, "time_zone", None):
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return _array(where, name, series.to_numpy())
    if dtype == nw.Duration:
        return _array(where, name, series.to_numpy())
    if isinstance(dtype, nw.List | nw.Array | nw.Struct | nw.Binary):
        raise ValueError(f"{where}: column {name!r} is nested: its cells are {dtype}; make columns of their parts")
    return _objects(where, name, series.to_list())


def _level(value: Any) -> Any:
    """Return the text of a level, which in a column of pandas' categories may be a number; None where it is missing."""
    if isinstance(value, str):
        return value
    if _is_missing(value):
        return None
    return number_as_text(value) if _kind_of(value) == "numbers" else str(value)


def _array(where: str, name: str, values: np.ndarray) -> Column:
    """Read an array of one axis by its type."""
    if values.ndim != 1:
        raise ValueError(f"{where}: column {name!r} must have one axis, got shape {values.shape}")
    match values.dtype.kind:
        case "f":
            return Column("number", values.astype(np.float64))
        case "i" | "u":
            return whole_numbers(values)
        case "b":
            return factorise(values.astype(str).tolist(), len(values), is_text=False)
        case "M":
            return Column("date", values.astype("datetime64[us]"))
        case "m":
            seconds = values.astype("timedelta64[us]")
            return Column("number", np.where(np.isnat(seconds), np.nan, seconds.astype(np.float64) / 1e6))
        case "U":
            return with_dates(factorise(values.tolist(), len(values)))
        case "O":
            return _objects(where, name, values.tolist())
    raise ValueError(f"{where}: column {name!r} must have numbers, text or dates, got {values.dtype}")


def _objects(where: str, name: str, values: list[Any]) -> Column:
    """Read Python's objects, which must be of one kind; None, NaN, and pandas' NA and NaT are missing."""
    n, kinds = len(values), dict[str, int]()
    types = {type(v): _kind_of(v) for v in values if not _is_missing(v)}
    if not types:
        return empty(n)
    for i, v in enumerate(values):
        if not _is_missing(v):
            kinds.setdefault(types[type(v)], i)
    if "nested" in kinds:
        raise ValueError(f"{where}: column {name!r} is nested: row {kinds['nested']} has {values[kinds['nested']]!r}")
    if len(kinds) > 1:
        (one, i), (other, j), *_ = kinds.items()
        raise ValueError(
            f"{where}: column {name!r} mixes {one} and {other}: {values[i]!r} in row {i}, {values[j]!r} in row {j}"
        )
    (kind,) = kinds
    known = [None if _is_missing(v) else v for v in values]
    match kind:
        case "text":
            return with_dates(factorise(known, n))
        case "yes or no":
            return factorise((None if v is None else str(bool(v)) for v in known), n, is_text=False)
        case "dates":
            return Column("date", np.array([_as_datetime(v) for v in known], dtype="datetime64[us]"))
        case "times":
            return Column("number", np.array([np.nan if v is None else _seconds(v) for v in known]))
    if any(isinstance(v, int | np.integer) and abs(int(v)) > LARGEST_WHOLE for v in known):
        return factorise((None if v is None else str(v) for v in known), n)
    return Column("number", np.array([np.nan if v is None else float(v) for v in known]))


def _is_missing(v: Any) -> bool:
    return v is None or type(v).__name__ in ("NAType", "NaTType") or (isinstance(v, float | np.floating) and v != v)


def _kind_of(v: Any) -> str:
    if isinstance(v, str):
        return "text"
    if isinstance(v, bool | np.bool_):
        return "yes or no"
    if isinstance(v, Real | Decimal):
        return "numbers"
    if isinstance(v, DATES):
        return "dates"
    if isinstance(v, datetime.timedelta | np.timedelta64 | datetime.time):
        return "times"
    return "nested" if isinstance(v, NESTED) else type(v).__name__


def _as_datetime(v: Any) -> Any:
    if v is None:
        return np.datetime64("NaT")
    if isinstance(v, datetime.datetime) and v.tzinfo is not None:
        v = v.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64(v, "us")


def _seconds(v: Any) -> float:
    if isinstance(v, datetime.time):
        return v.hour * 3600.0 + v.minute * 60.0 + v.second + v.microsecond / 1e6
    return float(np.timedelta64(v, "us").astype(np.int64)) / 1e6
