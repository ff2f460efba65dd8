"""Minibatches: rows taken on the device, in an order drawn on the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, Backend, Namespace, is_sparse
from xbackprop.nn.objective import Batch, make_batch

Samples = tuple[Any, Array, Array | None]  # X, y, and the weights or None


def batch_groups(
    backend: Backend, samples: Samples, batch_size: int, order: np.ndarray | None
) -> Iterator[tuple[Samples, Any, list[int]]]:
    """One epoch, every row once, in pieces whose batches are all of one size: mostly one, and a last smaller batch.

    Of each piece the samples; the rows of its batches, (m, size) numbers on the device, or m slices if there is no
    `order`, a permutation of the rows; and their m sizes. X may be a sparse matrix on the host: then each batch is a
    piece, made dense.
    """
    X: Any = samples[0]
    n = X.shape[0]
    if is_sparse(X):
        for start in range(0, n, batch_size):
            chosen: Any = slice(start, min(start + batch_size, n))
            rows = chosen if order is None else order[chosen]
            y, weight = _take(backend, samples[1:], rows if order is None else backend.asarray(rows))
            yield (dense(backend, X[rows]), y, weight), [slice(None)], [y.shape[0]]
        return
    whole = n // batch_size * batch_size
    parts = [(range(0, whole, batch_size), batch_size), (range(whole, n, n - whole or 1), n - whole)]
    groups = [(_rows(backend, order, starts, size), starts, size) for starts, size in parts if starts]
    for rows, starts, size in groups:  # all of them are on the device before the first step, which none then waits for
        yield samples, rows, [size] * len(starts)


def _rows(backend: Backend, order: np.ndarray | None, starts: range, size: int) -> Any:
    if order is None:
        return [slice(start, start + size) for start in starts]
    return backend.asarray(order[starts.start : starts.stop].reshape(-1, size))


def as_row_indices(rows: Any, n: int) -> Any:
    """The rows of batches, as `batch_groups` gives them of n samples, in numbers (m, size) even if they are slices."""
    return np.array([range(*chosen.indices(n)) for chosen in rows]) if isinstance(rows, list) else rows


def take_batch(backend: Backend, samples: Samples, rows: Any) -> Batch:
    """The batch of these rows: a slice, or numbers on the device."""
    return make_batch(backend, *_take(backend, samples, rows))


def _take(backend: Backend, arrays: Sequence[Array | None], rows: Any) -> list[Any]:
    if isinstance(rows, slice):
        return [None if a is None else a[rows, ...] for a in arrays]
    take = backend.bind(take_rows)
    return [None if a is None else take(a, rows) for a in arrays]


def take_rows(xp: Namespace, x: Array, rows: Array) -> Array:
    """The named rows of x."""
    return xp.take(x, rows, axis=0)


def dense(backend: Backend, X: Any) -> Array:
    """The rows of a sparse matrix as an array of the backend."""
    return backend.asarray(X.toarray())
