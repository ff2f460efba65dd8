"""X, y and weights on their way from a user's hands to the device, in the form that a loss wants."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xbackprop import checks
from xbackprop.backend import Array, Backend, follow, transfer


class Data(NamedTuple):
    """Samples on a backend's device: X (n, n_0), y (n, n_L), weights (n,) or None, all of one dtype.

    classes : the sorted labels whose one-hot rows y holds; None for a regression.
    vector : whether the user's y had one axis.
    """

    backend: Backend
    dtype: str
    X: Array
    y: Array
    weight: Array | None
    classes: np.ndarray | None
    vector: bool


def read_data(
    where: str,
    backend: Backend,
    task: str,
    dtype: str | None,
    X: Array,
    y: Any,
    sample_weight: Any = None,
    classes: np.ndarray | None = None,
    n_outputs: int | None = None,
) -> Data:
    """Check y and the weights against X, a checked table; convert and move all three.

    `classes` and `n_outputs` where a network knows them already.
    """
    n = X.shape[0]
    dtype = checks.working_dtype(where, X, dtype)
    if task == "classification":
        labels = checks.labels(where, y, n)
        classes = checks.classes_in(where, labels) if classes is None else classes
        numbers = checks.class_numbers(where, labels, classes)
        y = np.zeros((n, len(classes)), dtype=dtype)
        y[np.arange(n), numbers] = 1.0
        vector = True
    else:
        y = checks.targets(where, y, n, n_outputs)
        vector = y.ndim == 1
        y = y[:, None] if vector else y
    weight = None if sample_weight is None else checks.weights(where, sample_weight, n)
    with np.errstate(over="ignore"):
        X, y, weight = (None if a is None else transfer(a, follow(a), backend, dtype) for a in (X, y, weight))
    for name, a in (("X", X), ("y", y)):  # numbers above 3e38 have become infinite in float32
        checks.finite(where, name, a)
    return Data(backend, dtype, X, y, weight, classes, vector)


def dtype_name(x: Array) -> str:
    """The name of its dtype, float32 or float64."""
    return str(x.dtype).rpartition(".")[2]
