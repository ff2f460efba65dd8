"""How to train, `Plan`, and how far training has come, `Progress`."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.optim.optimizers import Optimizer, State
from xbackprop.optim.schedules import Schedule, TrainingTime, constant

CURVES = ("loss_curve", "validation_scores", "validation_losses")  # of a `Progress`


class Plateau:
    """scikit-learn's stopping rule: more than `patience` epochs in a row improved the best loss by less than tol."""

    def __init__(self, tol: float, patience: float) -> None:
        self.tol, self.patience = tol, patience
        self.best, self.count = np.inf, 0

    def reached(self, loss: float) -> bool:
        """Note the loss of one more epoch."""
        self.count = self.count + 1 if loss > self.best - self.tol else 0
        self.best = min(self.best, loss)
        return self.count > self.patience


@dataclass(frozen=True)
class Plan:
    """How to train: what is the same from the first epoch to the last.

    batch_size : rows of a step. max_iter : the most epochs. shuffle : whether an epoch has a new order of the rows.
    tol, patience : of `Plateau`. adaptive : divide the rate by 5 there, until it is 1e-6, before stopping.
    learning_rate_init : η where no schedule changes it. schedule, warmup : by how much η differs from that; over so
    many epochs it rises from 0.
    clip_norm : the longest gradient. weight_decay : λ of the decay apart from the gradient.
    dropout : a rate for every hidden layer, or none.
    early_stopping : whether the score of held-out rows decides, and the best θ is kept.
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
        """η of the step at this moment of an epoch of `n_steps`; `factor` is what "adaptive" has made of it."""
        warm = min(1.0, (at.epoch + 1.0 / n_steps) / self.warmup) if self.warmup else 1.0
        return self.learning_rate_init * factor * self.schedule(at) * warm


@dataclass
class Progress:
    """How far training has come: all that is needed, beside θ and the plan, to go on as if it had never stopped.

    state : the optimizer's. rng : the stream of random numbers. seed : of the dropout masks.
    epoch, samples : how many there were. begun : the epoch at which the present call of `fit` began.
    factor : of the rate, by "adaptive". order : of the rows, shuffled further.
    best_theta, best_score, last_theta : of early stopping: the best, and where to go on.
    kept, held_out : the numbers of the rows to train on, and of the others.
    end : why training stopped.
    """

    state: State
    rng: np.random.RandomState
    plateau: Plateau
    seed: int = 0
    epoch: int = 0
    samples: int = 0
    begun: int = 0
    factor: float = 1.0
    order: np.ndarray | None = None
    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    best_theta: Array | None = None
    best_score: float = -np.inf
    last_theta: Array | None = None
    kept: np.ndarray | None = None
    held_out: np.ndarray | None = None
    end: str = ""

    def copy(self, backend: Backend) -> Progress:
        """One to go on with, so that this one is as it was if that fails. The stream of random numbers is shared."""
        moments = tuple(map(backend.copy, self.state.moments))
        curves: dict[str, Any] = {name: list(getattr(self, name)) for name in CURVES}
        return replace(self, state=State(self.state.t, moments), plateau=copy.copy(self.plateau), **curves)


def start_progress(backend: Backend, plan: Plan, theta: Array, rng: np.random.RandomState) -> Progress:
    """Before the first epoch. The stream is drawn from only if something is dropped."""
    seed = int(rng.randint(2**32, dtype=np.uint64)) if any(plan.dropout) else 0
    return Progress(plan.optimizer.start(backend, theta), rng, Plateau(plan.tol, plan.patience), seed)
