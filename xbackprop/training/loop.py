"""The training loop: epochs, what is learnt from each, and when it is enough.

Inside an epoch nothing waits for the device. The costs of the batches and a flag that says whether θ is finite are
read once, when the epoch is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.nn.objective import Objective
from xbackprop.optim.schedules import TrainingTime, constant
from xbackprop.training.plan import Plan, Progress
from xbackprop.training.step import Step, StepNumbers, read_epoch, run_epoch

SMALLEST_RATE = 1e-6  # where "adaptive" gives up, as scikit-learn does
CUT = 5.0  # what it divides the rate by


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
    theta, state = backend.copy(theta), progress.state
    workspace = objective.workspace(theta, plan.batch_size)
    step = Step(objective, plan.optimizer, plan.clip_norm, plan.weight_decay > 0.0, plan.dropout)
    n = X.shape[0]
    n_steps = -(-n // plan.batch_size)
    progress.plateau.tol, progress.plateau.patience = plan.tol, plan.patience
    progress.end, progress.last_theta = "", None
    for left in reversed(range(progress.begun + plan.max_iter - progress.epoch if epochs is None else epochs)):
        began = time.perf_counter()
        before, whole = backend.copy(theta), False
        try:
            order = _next_order(progress, n) if plan.shuffle else None
            theta, state, costs, rows = run_epoch(
                step,
                theta,
                state,
                (X, y, weight),
                plan.batch_size,
                order,
                step_numbers(plan, progress, n_steps),
                workspace,
            )
            loss, finite = read_epoch(backend, theta, costs, rows)
            if not (finite or plan.infinite_loss):
                theta, progress.end = before, "diverged"
                state = plan.optimizer.start(backend, theta)
                break
            before, whole = theta, True
            progress.epoch += 1
            progress.samples += n
            progress.loss_curve.append(loss)
            progress.state = state
            _update_stopping(progress, plan, theta, loss, evaluate, backend)
            if callback is not None:
                score = progress.validation_scores[-1] if evaluate else None
                callback(Epoch(progress.epoch, loss, n, time.perf_counter() - began, score))
        except KeyboardInterrupt:
            theta, progress.end = before, "interrupted"
            if not whole:
                state = plan.optimizer.start(backend, theta)
            break
        if not left:
            progress.end = progress.end or "max_iter"
        if after_epoch is not None:
            after_epoch(theta, progress)
        if progress.end:
            break
    progress.state = state
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


def step_numbers(plan: Plan, progress: Progress, n_steps: int) -> Callable[[int, int, int], StepNumbers]:
    """``(i, t, m) -> StepNumbers`` of m steps of the epoch that begins, from the i-th on."""
    epoch, samples, factor, seed = progress.epoch, progress.samples, progress.factor, progress.seed
    epochs = progress.begun + plan.max_iter

    def at(i: int, t: int, m: int) -> StepNumbers:
        if plan.schedule is constant and not plan.warmup:
            eta = np.full(m, plan.learning_rate_init * factor)
        else:
            moments = (TrainingTime(epoch + j / n_steps, epochs, samples) for j in range(i, i + m))
            eta = np.array([plan.rate(moment, factor, n_steps) for moment in moments])
        steps = np.arange(t, t + m)
        dropped = (steps, np.full(m, seed)) if any(plan.dropout) else (None, None)
        return StepNumbers(
            plan.optimizer.rate(steps + 1, eta), eta * plan.weight_decay if plan.weight_decay else None, *dropped
        )

    return at


def _update_stopping(
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
