"""Accuracy and R², where the predictions are."""

from __future__ import annotations

from typing import Any

from xbackprop.arrays.backend import Array, Namespace


def accuracy(xp: Namespace, correct: Array, weight: Array | None, dtype: Any) -> Array:
    """Σ w [correct] / Σ w; correct (n,) of booleans."""
    correct = xp.astype(correct, dtype)
    return xp.mean(correct) if weight is None else xp.sum(weight * correct) / xp.sum(weight)


def r2(xp: Namespace, y: Array, prediction: Array, weight: Array | None = None) -> Array:
    """R² = 1 - Σ w (y - ŷ)² / Σ w (y - ȳ)², the mean over outputs; y and prediction (n, n_outputs).

    Where y is constant it is 1 for a prediction without error, and 0 for any other, as scikit-learn's.
    """
    w = xp.ones_like(y[:, :1]) if weight is None else weight[:, None]
    mean = xp.sum(w * y, axis=0) / xp.sum(w)
    residual = xp.sum(w * (y - prediction) ** 2, axis=0)
    spread = xp.sum(w * (y - mean) ** 2, axis=0)
    varies = spread > 0
    ratio = residual / xp.where(varies, spread, xp.ones_like(spread))
    return xp.mean(xp.where(varies, 1.0 - ratio, xp.astype(residual == 0, y.dtype)))
