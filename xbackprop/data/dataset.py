"""X, y and weights on their way from a user's hands to the device, in the form that a loss wants."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend, is_sparse
from xbackprop.arrays.discovery import backend_of, transfer
from xbackprop.data import tables
from xbackprop.data.batches import dense
from xbackprop.data.targets import Targets
from xbackprop.nn.objective import Batch, make_batch


class Data(NamedTuple):
    """Samples on a backend's device: X (n, n_0), y (n, n_L), weights (n,) or None, all of one dtype.

    X : a sparse matrix stays one, on the host. targets : how y was read.
    """

    backend: Backend
    dtype: str
    X: Any
    y: Array
    weight: Array | None
    targets: Targets

    def batch(self) -> Batch:
        """All the rows as one batch."""
        X = dense(self.backend, self.X) if is_sparse(self.X) else self.X
        return make_batch(self.backend, X, self.y, self.weight)

    def fingerprint(self) -> np.ndarray:
        """A few sums that other rows, or these in another order, do not have: what tells one table from another."""
        sums = []
        with self.backend.device_context():
            for a in (self.X.data if is_sparse(self.X) else self.X, self.y, self.weight):
                if a is not None:
                    xp, device = (np, None) if isinstance(a, np.ndarray) else (self.backend.xp, self.backend.device)
                    place = xp.reshape(xp.astype(xp.arange(math.prod(a.shape), device=device), a.dtype), a.shape)
                    sums += [float(xp.sum(a)), float(xp.sum(a * a)), float(xp.sum(a * place))]
        return np.array(sums)

    def rows(self, numbers: np.ndarray) -> Data:
        """Some of the rows."""
        there = self.backend.asarray(numbers)

        def take(a: Any) -> Any:
            return a[numbers] if is_sparse(a) else None if a is None else self.backend.xp.take(a, there, axis=0)

        return self._replace(X=take(self.X), y=take(self.y), weight=take(self.weight))


def read_data(
    where: str, backend: Backend, targets: Targets, dtype: str | None, X: Any, y: Any, sample_weight: Any = None
) -> Data:
    """Check y and the weights against X, a checked table; convert and move all three."""
    n = X.shape[0]
    dtype = tables.working_dtype(where, X, dtype)
    y, class_weight = targets.encode(where, y, n, dtype)
    weight = None if sample_weight is None else tables.sample_weights(where, sample_weight, n)
    with backend.device_context():
        y, weight = (None if a is None else transfer(a, backend_of(a), backend, dtype) for a in (y, weight))
        X = X.astype(dtype, copy=False) if is_sparse(X) else transfer(X, backend_of(X), backend, dtype)
        if class_weight is not None:
            by_class = backend.asarray(class_weight, dtype)
            weight = by_class if weight is None else weight * by_class
        for name, a in (("X", X), ("y", y)):  # numbers above 3e38 have become infinite in float32
            tables.finite(where, name, a)
    return Data(backend, dtype, X, y, weight, targets)


def pick(x: Any, rows: np.ndarray) -> Any:
    """Some rows of what a user handed in, in its own library."""
    if is_sparse(x):
        return x.tocsr()[rows]
    home = backend_of(x)
    return home.xp.take(home.asarray(x), home.asarray(rows), axis=0)
