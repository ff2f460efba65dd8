"""`find_learning_rate`: let the rate grow from step to step, and see where the loss falls fastest.

L. N. Smith, "Cyclical learning rates for training neural networks", WACV 2017, section 3.3.
"""

from __future__ import annotations

import copy
import math
import warnings
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from xbackprop.callbacks.protocol import Batch, Callback, Fit
from xbackprop.display.drawing import DASHED, figure_of, style
from xbackprop.errors import ConvergenceWarning, DivergenceError
from xbackprop.validation import integer, positive

#: The weight of the former mean in the mean of losses, and how far above the best it ends the search.
SMOOTHING, WORSE = 0.9, 4.0
DECADE = math.log(10.0)


class LearningRates(NamedTuple):
    """The losses that a growing rate led to.

    rates, losses : for each step its rate, and the running mean of the batches' losses.
    suggestion : the rate at which the loss falls fastest, by the logarithm of the rate.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float

    def plot(self) -> Any:
        """Return a matplotlib figure of loss against rate, with the suggestion."""
        with style():
            figure = figure_of((5.0, 3.4), "constrained")
            axes = figure.subplots()
            axes.plot(self.rates, self.losses)
            axes.axvline(self.suggestion, **DASHED)
            axes.set(xscale="log", xlabel="learning rate", ylabel="loss, running mean",
                     title=f"The loss falls fastest at {self.suggestion:.2g}")  # fmt: skip
        return figure


class _Enough(Exception):
    """The losses have said what they can say."""


class _Recorder(Callback):
    """Notes the losses of the first steps, and ends training after these, or when the loss has become large."""

    def __init__(self, steps: int) -> None:
        self.steps, self.per_epoch = steps, 1
        self.losses: list[float] = []
        self._mean, self._best = 0.0, math.inf

    def on_train_begin(self, fit: Fit) -> None:
        """Note the steps of an epoch."""
        self.per_epoch = -(-fit.n_samples // fit.batch_size)

    def on_batch_end(self, fit: Fit, batch: Batch) -> None:  # type: ignore[override]
        """Take the loss into the running mean, without the bias of its start."""
        self._mean = SMOOTHING * self._mean + (1.0 - SMOOTHING) * batch.loss
        loss = self._mean / (1.0 - SMOOTHING ** (len(self.losses) + 1))
        self._best = min(self._best, loss)
        self.losses.append(loss)
        if len(self.losses) == self.steps or not loss <= WORSE * abs(self._best):
            raise _Enough


def find_learning_rate(
    net: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 200,
) -> LearningRates:
    """Train a copy of a network while its rate grows from `lowest` to `highest`, until the loss is four times its best.

    Parameters
    ----------
    net : an `MLP` or an estimator with any solver but lbfgs; it is not changed.
    X, y, sample_weight : as `fit` takes them. steps : the number of steps, over as many epochs as they take.

    Raises
    ------
    ValueError : for bounds that are not positive and ascending, or a network without steps.
    """
    where = "find_learning_rate"
    positive(where, "lowest", lowest)
    if not positive(where, "highest", highest) > lowest:
        raise ValueError(f"{where}: highest must be above lowest={lowest}, got {highest}")
    integer(where, "steps", steps, 10)
    if net.solver == "lbfgs":
        raise ValueError(f"{where}: solver 'lbfgs' takes no steps with a rate; choose another solver")
    trial, recorder = copy.copy(net), _Recorder(steps)

    def growth(epoch: float, _: int) -> float:
        return float((highest / lowest) ** (epoch * recorder.per_epoch / (steps - 1)))

    settings = {
        "learning_rate_init": lowest, "learning_rate": growth, "max_iter": steps, "tol": 0.0,
        "n_iter_no_change": steps + 1, "early_stopping": False, "n_networks": 1, "warm_start": False,
        "checkpoint": None, "warmup": 0.0, "verbose": False,
    }  # fmt: skip
    for name, value in settings.items():
        setattr(trial, name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with suppress(_Enough, DivergenceError):
            trial.fit(X, y, sample_weight, callbacks=[recorder])
    losses = np.array(recorder.losses)
    rates = lowest * (highest / lowest) ** (np.arange(len(losses)) / (steps - 1))
    return LearningRates(rates, losses, float(rates[_steepest(losses, np.log(rates))]))


def _steepest(losses: np.ndarray, logs: np.ndarray) -> int:
    """Return the step at which the losses fall fastest: the middle of the steepest straight line through a decade.

    One step's loss says little, being of one batch; and lines end where the losses are least.
    """
    last = max(2, int(np.argmin(losses)))
    width = max(2, int(np.searchsorted(logs, logs[0] + DECADE)))
    starts = range(max(1, last - width + 1))
    lines = [slice(a, min(a + width, last) + 1) for a in starts]
    slopes = [np.polyfit(logs[line], losses[line], 1)[0] for line in lines]
    steepest = lines[int(np.argmin(slopes))]
    return (steepest.start + steepest.stop - 1) // 2
