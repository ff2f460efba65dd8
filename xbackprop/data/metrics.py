"""Accuracy and R² of predictions."""

from __future__ import annotations

import numpy as np

from xbackprop.arrays.backend import Array, Namespace


def accuracy(correct: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the weighted accuracy Σ w [correct] / Σ w of booleans (n,) on the host, in float64."""
    return float(np.average(correct, weights=None if weight is None else weight.astype(np.float64)))


def r2(xp: Namespace, y: Array, prediction: Array, weight: Array | None = None) -> Array:
    """Return R² = 1 - Σ w (y - ŷ)² / Σ w (y - ȳ)², averaged over the outputs; y and prediction (n, n_outputs).

    weight : of the rows (n,), or of the targets (n, n_outputs), or None for equal ones.
    For a constant y it is 1 if the prediction has no error and 0 otherwise, as in scikit-learn.
    """
    w = xp.ones_like(y[:, :1]) if weight is None else weight[:, None] if weight.ndim == 1 else weight
    total = xp.sum(w, axis=0)
    mean = xp.sum(w * y, axis=0) / xp.where(total > 0, total, xp.ones_like(total))
    residual = xp.sum(w * (y - prediction) ** 2, axis=0)
    spread = xp.sum(w * (y - mean) ** 2, axis=0)
    varies = spread > 0
    ratio = residual / xp.where(varies, spread, xp.ones_like(spread))
    return xp.mean(xp.where(varies, 1.0 - ratio, xp.astype(residual == 0, y.dtype)))
