"""What `MLP.score` reports, on the host."""

from __future__ import annotations

import numpy as np


def accuracy(y: np.ndarray, prediction: np.ndarray) -> float:
    """The share of labels that are right; y and prediction (n,)."""
    return float(np.mean(prediction == y))


def r2(y: np.ndarray, prediction: np.ndarray) -> float:
    """R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)², the mean over outputs; y and prediction (n,) or (n, n_outputs).

    Where y is constant it is 1 for a prediction without error, and 0 for any other, as scikit-learn's.
    """
    residual = np.sum((y - prediction) ** 2, axis=0)
    spread = np.sum((y - y.mean(axis=0)) ** 2, axis=0)
    varies = spread > 0
    return float(np.mean(np.where(varies, 1 - residual / np.where(varies, spread, 1.0), residual == 0)))
