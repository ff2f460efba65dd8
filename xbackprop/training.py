"""The training loop: epochs, what is learnt from each, and when it is enough.

Inside an epoch nothing waits for the device. The costs of the batches and a flag that says whether θ is finite are
read once, when the epoch is over.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from xbackprop.backend import Array, Backend
from xbackprop.objective import Objective
from xbackprop.optimizers import Optimizer, State
from xbackprop.schedules import Moment, Schedule, constant
from xbackprop.steps import At, Step, gather, read_epoch, run_epoch, spread

SMALLEST_RATE = 1e-6  # where "adaptive" gives up, as scikit-learn does
CUT = 5.0  # what it divides the rate by
CURVES = ("loss_curve", "validation_scores", "validation_losses")  # of a `Progress`


class Epoch(NamedTuple):
    """What a callback is told after each epoch: `seconds` of it alone, `score` of the held-out rows, if any."""

    number: int
    loss: float
    samples: int
    seconds: float
    score: float | None = None


def print_epoch(epoch: Epoch) -> None:
    """The callback behind `verbose`: a line per epoch."""
    score = "" if epoch.score is None else f"held-out score {epoch.score:.4f}, "
    print(f"epoch {epoch.number}: loss {epoch.loss:.6f}, {score}{epoch.samples / epoch.seconds:,.0f} samples/s")


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

    def rate(self, at: Moment, factor: float, n_steps: int) -> float:
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
        moments = [tuple(map(backend.copy, arrays)) for arrays in self.state.moments]
        curves: dict[str, Any] = {name: list(getattr(self, name)) for name in CURVES}
        return replace(self, state=State(self.state.t, moments), plateau=copy.copy(self.plateau), **curves)


def start_progress(backend: Backend, plan: Plan, theta: Array, rng: np.random.RandomState) -> Progress:
    """Before the first epoch. The stream is drawn from only if something is dropped."""
    seed = int(rng.randint(2**32, dtype=np.uint64)) if any(plan.dropout) else 0
    return Progress(plan.optimizer.start(backend, [theta]), rng, Plateau(plan.tol, plan.patience), seed)


def train(
    objective: Objective,
    plan: Plan,
    theta: Array,
    progress: Progress,
    X: Any,
    y: Array,
    weight: Array | None = None,
    *,
    epochs: int | None = None,
    evaluate: Callable[[Array], tuple[float, float]] | None = None,
    callback: Callable[[Epoch], None] | None = None,
    after_epoch: Callable[[Array, Progress], None] | None = None,
) -> Array:
    """Minimise C(θ) from `theta`, which is not written to; `progress` is brought up to date.

    Parameters
    ----------
    epochs : how many at the most; by default those that are missing to `plan.max_iter` since the call began.
    evaluate : ``(θ) -> score, loss`` of the held-out rows, for early stopping.
    callback : told of every epoch. after_epoch : called with θ and the progress, to save them.

    Returns
    -------
    θ. `progress.end` says why training ended: "max_iter"; "converged"; "diverged", when θ is from before the epoch
    that was not finite; "interrupted" by Ctrl-C, when θ is that of the last whole epoch. Where an epoch was broken off,
    the optimizer starts anew.
    """
    backend = objective.backend
    parameters, state = spread(objective, backend.copy(theta), progress.state)
    workspace = objective.workspace(parameters[0], plan.batch_size)
    step = Step(objective, plan.optimizer, plan.clip_norm, plan.weight_decay > 0.0, plan.dropout)
    n = X.shape[0]
    n_steps = -(-n // plan.batch_size)
    progress.plateau.tol, progress.plateau.patience = plan.tol, plan.patience
    progress.end, progress.last_theta = "", None
    for left in reversed(range(progress.begun + plan.max_iter - progress.epoch if epochs is None else epochs)):
        began = time.perf_counter()
        before, whole = [backend.copy(p) for p in parameters], False
        try:
            order = _next_order(progress, n) if plan.shuffle else None
            parameters, state, costs, rows = run_epoch(
                step,
                parameters,
                state,
                (X, y, weight),
                plan.batch_size,
                order,
                step_numbers(plan, progress, n_steps),
                workspace,
            )
            loss, finite = read_epoch(backend, parameters, costs, rows)
            if not (finite or plan.infinite_loss):
                parameters, progress.end = before, "diverged"
                state = plan.optimizer.start(backend, parameters)
                break
            before, whole = parameters, True
            progress.epoch += 1
            progress.samples += n
            progress.loss_curve.append(loss)
            if evaluate is not None or after_epoch is not None:
                theta, progress.state = gather(objective, parameters, state)
            _note(progress, plan, theta, loss, evaluate, backend)
            if callback is not None:
                score = progress.validation_scores[-1] if evaluate else None
                callback(Epoch(progress.epoch, loss, n, time.perf_counter() - began, score))
        except KeyboardInterrupt:
            parameters, progress.end = before, "interrupted"
            if not whole:
                state = plan.optimizer.start(backend, parameters)
            break
        if not left:
            progress.end = progress.end or "max_iter"
        if after_epoch is not None:
            after_epoch(theta, progress)
        if progress.end:
            break
    theta, progress.state = gather(objective, parameters, state)
    if progress.best_theta is None:
        return theta
    progress.last_theta = theta
    return backend.copy(progress.best_theta)


def _next_order(progress: Progress, n: int) -> np.ndarray:
    """The order of the epoch before, shuffled once more: scikit-learn's way, whose runs ours are held to."""
    if progress.order is None or len(progress.order) != n:
        progress.order = np.arange(n)
    progress.order = progress.order[progress.rng.permutation(n)]
    return progress.order


def step_numbers(plan: Plan, progress: Progress, n_steps: int) -> Callable[[int, int, int], At]:
    """``(i, t, m) -> At`` of m steps of the epoch that begins, from the i-th on."""
    epoch, samples, factor, seed = progress.epoch, progress.samples, progress.factor, progress.seed
    epochs = progress.begun + plan.max_iter

    def at(i: int, t: int, m: int) -> At:
        if plan.schedule is constant and not plan.warmup:
            eta = np.full(m, plan.learning_rate_init * factor)
        else:
            moments = (Moment(epoch + j / n_steps, epochs, samples) for j in range(i, i + m))
            eta = np.array([plan.rate(moment, factor, n_steps) for moment in moments])
        steps = np.arange(t, t + m)
        dropped = (steps, np.full(m, seed)) if any(plan.dropout) else (None, None)
        return At(plan.optimizer.rate(steps + 1, eta), eta * plan.weight_decay if plan.weight_decay else None, *dropped)

    return at


def _note(
    progress: Progress,
    plan: Plan,
    theta: Array,
    loss: float,
    evaluate: Callable[[Array], tuple[float, float]] | None,
    backend: Backend,
) -> None:
    """What the epoch means for stopping: `progress.end` is set where it is the last, and the best θ is kept."""
    if evaluate is not None:
        score, held_out_loss = evaluate(theta)
        progress.validation_scores.append(score)
        progress.validation_losses.append(held_out_loss)
        if score > progress.best_score or progress.best_theta is None:
            progress.best_theta, progress.best_score = backend.copy(theta), max(score, progress.best_score)
        loss = -score
    if progress.plateau.reached(loss):
        eta = plan.learning_rate_init * progress.factor
        if plan.adaptive and eta > SMALLEST_RATE:
            progress.factor /= CUT
            progress.plateau.count = 0
        else:
            progress.end = "converged"
