"""`OnDisk`: a table that stays where it is, a file, and whose rows are read when a batch asks for them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import is_host_array, is_sparse

#: The bytes from which on a `numpy.memmap` is read batch by batch, where it would have to be copied otherwise.
LARGE = 2**28
#: Rows at a time that the mean and the deviation of the columns are measured on.
CHUNK = 2**16


class Moments(NamedTuple):
    """The number of some rows, and of each column the mean and Σ (x - mean)²."""

    n: int
    mean: np.ndarray
    squares: np.ndarray

    def joined(self, other: Moments) -> Moments:
        """Return the moments of these rows and others together.

        T. Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
        """
        n, apart = self.n + other.n, other.mean - self.mean
        if not n:
            return self
        squares = self.squares + (other.squares + apart**2 * (self.n * other.n / n))
        return Moments(n, self.mean + apart * (other.n / n), squares)

    def mean_and_deviation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation, which is 1 for a constant column."""
        deviation = np.sqrt(self.squares / self.n)
        return self.mean, np.where(deviation > 0, deviation, 1.0)


class OnDisk:
    """Some rows of a table in a file, read, scaled and rounded when they are asked for: ``table[rows].toarray()``.

    source : a `numpy.memmap`, a data set of HDF5, an array of Zarr: it has a shape, a dtype, and gives slices of rows
        and rows by ascending numbers. numbers : those of the rows, or None for all.
    dtype, scaling : of what is read, (mean, deviation) of the columns; None for the numbers as they are.
    """

    ndim = 2

    def __init__(
        self, where: str, source: Any, numbers: np.ndarray | None = None, dtype: str | None = None,
        scaling: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:  # fmt: skip
        self.where, self.source, self.numbers, self._dtype, self._scaling = where, source, numbers, dtype, scaling

    @property
    def shape(self) -> tuple[int, int]:
        """The number of the rows, and of the columns."""
        n = self.source.shape[0] if self.numbers is None else len(self.numbers)
        return int(n), int(self.source.shape[1])

    @property
    def dtype(self) -> np.dtype:
        """The dtype of what is read."""
        return np.dtype(self._dtype or self.source.dtype)

    def read_as(self, dtype: str, scaling: tuple[np.ndarray, np.ndarray] | None) -> OnDisk:
        """Return the same rows, to be read in a dtype and scaled."""
        return OnDisk(self.where, self.source, self.numbers, dtype, scaling)

    def __getitem__(self, rows: Any) -> OnDisk:
        """Return some of the rows, by a slice or their numbers, without reading them."""
        if self.numbers is not None:
            numbers = self.numbers[rows]
        else:
            numbers = np.arange(*rows.indices(self.source.shape[0])) if isinstance(rows, slice) else np.asarray(rows)
        return OnDisk(self.where, self.source, numbers, self._dtype, self._scaling)

    def toarray(self) -> np.ndarray:
        """Read the rows; ValueError for NaN and infinity, which names the place in the file."""
        x = given = self._read()
        if self._scaling is not None:
            mean, deviation = self._scaling
            x = (x.astype(np.float64) - mean) / deviation
        with np.errstate(over="ignore"):
            x = np.ascontiguousarray(x, dtype=self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            fine = np.isfinite(x.sum()) or np.isfinite(x).all()
        if not fine:
            i, j = map(int, np.argwhere(~np.isfinite(x))[0])
            row = i if self.numbers is None else int(self.numbers[i])
            raise ValueError(f"{self.where}: X must be finite, got {given[i, j]} at {(row, j)}")
        return x

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the columns, from one pass over the rows."""
        return self.moments().mean_and_deviation()

    def moments(self) -> Moments:
        """Return the moments of the columns, from one pass over the rows."""
        found = Moments(0, np.zeros(self.shape[1]), np.zeros(self.shape[1]))
        for start in range(0, self.shape[0], CHUNK):
            x = self[start : start + CHUNK].read_as("float64", None).toarray()
            middle = x.mean(axis=0)
            found = found.joined(Moments(len(x), middle, ((x - middle) ** 2).sum(axis=0)))
        return found

    def _read(self) -> np.ndarray:
        if self.numbers is None:
            return np.asarray(self.source[:])
        numbers = self.numbers
        if not len(numbers):
            return np.empty((0, self.shape[1]), dtype=self.source.dtype)
        if len(numbers) == 1 or (np.diff(numbers) == 1).all():
            return np.asarray(self.source[int(numbers[0]) : int(numbers[-1]) + 1])
        if isinstance(self.source, np.ndarray):
            return np.asarray(self.source[numbers])
        order = np.argsort(numbers, kind="stable")  # files are read by ascending numbers
        ascending, places = np.unique(numbers[order], return_inverse=True)
        rows = np.asarray(getattr(self.source, "oindex", self.source)[ascending])
        back = np.empty(len(numbers), dtype=np.int64)
        back[order] = places
        return rows[back]


def is_mapped(x: Any) -> bool:
    """Return whether the memory of an array of NumPy is that of a file, as of `numpy.memmap` and views of it."""
    while isinstance(x, np.ndarray):
        if isinstance(x, np.memmap):
            return True
        x = x.base
    return False


def is_on_disk(x: Any) -> bool:
    """Return whether x is a table in a file that is not to be read as a whole: `OnDisk`, HDF5's, Zarr's."""
    if type(x) is np.ndarray:  # the usual case, which the prediction of one row asks for
        return False
    if isinstance(x, OnDisk):
        return True
    if isinstance(x, np.ndarray | list | tuple) or is_sparse(x) or not is_host_array(x):
        return False
    kinds = getattr(getattr(x, "dtype", None), "kind", "")
    return len(getattr(x, "shape", ())) == 2 and kinds in tuple("biuf") and hasattr(x, "__getitem__")


def is_in_memory(x: Any) -> bool:
    """Return whether NumPy can read x directly, and all of it is in memory, or mapped into it."""
    return is_host_array(x) and not is_on_disk(x)


def comes_in_rows(x: Any) -> bool:
    """Return whether x is made a dense array a few rows at a time, by ``x[rows].toarray()``: sparse, or on disk."""
    return type(x) is not np.ndarray and (isinstance(x, OnDisk) or is_sparse(x))
