"""Callbacks that stop a training, or choose its weights: `TimeLimit`, `KeepBest`, `GradientNorm`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from xbackprop.callbacks.protocol import Callback, Fit
from xbackprop.training.loop import Epoch
from xbackprop.validation import integer, positive


class TimeLimit(Callback):
    """End training with the first epoch that ends after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = positive("TimeLimit", "seconds", seconds)

    def on_train_begin(self, fit: Fit) -> None:
        """Note the time."""
        self._began = time.monotonic()

    def on_epoch_end(self, fit: Fit, epoch: Epoch) -> str | None:
        """Say so when the time is over."""
        return "time_limit" if time.monotonic() - self._began >= self.seconds else None


class KeepBest(Callback):
    """End with the weights of the epoch in which a metric was best, on samples of the user's or by any function.

    Parameters
    ----------
    metric : ``metric(network) -> float``, of a copy of the network, an estimator if one is trained; for example
        ``lambda net: net.score(X_val, y_val)``.
    larger_is_better : whether the best is the largest.

    Attributes
    ----------
    values_ : the metric after each epoch. best_, best_epoch_ : the best one, and the number of its epoch.
    """

    def __init__(self, metric: Callable[[Any], float], *, larger_is_better: bool = True) -> None:
        self.metric, self.larger_is_better = metric, larger_is_better

    def on_train_begin(self, fit: Fit) -> None:
        """Forget a former run."""
        self.values_: list[float] = []
        self.best_, self.best_epoch_ = math.nan, 0

    def on_epoch_end(self, fit: Fit, epoch: Epoch) -> None:
        """Keep the weights if they are the best so far."""
        value = float(self.metric(fit.network()))
        self.values_.append(value)
        sign = 1.0 if self.larger_is_better else -1.0
        if not self.best_epoch_ or sign * value > sign * self.best_ or math.isnan(self.best_):
            self.best_, self.best_epoch_ = value, epoch.number
            fit.keep()


class GradientNorm(Callback):
    """Note the norms of the gradient and of its layers, on samples of the user's, after every so many epochs.

    Parameters
    ----------
    X, y : samples as `fit` takes them; a pass over all of them is computed each time.
    every : the epochs from one to the next. show : a function that is called with a line of text, `print` for example.

    Attributes
    ----------
    norms_ : for each time ‖∂C/∂θ‖. layers_ : for each time ‖∂C/∂W_l‖ of every layer.
    """

    def __init__(self, X: Any, y: Any, *, every: int = 1, show: Callable[[str], None] | None = None) -> None:
        self.X, self.y, self.every, self.show = X, y, integer("GradientNorm", "every", every, 1), show

    def on_train_begin(self, fit: Fit) -> None:
        """Forget a former run."""
        self.norms_: list[float] = []
        self.layers_: list[list[float]] = []

    def on_epoch_end(self, fit: Fit, epoch: Epoch) -> None:
        """Compute the gradient and its norms."""
        if epoch.number % self.every:
            return
        net = fit.network()
        net = getattr(net, "network_", net)
        _, weights, biases = net.loss_and_gradient(self.X, self.y)
        to_host = net.model_.backend.to_host
        squares = [[float((to_host(a).astype("float64") ** 2).sum()) for a in group] for group in (weights, biases)]
        self.norms_.append(math.sqrt(sum(map(sum, squares))))
        self.layers_.append([math.sqrt(square) for square in squares[0]])
        if self.show is not None:
            layers = " ".join(f"{norm:.3g}" for norm in self.layers_[-1])
            self.show(f"epoch {epoch.number}: gradient {self.norms_[-1]:.3g}, weights of the layers {layers}")
