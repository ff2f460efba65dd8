"""Checks of the tables, targets, labels and weights that users hand in.

Every function takes `where`, the call that the user made, and raises a ValueError that names this call, the value that
was expected and the value that was given. Shapes and types are checked here; `to_device` checks for NaN and infinity,
once, in the array that training computes with.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import array_api_compat
import numpy as np

from xbackprop.arrays.backend import Array, Backend, is_host_array, is_sparse
from xbackprop.arrays.discovery import backend_of, on_host, transfer
from xbackprop.data.on_disk import OnDisk, is_on_disk
from xbackprop.validation import dtype_of


def feature_names(X: Any) -> list[str] | None:
    """Return the column names of a pandas or polars frame, or None for other types or names that are not text."""
    columns = getattr(X, "columns", None)
    if columns is None or callable(columns) or not all(isinstance(c, str) for c in columns):
        return None
    return [str(c) for c in columns]


def feature_table(where: str, X: Any, n_features: int | None = None, names: Sequence[str] | None = None) -> Array:
    """Check the shape, the column names and the type of X (n_samples, n_features).

    X stays in its own library; lists and frames become NumPy arrays, sparse matrices CSR.
    """
    given = feature_names(X)
    if names is not None and given is not None and given != list(names):
        raise ValueError(f"{where}: X must have the columns {list(names)}, in this order, got {given}")
    if is_on_disk(X):
        X = X if isinstance(X, OnDisk) else OnDisk(where, X)
    else:
        X = X.tocsr() if is_sparse(X) else _numeric(where, "X", X, given)
    features = "n_features" if n_features is None else n_features
    if X.ndim != 2:
        hint = "; for one sample, X.reshape(1, -1)" if X.ndim == 1 else ""
        raise ValueError(f"{where}: X must have shape (n_samples, {features}), got {tuple(X.shape)}{hint}")
    if 0 in X.shape or (n_features is not None and X.shape[1] != n_features):
        empty = ", at least one of each" if 0 in X.shape else ""
        raise ValueError(f"{where}: X must have shape (n_samples, {features}){empty}, got {tuple(X.shape)}")
    return X


def counts(where: str, y: Array) -> Array:
    """Check that y has no negative numbers, which a Poisson deviance cannot take, and return it."""
    xp = array_api_compat.array_namespace(y)
    if bool(xp.any(y < 0)):
        raise ValueError(f"{where}: y must have no negative numbers for the loss 'poisson', got {float(xp.min(y))}")
    return y


def targets(where: str, y: Any, n: int, n_outputs: int | None = None) -> Array:
    """Check the shape and the type of a regression's y, (n,) or (n, n_outputs), and return it in its own library."""
    y = _numeric(where, "y", y, None)
    outputs = "n_outputs" if n_outputs is None else n_outputs
    wrong_outputs = n_outputs is not None and (y.shape[1] if y.ndim == 2 else 1) != n_outputs
    if y.ndim not in (1, 2) or y.shape[0] != n or 0 in y.shape or wrong_outputs:
        raise ValueError(f"{where}: y must have shape ({n},) or ({n}, {outputs}) to go with X, got {tuple(y.shape)}")
    return y


def known_targets(y: Array) -> tuple[Array, Array | None]:
    """Return y (n, n_outputs) with 0 for each NaN, and which numbers are known; None where all are, or for one output.

    Of a single output a missing number is an error, which the conversion to the device raises: its row tells nothing.
    """
    if y.ndim != 2 or y.shape[1] < 2 or (is_host_array(y) and y.dtype.kind not in "fc"):
        return y, None
    home = backend_of(y)
    xp = home.xp
    with home.device_context():
        if not xp.isdtype(y.dtype, "real floating") or not bool(xp.any(missing := xp.isnan(y))):
            return y, None
        return xp.where(missing, xp.zeros_like(y), y), ~missing


def arrays_like(where: str, name: str, value: Any, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Check that `value` is a list of numeric arrays of these shapes, and return it as a list."""
    if not isinstance(value, Sequence) or len(value) != len(shapes):
        got = f"{len(value)}" if isinstance(value, Sequence) else repr(type(value).__name__)
        raise ValueError(f"{where}: {name} must be a list of {len(shapes)} arrays, got {got}")
    arrays = []
    for i, (item, shape) in enumerate(zip(value, shapes, strict=True)):
        array = _numeric(where, f"{name}[{i}]", item, None)
        if tuple(array.shape) != tuple(shape):
            raise ValueError(f"{where}: {name}[{i}] must have shape {tuple(shape)}, got {tuple(array.shape)}")
        arrays.append(array)
    return arrays


def to_device(
    where: str, name: str, x: Any, backend: Backend, dtype: str, *, known_finite: bool = False, first_row: int = 0
) -> Array:
    """Convert `x`, checked above, to an array of the backend, and check it for NaN and infinity.

    The check comes after the conversion, since a number above 3e38 becomes infinite in float32. A sparse matrix stays
    sparse, on the host.

    Parameters
    ----------
    known_finite : whether `x` has been checked for NaN and infinity already; then the result is checked only if the
        conversion may overflow.
    first_row : the number of the first row of `x` in the user's table, for the error message.
    """
    sparse = is_sparse(x)
    with backend.device_context(), np.errstate(over="ignore"):  # infinities are looked for below
        moved = x.astype(dtype, copy=False) if sparse else transfer(x, backend_of(x), backend, dtype)
    if known_finite and not (dtype == "float32" and "float64" in str(x.dtype)):
        return moved
    with backend.device_context():
        index = _not_finite(moved.data if sparse else moved)
    if index is not None:
        value = (x.data if sparse else on_host(x))[index]
        if sparse:  # the cell of the k-th stored number
            index = (int(np.searchsorted(x.indptr, index[0], "right")) - 1, int(x.indices[index[0]]))
        inexact = f" (infinite in {dtype})" if np.isfinite(value) else ""
        place = (index[0] + first_row, *index[1:])
        raise ValueError(f"{where}: {name} must be finite, got {value}{inexact} at {place}")
    return moved


def _not_finite(x: Array) -> tuple[int, ...] | None:
    """Return the index of the first NaN or infinity in `x`; None if there is none."""
    xp = array_api_compat.array_namespace(x)
    with np.errstate(over="ignore", invalid="ignore"):  # a sum is infinite where a number is: one pass, nothing stored
        fine = bool(xp.isfinite(xp.sum(x)) or xp.all(xp.isfinite(x)))
    return None if fine else _first_bad(on_host(x))


def labels(where: str, y: Any, n: int) -> np.ndarray:
    """Check a classification's y (n,), whose labels may be any values that can be sorted; return it on the host."""
    y = on_host(y)
    if y.ndim != 1 or y.shape[0] != n:
        raise ValueError(f"{where}: y must have shape ({n},), one label for each row of X, got {y.shape}")
    if y.dtype.kind in "fc" and not np.isfinite(y).all():
        raise ValueError(f"{where}: y must have no missing labels, got NaN or infinity in row {_first_bad(y)[0]}")
    return y


def indicators(where: str, y: Any, n: int, n_labels: int | None = None) -> np.ndarray:
    """Check a multilabel y (n, n_labels) of zeros and ones; return it on the host."""
    y = on_host(y)
    if y.ndim != 2 or y.shape[0] != n or n_labels not in (None, y.shape[1]):
        raise ValueError(
            f"{where}: y must have shape ({n}, {'n_labels' if n_labels is None else n_labels}), got {y.shape}"
        )
    if y.dtype.kind not in "biuf" or not np.isin(y, (0, 1)).all():
        raise ValueError(f"{where}: y with two axes has a column of 0 and 1 for each label, got other values")
    return y


def distributions(where: str, y: Any, n: int, n_classes: int | None = None) -> np.ndarray:
    """Check soft targets (n, n_classes), rows of probabilities; return them on the host."""
    y = on_host(y)
    if y.ndim != 2 or y.shape[0] != n or y.shape[1] < 2 or n_classes not in (None, y.shape[1]):
        width = "n_classes" if n_classes is None else n_classes
        raise ValueError(f"{where}: soft targets must have shape ({n}, {width}), got {y.shape}")
    if y.dtype.kind not in "biuf" or not ((y >= 0) & (y <= 1)).all():
        raise ValueError(f"{where}: soft targets must be probabilities between 0 and 1")
    sums = y.sum(axis=1, dtype=np.float64)
    if not (np.abs(sums - 1.0) <= 1e-3).all():
        row = int(np.argmax(np.abs(sums - 1.0)))
        raise ValueError(f"{where}: soft targets must sum to 1 in every row, got {sums[row]:.6g} in row {row}")
    return y


def classes_of(where: str, y: np.ndarray, at_least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted distinct labels of y, and the index of every label among them."""
    try:
        classes, numbers = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise ValueError(f"{where}: y must have labels that can be sorted: {error}") from error
    if len(classes) < at_least:
        raise ValueError(f"{where}: y must have at least two classes, got only {_some(classes)}")
    return classes, np.reshape(numbers, -1)


def class_numbers(where: str, y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the index in `classes` of every label of y; raise ValueError for labels that are not in it."""
    try:
        indices = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
        unseen = classes[indices] != y
    except TypeError as error:
        raise ValueError(f"{where}: y must have the labels of fit, {_some(classes)}, got others: {error}") from error
    if np.any(unseen):
        raise ValueError(f"{where}: y must have the labels of fit, {_some(classes)}, got {np.unique(y[unseen])[0]!r}")
    return indices


def sample_weights(where: str, sample_weight: Any, n: int) -> Array:
    """Check the shape, the type and the signs of sample weights (n,); return them in their own library."""
    w = _numeric(where, "sample_weight", sample_weight, None)
    if tuple(w.shape) != (n,):
        raise ValueError(f"{where}: sample_weight must have shape ({n},) to go with X, got {tuple(w.shape)}")
    xp = array_api_compat.array_namespace(w)
    if bool(xp.any(w < 0)) or not bool(xp.any(w > 0)):
        raise ValueError(f"{where}: sample_weight must have no negative and some positive numbers")
    return w


def weights_to_device(where: str, w: Array, backend: Backend, dtype: str) -> Array:
    """Convert sample weights, checked above, to an array of the backend; raise ValueError if all become zero in it."""
    w = to_device(where, "sample_weight", w, backend, dtype)
    with backend.device_context():
        if not bool(backend.xp.any(w > 0)):
            raise ValueError(f"{where}: sample_weight must have some numbers that are positive in {dtype} too")
    return w


def working_dtype(where: str, X: Array, dtype: str | None) -> str:
    """Return the dtype to compute in: `dtype` if given, float32 for X in single or half precision, else float64."""
    if dtype is not None:
        return dtype_of(where, dtype)
    name = getattr(X.dtype, "name", str(X.dtype))
    single = any(width in name for width in ("float32", "float16"))
    return "float32" if single else "float64"


def _numeric(where: str, name: str, x: Any, columns: Sequence[str] | None) -> Array:
    if not is_host_array(x):
        xp = array_api_compat.array_namespace(x)
        if xp.isdtype(x.dtype, "complex floating"):
            raise ValueError(f"{where}: {name} must have real numbers, got {x.dtype}")
        if "sparse" in (layout := str(getattr(x, "layout", ""))):  # torch's
            raise ValueError(f"{where}: {name} must be dense or a sparse matrix of SciPy's, got the layout {layout}")
        return x
    if is_sparse(x):
        raise ValueError(f"{where}: {name} must be a dense array, got a sparse {type(x).__name__}; use .toarray()")
    try:
        x = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{where}: {name} must have rows of equal length: {error}") from error
    if x.dtype.kind in "biuf":
        return x
    if x.dtype.kind == "O":
        try:
            if not any(isinstance(v, str | bytes) for v in x.flat):
                return x.astype(np.float64)
        except (TypeError, ValueError):
            pass
    raise ValueError(f"{where}: {name} must have numbers, got {_not_a_number(x, columns)}")


def _not_a_number(x: np.ndarray, columns: Sequence[str] | None) -> str:
    """Describe the first element of x that is not a number, and its place."""
    for index, value in np.ndenumerate(x):
        if isinstance(value, complex | np.complexfloating | str | bytes) or not isinstance(value, Real):
            column = f" of column {columns[index[1]]!r}" if columns and len(index) == 2 else ""
            return f"{value!r} at {tuple(index)}{column}"
    return f"an array of dtype {x.dtype}"


def _first_bad(x: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])


def _some(classes: np.ndarray) -> str:
    shown = ", ".join(repr(c) for c in classes[:6].tolist())
    return f"{shown}, …" if len(classes) > 6 else shown
