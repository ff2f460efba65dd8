"""Samples on a backend's device: X, y in the form that a loss takes, and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend, is_sparse
from xbackprop.arrays.discovery import backend_of, transfer
from xbackprop.data import digest, tables
from xbackprop.data.batches import DenseWhenTaken, dense
from xbackprop.data.on_disk import LARGE, OnDisk, comes_in_rows, is_mapped
from xbackprop.data.scaling import Scaling, standardise
from xbackprop.data.targets import TargetRule, Targets, infer_targets
from xbackprop.nn.objective import Batch, make_batch


class Data(NamedTuple):
    """Samples on a backend's device: X (n, n_0), y (n, n_L) and weights, all of one dtype.

    weight : of the rows (n,); of the targets (n, n_L) where some are missing; or None. A missing target is 0 in y.

    A sparse X stays a sparse matrix, on the host, and one on disk stays there. `targets` records how y was converted,
    `inputs` how X was scaled.
    """

    backend: Backend
    dtype: str
    X: Any
    y: Array
    weight: Array | None
    targets: Targets
    inputs: Scaling | None = None

    def batch(self, rows: int | None = None, whole: Any = None) -> Batch:
        """Return all rows as one batch.

        rows : of how many of them parts will be taken. An X on disk, or a sparse one, stays there if it has more and
            would be large: it is read anew whenever parts are taken. whole : see `make_batch`.
        """
        X = self.X
        large = comes_in_rows(X) and rows is not None and X.shape[0] > rows and _bytes(X, self.dtype) >= LARGE
        held: Any = DenseWhenTaken(self.backend, X) if large else self.dense()
        return make_batch(self.backend, held, self.y, self.weight, whole=whole)

    def dense(self) -> Array:
        """Return X as a dense array on the device."""
        return dense(self.backend, self.X) if comes_in_rows(self.X) else self.X

    def digest(self) -> str:
        """Return a hash of X, y and the weights as they are trained on, to recognise the same data in the same order.

        A sparse X has the digest of the dense one.
        """
        n, total = self.X.shape[0], 0
        with self.backend.device_context():
            others = [self.backend.to_host(a) for a in (self.y, self.weight) if a is not None]
            for start in range(0, n, digest.ROWS):  # a sparse X is made dense a few rows at a time
                part = slice(start, min(start + digest.ROWS, n))
                X = self.X[part].toarray() if comes_in_rows(self.X) else self.backend.to_host(self.X[part, ...])
                total += digest.sum_of_row_hashes([X, *(a[part] for a in others)], start)
        shapes = [tuple(a.shape) for a in (self.X, *others)]
        return f"{self.dtype} {shapes} {total % 2 ** (8 * digest.SIZE):032x}"

    def rows(self, numbers: np.ndarray) -> Data:
        """Return the data of these rows only."""
        X, y, weight = (None if a is None else self.rows_of(a, numbers) for a in (self.X, self.y, self.weight))
        return self._replace(X=X, y=y, weight=weight)

    def rows_of(self, a: Any, numbers: np.ndarray) -> Any:
        """Take these rows of X, y or the weights."""
        return a[numbers] if comes_in_rows(a) else self.backend.xp.take(a, self.backend.asarray(numbers), axis=0)


def read_samples(
    where: str,
    backend: Backend,
    targets: Targets | TargetRule,
    dtype: str | None,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    n_features: int | None = None,
    names: Sequence[str] | None = None,
    inputs: Scaling | bool | None = None,
    known_finite: bool = False,
) -> Data:
    """Check X, y and the weights against each other, convert them and move them to the backend's device.

    Every method that takes samples with targets reads them here; `read_rows` reads rows without targets.

    Parameters
    ----------
    targets : the `Targets` of a network that has weights, or the `TargetRule` of a new one.
    dtype : "float32" or "float64"; None for the precision of X.
    n_features, names : the columns that the network was trained on; None for a new one.
    inputs : the scaling of X; True measures it.
    known_finite : whether X and y have been checked for NaN and infinity already.
    """
    X = tables.feature_table(where, X, n_features, names)
    n, dtype = X.shape[0], tables.working_dtype(where, X, dtype)
    if (
        is_mapped(X) and X.nbytes >= LARGE and (inputs or dtype != str(X.dtype) or not backend.reads(X))
    ):  # it would be copied
        X = OnDisk(where, X)
    scale_target = False
    if isinstance(targets, TargetRule):
        scale_target = targets.scale
        targets, y, own_weight = infer_targets(where, targets, y, n, dtype)
    else:
        y, own_weight = targets.encode(where, y, n, dtype)
    weight = None if sample_weight is None else tables.sample_weights(where, sample_weight, n)
    scaling = inputs if isinstance(inputs, Scaling) else None
    if isinstance(X, OnDisk):
        scaling = Scaling(*X.measure()) if inputs and scaling is None else scaling
        X = X.read_as(dtype, scaling)
    else:
        if inputs:
            X, scaling = standardise(where, "X", X, scaling, known_finite=known_finite)
        X = tables.to_device(where, "X", X, backend, dtype, known_finite=known_finite or scaling is not None)
    if scale_target:
        targets = targets._replace(scaling=standardise(where, "y", y, None, known=own_weight)[1])
    y = read_targets(where, backend, dtype, y, targets, known_finite)
    if weight is not None:
        weight = tables.weights_to_device(where, weight, backend, dtype)
    y, weight = weigh_targets(backend, dtype, y, weight, own_weight)
    return Data(backend, dtype, X, y, weight, targets, scaling)


def _bytes(X: Any, dtype: str) -> int:
    return int(X.shape[0] * X.shape[1] * np.dtype(dtype).itemsize)


class SampleStore:
    """Samples that were read already, for many networks that are trained on the same ones.

    It keeps what it has read, and the user's arrays, by whose memory it recognises them.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Any, Any, Data]] = []

    def read(
        self, where: str, backend: Backend, targets: TargetRule, dtype: str | None, X: Any, y: Any, weight: Any = None,
        *, inputs: bool, known_finite: bool,
    ) -> Data:  # fmt: skip
        """Call `read_samples` for a new network, unless these samples were read in the same way before."""
        key = (backend, targets, dtype, inputs, *map(_identity, (X, y, weight)))
        for known, _, data in self._kept:
            if known == key:
                return data
        data = read_samples(where, backend, targets, dtype, X, y, weight, inputs=inputs, known_finite=known_finite)
        self._kept.append((key, (X, y, weight), data))
        return data


def _identity(x: Any) -> tuple[Any, ...]:
    """Return what tells an array from every other that exists at the same time."""
    if type(x) is np.ndarray and not x.dtype.hasobject:
        return x.__array_interface__["data"][0], x.shape, x.strides, x.dtype.str
    return (id(x),)


def read_targets(
    where: str, backend: Backend, dtype: str, y: Array, targets: Targets, known_finite: bool = False
) -> Array:
    """Convert y, as `Targets.encode` returns it, to an array (n, n_L) of the backend."""
    known_finite = known_finite or targets.classes is not None  # one-hot rows made from labels, which are finite
    if targets.scaling is not None:
        y, _ = standardise(where, "y", y, targets.scaling, known_finite=known_finite)
    y = tables.to_device(where, "y", y, backend, dtype, known_finite=known_finite)
    return y[:, None] if y.ndim == 1 else y


def weigh_targets(
    backend: Backend, dtype: str, y: Array, weight: Array | None, own_weight: Array | None
) -> tuple[Array, Array | None]:
    """Return y (n, n_L), with 0 for what is missing, and the product of the weights of its rows and of its own.

    own_weight : as `Targets.encode` returns it: of rows (n,), or of targets (n, n_L), where some are missing.
    """
    if own_weight is None:
        return y, weight
    with backend.device_context():
        own = transfer(own_weight, backend_of(own_weight), backend, dtype)
        if own.ndim == 1:
            return y, own if weight is None else weight * own
        return y * own, own if weight is None else weight[:, None] * own


def read_rows(
    where: str,
    backend: Backend,
    dtype: str,
    X: Array,
    inputs: Scaling | None,
    known_finite: bool = False,
    first_row: int = 0,
) -> Array:
    """Convert rows of a table that `tables.feature_table` has checked to a dense array of the backend, scaled."""
    X = X.toarray() if isinstance(X, OnDisk) else X
    if inputs is not None:
        X, _ = standardise(where, "X", X, inputs, known_finite=known_finite, first_row=first_row)
    X = tables.to_device(where, "X", X, backend, dtype, known_finite=known_finite, first_row=first_row)
    return dense(backend, X) if is_sparse(X) else X


def pick(x: Any, rows: np.ndarray) -> Any:
    """Take some rows of a user's array, frame or sparse matrix, in its own library."""
    if is_sparse(x):
        return x.tocsr()[rows]
    home = backend_of(x)
    return home.xp.take(home.asarray(x), home.asarray(rows), axis=0)
