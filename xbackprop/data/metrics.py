"""Accuracy and R², computed in the library and on the device of the predictions."""

from __future__ import annotations

from typing import Any

from xbackprop.arrays.backend import Array, Namespace


def accuracy(xp: Namespace, correct: Array, weight: Array | None, dtype: Any) -> Array:
    """Return the weighted accuracy Σ w [correct] / Σ w of booleans `correct` (n,)."""
    correct = xp.astype(correct, dtype)
    return xp.mean(correct) if weight is None else xp.sum(weight * correct) / xp.sum(weight)


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
