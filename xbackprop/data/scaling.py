"""Standardise inputs and targets: x′ = (x - μ)/σ, column by column.

μ and σ are kept beside the weights and applied in float64, before the numbers are rounded to the network's precision: a
float32 network whose W₁ had taken them over, W₁/σ and b₁ - (μ/σ) W₁, would lose every digit of a column such as
1.7e12 + 0 … 6e4.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend, is_sparse
from xbackprop.arrays.discovery import backend_of
from xbackprop.data import tables


class Scaling(NamedTuple):
    """Mean μ and standard deviation σ of each column (k,), on the host; σ is 1 for a constant column, to divide by."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, x: Array, home: Backend, known: Array | None = None) -> Scaling:
        """Measure the columns of x (n,) or (n, k), an array of `home` in float64; `known` says which numbers count."""
        xp = home.xp

        def average(a: Array) -> Array:
            if known is None:
                return xp.mean(a, axis=0, keepdims=True)
            counts = xp.sum(xp.astype(known, a.dtype), axis=0, keepdims=True)
            return xp.sum(xp.where(known, a, xp.zeros_like(a)), axis=0, keepdims=True) / counts

        with home.device_context():
            mean = average(x)
            inside = x if known is None else xp.where(known, x, mean)  # what is missing is no extreme
            apart = inside - mean
            largest = xp.max(xp.abs(apart), axis=0, keepdims=True)  # its square may be infinite, or zero
            varies = xp.min(inside, axis=0, keepdims=True) < xp.max(inside, axis=0, keepdims=True)
            largest = xp.where(varies, largest, xp.ones_like(largest))
            deviation = largest * xp.sqrt(average((apart / largest) ** 2))
            deviation = xp.where(varies, deviation, xp.ones_like(deviation))
            return cls(home.to_host(mean).reshape(-1), home.to_host(deviation).reshape(-1))

    def apply(self, x: Array, home: Backend) -> Array:
        """Return (x - μ)/σ for x (n,) or (n, k), an array of `home` in float64."""
        with home.device_context():
            return (x - home.asarray(self.mean, "float64")) / home.asarray(self.deviation, "float64")

    def undo(self, xp: Any, x: Array, home: Backend) -> Array:
        """Return μ + σ x for x (n, k), in its own precision."""
        mean, deviation = (xp.astype(home.asarray(a), x.dtype) for a in self)
        return mean + deviation * x

    def undo_deviation(self, xp: Any, x: Array, home: Backend) -> Array:
        """Return σ x for standard deviations x (n, k), in their own precision."""
        return xp.astype(home.asarray(self.deviation), x.dtype) * x


def standardise(
    where: str, name: str, x: Array, scaling: Scaling | None, *, known_finite: bool = False, first_row: int = 0,
    known: Array | None = None,
) -> tuple[Array, Scaling]:  # fmt: skip
    """Return x in float64, standardised in its own library, and the scaling, which is measured if none is given.

    known_finite, first_row : see `tables.to_device`, which checks x for NaN and infinity.
    known : which numbers of x count in the scaling; None for all.

    Raises
    ------
    ValueError : for a sparse matrix, which would lose its zeros.
    """
    if is_sparse(x):
        raise ValueError(f"{where}: {name} must be dense to be standardised, got a sparse matrix")
    home = backend_of(x)
    x = tables.to_device(where, name, x, home, "float64", known_finite=known_finite, first_row=first_row)
    scaling = scaling or Scaling.of(x, home, known)
    return scaling.apply(x, home), scaling
