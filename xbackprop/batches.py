"""Minibatches: rows taken on the device, in an order drawn on the host."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xbackprop.backend import Array, Backend, Namespace
from xbackprop.objective import Batch, make_batch


def minibatches(
    backend: Backend, X: Array, y: Array, weight: Array | None, batch_size: int, order: np.ndarray | None
) -> Iterator[Batch]:
    """One epoch: every row once, `batch_size` at a time, the last batch perhaps smaller.

    order : a permutation of the rows, sent to the device once, or None for the rows as they stand.
    """
    n = X.shape[0]
    take = backend.bind(take_rows)
    rows = None if order is None else backend.asarray(order)
    for start in range(0, n, batch_size):
        chosen = slice(start, min(start + batch_size, n))
        parts = (X, y) if weight is None else (X, y, weight)
        if rows is None:
            yield make_batch(backend, *(part[chosen, ...] for part in parts))
        else:
            yield make_batch(backend, *(take(part, rows[chosen]) for part in parts))


def take_rows(xp: Namespace, x: Array, rows: Array) -> Array:
    """The named rows of x."""
    return xp.take(x, rows, axis=0)
