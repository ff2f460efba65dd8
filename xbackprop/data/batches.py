"""Minibatches: take rows on the device, in an order that is drawn on the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, Backend, Namespace, is_sparse
from xbackprop.data.on_disk import comes_in_rows
from xbackprop.nn.objective import Batch, make_batch

Samples = tuple[Any, Array, Array | None]  # X, y, and the weights or None


def batch_groups(
    backend: Backend, samples: Samples, batch_size: int, order: np.ndarray | None
) -> Iterator[tuple[Samples, Any, list[int]]]:
    """Split an epoch into groups of equally large batches, so that a compiler sees one shape per group.

    The first group has all the full batches; if rows are left, a second one has the last, smaller batch.

    Parameters
    ----------
    order : the numbers of the rows (n,), in the order in which they are taken, or None to take all as they are; for a
        stack of k networks (k, n).

    Yields
    ------
    For each group: the samples; the rows of its m batches, (m, size) indices on the device, for a stack (m, k, size),
    or m slices without `order`; and the m batch sizes. If X is a sparse matrix on the host, or on disk, every batch is
    a group, made dense.
    """
    X: Any = samples[0]
    n = X.shape[0] if order is None else order.shape[-1]
    if comes_in_rows(X):
        chosen = [slice(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]
        for part in in_rows(backend, samples, [part if order is None else order[part] for part in chosen]):
            yield part, [slice(None)], [part[1].shape[0]]
        return
    whole = n // batch_size * batch_size
    parts = [(range(0, whole, batch_size), batch_size), (range(whole, n, n - whole or 1), n - whole)]
    groups = [(_rows(backend, order, starts, size), starts, size) for starts, size in parts if starts]
    for rows, starts, size in groups:  # all rows are on the device before the first step, so no step waits
        yield samples, rows, [size] * len(starts)


def in_rows(backend: Backend, samples: Samples, parts: Sequence[Any]) -> Iterator[Samples]:
    """Yield the samples of each of these rows, slices or numbers; X is a sparse matrix or on disk, and made dense."""
    for rows, x in read_ahead(backend, samples[0], parts):
        y, weight = take_arrays(backend, samples[1:], rows if isinstance(rows, slice) else backend.asarray(rows))
        yield backend.asarray(x), y, weight


def read_ahead(backend: Backend, X: Any, parts: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each of these rows and what they hold; of a file the next ones are read while those before are used."""
    if is_sparse(X):
        yield from ((rows, X[rows].toarray()) for rows in parts)
        return

    def read(rows: Any) -> Any:
        return backend.stage(X[rows].toarray())

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, parts[0])
        for rows, following in zip_longest(parts, parts[1:]):
            x = coming.result()
            if following is not None:
                coming = reader.submit(read, following)
            yield rows, x


def _rows(backend: Backend, order: np.ndarray | None, starts: range, size: int) -> Any:
    if order is None:
        return [slice(start, start + size) for start in starts]
    batches = order[..., starts.start : starts.stop].reshape(*order.shape[:-1], -1, size)
    return backend.asarray(batches if order.ndim == 1 else np.ascontiguousarray(batches.swapaxes(0, 1)))


def as_row_indices(rows: Any, n: int) -> Any:
    """Return the rows of the batches of a group as indices (m, size), also where they are slices; n samples."""
    return np.array([range(*chosen.indices(n)) for chosen in rows]) if isinstance(rows, list) else rows


def take_batch(backend: Backend, samples: Samples, rows: Any) -> Batch:
    """Return the batch of these rows, given as a slice or as indices on the device."""
    return make_batch(backend, *take_arrays(backend, samples, rows))


def take_arrays(backend: Backend, arrays: Sequence[Array | None], rows: Any) -> list[Any]:
    """Take these rows, given as a slice or as indices on the device, of each array that is there."""
    if isinstance(rows, slice):
        return [None if a is None else a[rows, ...] for a in arrays]
    take, flat = backend.bind(take_rows), backend.xp.reshape(rows, (-1,)) if rows.ndim > 1 else rows
    taken = [None if a is None else take(a, flat) for a in arrays]
    if rows.ndim == 1:
        return taken
    return [None if a is None else backend.xp.reshape(a, (*rows.shape, *a.shape[1:])) for a in taken]


def take_rows(xp: Namespace, x: Array, rows: Array) -> Array:
    """Return the rows of x with these indices."""
    return xp.take(x, rows, axis=0)


def dense(backend: Backend, X: Any) -> Array:
    """Convert the rows of a sparse matrix, or of a file, to a dense array of the backend."""
    return backend.asarray(X.toarray())


class DenseWhenTaken:
    """X of a batch, sparse or in a file: `Batch.part` takes rows of it, and only these become dense."""

    def __init__(self, backend: Backend, X: Any) -> None:
        self.backend, self.X, self.shape = backend, X, X.shape

    def __getitem__(self, key: tuple[Any, slice, Any]) -> Array:
        """Return the rows of ``[..., rows, :]`` as a dense array."""
        return dense(self.backend, self.X[key[1]])
