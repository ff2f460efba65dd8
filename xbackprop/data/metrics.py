"""Accuracy and R² of predictions."""

from __future__ import annotations

import numpy as np

from xbackprop.arrays.backend import Array, Namespace


def accuracy(correct: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the weighted accuracy Σ w [correct] / Σ w of booleans (n,) on the host, in float64."""
    return float(np.average(correct, weights=None if weight is None else weight.astype(np.float64)))


def r2(xp: Namespace, y: Array, prediction: Array, weight: Array | None = None) -> Array:
    """Return R² = 1 - Σ w (y - ŷ)² / Σ w (y - ȳ)², averaged over the outputs; y and prediction (n, n_outputs).

    For a constant y it is 1 if the prediction has no error and 0 otherwise, as in scikit-learn.
    """
    w = xp.ones_like(y[:, :1]) if weight is None else weight[:, None]
    mean = xp.sum(w * y, axis=0) / xp.sum(w)
    residual = xp.sum(w * (y - prediction) ** 2, axis=0)
    spread = xp.sum(w * (y - mean) ** 2, axis=0)
    varies = spread > 0
    ratio = residual / xp.where(varies, spread, xp.ones_like(spread))
    return xp.mean(xp.where(varies, 1.0 - ratio, xp.astype(residual == 0, y.dtype)))
