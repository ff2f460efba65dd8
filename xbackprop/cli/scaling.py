"""Standardise inputs and targets for training, then fold the standardisation into the trained weights.

The network is trained on x′ = (x - μ)/σ; for a regression its targets are y′ = (y - μ_y)/σ_y. Both maps are affine, as
the first and the last layer are, so these layers can take them over:

    W₁ ← W₁/σ (row by row),  b₁ ← b₁ - (μ/σ) W₁;      W_L ← σ_y W_L,  b_L ← σ_y b_L + μ_y

After that the network takes inputs and gives outputs in the units of the table, and its file needs no scaler beside it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.arrays.discovery import on_host
from xbackprop.mlp.mlp import MLP


class Scale(NamedTuple):
    """Mean μ and standard deviation σ of each column, (n_columns,); σ is 1 for a constant column, to divide by."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray) -> Scale:
        """Measure the columns of X (n, n_columns)."""
        constant = X.min(axis=0) == X.max(axis=0)
        return cls(X.mean(axis=0), np.where(constant, 1.0, X.std(axis=0)))

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Standardise X (n, n_columns): (X - μ)/σ."""
        return (X - self.mean) / self.deviation


def fold_inputs(net: MLP, scale: Scale) -> None:
    """Change the first layer of a network trained on (X - μ)/σ so that it gives the same outputs for X."""
    W, b = _host(net.coefs_[0]), _host(net.intercepts_[0])
    net.intercepts_ = [b - (scale.mean / scale.deviation) @ W, *net.intercepts_[1:]]
    net.coefs_ = [W / scale.deviation[:, None], *net.coefs_[1:]]


def fold_outputs(net: MLP, scale: Scale) -> None:
    """Change the last layer of a network trained to predict (y - μ)/σ so that it predicts y."""
    W, b = _host(net.coefs_[-1]), _host(net.intercepts_[-1])
    net.coefs_ = [*net.coefs_[:-1], W * scale.deviation]
    net.intercepts_ = [*net.intercepts_[:-1], b * scale.deviation + scale.mean]


def _host(x: Array) -> np.ndarray:
    """Copy `x` to a NumPy array in float64."""
    return on_host(x).astype(np.float64)
