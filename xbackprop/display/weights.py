"""`WeightsDisplay`: what each unit of the first hidden layer looks for, as pictures of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from xbackprop.display.drawing import figure_of, style


class WeightsDisplay:
    """A picture of the weights W_1 of each unit, on one scale: red is positive, blue negative.

    Attributes
    ----------
    figure_, axes_ : what was drawn, by matplotlib.

    Examples
    --------
    >>> import numpy as np, xbackprop
    >>> X = np.random.RandomState(0).standard_normal((30, 12))
    >>> net = xbackprop.MLP((5,), random_state=0).initialize(X, X[:, 0] > 0)
    >>> len(xbackprop.WeightsDisplay.from_estimator(net, shape=(3, 4)).axes_)
    5
    """

    def __init__(self, weights: np.ndarray, shape: tuple[int, int]) -> None:
        """Take weights (n_features, n_units) and the shape of a picture, to be drawn by `plot`."""
        self.weights, self.shape = weights, shape

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, shape: tuple[int, int] | None = None, units: Sequence[int] | None = None
    ) -> Self:
        """Draw the weights of an `MLP` or an estimator.

        shape : of the picture that the columns of X are; by default a square if they can be one, else a row.
        units : the numbers of the units to draw; by default the first 64.
        """
        net = getattr(estimator, "network_", estimator)
        weights = np.asarray(net.model_.backend.to_host(net.coefs_[0]), dtype=np.float64)
        n = weights.shape[0]
        side = math.isqrt(n)
        shape = shape or ((side, side) if side * side == n else (1, n))
        if math.prod(shape) != n:
            raise ValueError(f"WeightsDisplay: shape must have {n} places, one for each column of X, got {shape}")
        chosen = range(min(64, weights.shape[1])) if units is None else units
        return cls(weights[:, list(chosen)], shape).plot()

    def plot(self) -> Self:
        """Draw the pictures, in rows that make about a square."""
        n = self.weights.shape[1]
        across = math.ceil(math.sqrt(n))
        limit = float(np.abs(self.weights).max(initial=0.0)) or 1.0
        with style():
            self.figure_ = figure_of((6.0, 6.0 * math.ceil(n / across) / across), "constrained")
            drawn = self.figure_.subplots(-(-n // across), across, squeeze=False).ravel()
            for axes in drawn:
                axes.set_axis_off()
            self.axes_ = list(drawn[:n])
            for j, axes in enumerate(self.axes_):
                picture = self.weights[:, j].reshape(self.shape)
                axes.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        return self
