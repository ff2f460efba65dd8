"""Minibatches: rows taken on the device, in an order drawn on the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xbackprop.backend import Array, Backend, Namespace, is_sparse
from xbackprop.objective import Batch, make_batch


def minibatches(
    backend: Backend, X: Any, y: Array, weight: Array | None, batch_size: int, order: np.ndarray | None
) -> Iterator[Batch]:
    """One epoch: every row once, `batch_size` at a time, the last batch perhaps smaller.

    X : an array of the backend, or a sparse matrix on the host, whose rows are made dense a batch at a time.
    order : a permutation of the rows, sent to the device once, or None for the rows as they stand.
    """
    n = X.shape[0]
    take = backend.bind(take_rows)
    rows = None if order is None else backend.asarray(order)
    for start in range(0, n, batch_size):
        chosen = slice(start, min(start + batch_size, n))
        parts = (y,) if weight is None else (y, weight)
        if rows is None or order is None:
            cut = [part[chosen, ...] for part in parts]
            x = dense(backend, X[chosen]) if is_sparse(X) else X[chosen, ...]
        else:
            cut = [take(part, rows[chosen]) for part in parts]
            x = dense(backend, X[order[chosen]]) if is_sparse(X) else take(X, rows[chosen])
        yield make_batch(backend, x, *cut)


def take_rows(xp: Namespace, x: Array, rows: Array) -> Array:
    """The named rows of x."""
    return xp.take(x, rows, axis=0)


def dense(backend: Backend, X: Any) -> Array:
    """The rows of a sparse matrix as an array of the backend."""
    return backend.asarray(X.toarray())
