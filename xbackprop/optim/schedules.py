"""Learning-rate schedules: the factor by which `learning_rate_init` is multiplied at each step of training.

A schedule is a function ``schedule(at: TrainingTime) -> factor``; a user's own is ``f(epoch, epochs) -> factor``.

| name | factor | source |
|---|---|---|
| constant, adaptive | 1 (adaptive: training divides by 5 when the loss stops falling) | scikit-learn |
| invscaling | 1 / (samples seen before this epoch + 1)^power_t | scikit-learn |
| step | step_factor^⌊epoch / step_epochs⌋ | |
| cosine | ½ (1 + cos(π epoch/epochs)) | Loshchilov and Hutter, 2017 |
| one_cycle | from 1/25 up to 1 over 30% of the epochs, down to 1/25·10⁻⁴, both along a cosine | Smith and Topin, 2018 |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

SCHEDULES = ("constant", "invscaling", "adaptive", "step", "cosine", "one_cycle")
RISE, START, END = 0.3, 1 / 25, 1e-4 / 25  # of one_cycle


class TrainingTime(NamedTuple):
    """A moment of training.

    epoch : epochs done, with the fraction of the present one that is done. epochs : the number of epochs planned.
    samples : samples seen before the present epoch.
    """

    epoch: float
    epochs: int
    samples: int


Schedule = Callable[[TrainingTime], float]


def constant(at: TrainingTime) -> float:
    """Return 1."""
    return 1.0


def cosine(at: TrainingTime) -> float:
    """Return ½ (1 + cos(π epoch/epochs))."""
    return _between(1.0, 0.0, at.epoch / at.epochs)


def one_cycle(at: TrainingTime) -> float:
    """Return a factor that rises from 1/25 to 1 over 30% of the epochs, then falls to 1/25·10⁻⁴."""
    done = at.epoch / at.epochs
    return _between(START, 1.0, done / RISE) if done < RISE else _between(1.0, END, (done - RISE) / (1.0 - RISE))


def make_schedule(learning_rate: str | Callable, power_t: float, step_epochs: int, step_factor: float) -> Schedule:
    """Return the schedule for a name, or for a user's function ``f(epoch, epochs) -> factor``."""
    if callable(learning_rate):
        return lambda at: float(learning_rate(at.epoch, at.epochs))
    if learning_rate == "invscaling":
        return lambda at: 1.0 / _power(at.samples + 1, power_t)
    if learning_rate == "step":
        return lambda at: _power(step_factor, at.epoch // step_epochs)
    return {"cosine": cosine, "one_cycle": one_cycle}.get(learning_rate, constant)


def _power(base: float, exponent: float) -> float:
    """Return base^exponent, infinite beyond the largest float, where Python raises OverflowError."""
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf


def _between(start: float, end: float, done: float) -> float:
    """Interpolate from start to end along half a cosine, for `done` from 0 to 1, and stay at end."""
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * min(done, 1.0)))
