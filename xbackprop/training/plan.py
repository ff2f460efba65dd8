"""The settings of training, `Plan`, and its state after an epoch, `Progress`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.optim.optimizers import Optimizer, State
from xbackprop.optim.schedules import Schedule, TrainingTime, constant

CURVES = ("loss_curve", "validation_scores", "validation_losses")  # fields of a `Progress`


class Plateau:
    """scikit-learn's rule: stop when more than `patience` epochs in a row improve the best loss by less than tol."""

    def __init__(self, tol: float, patience: float) -> None:
        self.tol, self.patience = tol, patience
        self.best, self.count = np.inf, 0

    def reached(self, loss: float) -> bool:
        """Take the loss of one more epoch into account; return whether training should stop."""
        self.count = self.count + 1 if loss > self.best - self.tol else 0
        self.best = min(self.best, loss)
        return self.count > self.patience


@dataclass(frozen=True)
class Plan:
    """The settings of training that stay the same from the first epoch to the last.

    Parameters
    ----------
    batch_size : the rows of a step. max_iter : the most epochs. shuffle : whether every epoch reorders the rows.
    tol, patience : the parameters of `Plateau`.
    adaptive : whether a plateau divides the rate by 5, until it is 1e-6, before it ends training.
    learning_rate_init, schedule, warmup : η, the factor by which it changes, and the epochs over which it rises from 0.
    clip_norm : the upper bound of the gradient's norm, or None for no bound.
    weight_decay : λ of the decay that is not part of the gradient.
    dropout : a rate for every hidden layer, or () for no dropout.
    early_stopping : whether the score of held-out rows decides when to stop, and the best θ is kept.
    infinite_loss : whether training goes on when the loss or θ is not finite.
    """

    optimizer: Optimizer
    learning_rate_init: float = 1e-3
    batch_size: int = 200
    max_iter: int = 200
    shuffle: bool = True
    tol: float = 1e-4
    patience: float = 10
    adaptive: bool = False
    schedule: Schedule = constant
    warmup: float = 0.0
    clip_norm: float | None = None
    weight_decay: float = 0.0
    dropout: tuple[float, ...] = ()
    early_stopping: bool = False
    infinite_loss: bool = False

    def rate(self, at: TrainingTime, factor: float, n_steps: int) -> float:
        """Return η of the step at this time, in an epoch of `n_steps`; `factor` is `Progress.rate_factor`."""
        warm = min(1.0, (at.epoch + 1.0 / n_steps) / self.warmup) if self.warmup else 1.0
        return self.learning_rate_init * factor * self.schedule(at) * warm


@dataclass
class Progress:
    """The state of training: together with θ and the plan it is enough to go on as if training had never stopped.

    Parameters
    ----------
    state, plateau : the states of the optimizer and of the stopping rule.
    rng : the random number generator. seed : the seed of the dropout masks.
    epoch, samples : the epochs and the samples so far. first_epoch : `epoch` as the present call of `fit` began.
    rate_factor : the factor by which learning_rate="adaptive" has changed the rate.
    row_order : the order of the rows in the last epoch; the next one shuffles it further.
    loss_curve, validation_scores, validation_losses : a number for every epoch.
    best_theta, best_score, last_theta : with early stopping, the best θ and its score, and the θ to go on from.
    training_rows, validation_rows : with early stopping, the rows to train on, and those held out.
    stop_reason : "max_iter", "converged", "diverged" or "interrupted"; empty while training goes on.
    """

    state: State
    rng: np.random.RandomState
    plateau: Plateau
    seed: int = 0
    epoch: int = 0
    samples: int = 0
    first_epoch: int = 0
    rate_factor: float = 1.0
    row_order: np.ndarray | None = None
    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    best_theta: Array | None = None
    best_score: float = -np.inf
    last_theta: Array | None = None
    training_rows: np.ndarray | None = None
    validation_rows: np.ndarray | None = None
    stop_reason: str = ""

    def snapshot(self) -> Callable[[], None]:
        """Return a function that puts everything back as it is now, but for the arrays of the optimizer's state."""
        fields = {**vars(self), "plateau": copy.copy(self.plateau)}
        lengths, stream = [len(getattr(self, name)) for name in CURVES], self.rng.get_state()

        def restore() -> None:
            vars(self).update(fields)
            self.rng.set_state(stream)
            for name, length in zip(CURVES, lengths, strict=True):
                del getattr(self, name)[length:]

        return restore

    def copy(self, backend: Backend) -> Progress:
        """Return a copy to train on with, so that this one stays as it is; both share the random number generator."""
        moments = tuple(map(backend.copy, self.state.moments))
        curves: dict[str, Any] = {name: list(getattr(self, name)) for name in CURVES}
        return replace(self, state=State(self.state.t, moments), plateau=copy.copy(self.plateau), **curves)


def start_progress(backend: Backend, plan: Plan, theta: Array, rng: np.random.RandomState) -> Progress:
    """Return the progress before the first epoch; only with dropout is a number drawn from `rng`, for its seed."""
    seed = int(rng.randint(2**32, dtype=np.uint64)) if any(plan.dropout) else 0
    return Progress(plan.optimizer.start(backend, theta), rng, Plateau(plan.tol, plan.patience), seed)
