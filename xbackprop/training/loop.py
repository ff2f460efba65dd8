"""The training loop: epochs, the record of each, and the decision to stop.

The loop is a generator: it asks for the steps of an epoch and is told where they led, so that whoever takes the steps
may take those of one network (`train_alone`) or of many at a time (`training.stack`).

Nothing waits for the device inside an epoch. The costs of the batches and a flag for θ being finite are read once, at
its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.data.batches import Samples
from xbackprop.nn.objective import Objective
from xbackprop.optim.optimizers import State
from xbackprop.optim.schedules import TrainingTime, constant
from xbackprop.training.plan import Plan, Progress, Stream
from xbackprop.training.step import Step, StepNumbers, read_epoch, run_epoch

SMALLEST_RATE = 1e-6  # "adaptive" ends training below this rate, as scikit-learn does
BLOCK = 64  # the batches of a block of shuffle="blocks"
RATE_DIVISOR = 5.0  # "adaptive" divides the rate by this


class Epoch(NamedTuple):
    """The record of an epoch that callbacks are given.

    number : the number of the epoch, from 1. loss : the mean over rows of the batches' costs.
    samples, seconds : the rows and the time of this epoch alone.
    score : the score of the held-out rows with early stopping; else None.
    """

    number: int
    loss: float
    samples: int
    seconds: float
    score: float | None = None


class Steps(NamedTuple):
    """The steps of an epoch, to be taken: the arguments of `run_epoch` but for the samples and the workspace."""

    step: Step
    theta: Array
    state: State
    batch_size: int
    order: np.ndarray | None
    at: Callable[[int, int, int], StepNumbers]


class Taken(NamedTuple):
    """The end of an epoch: θ, the optimizer's state, the mean cost per row, and whether all of it is finite."""

    theta: Array
    state: State
    loss: float
    finite: bool


Training = Generator[Steps, Taken, Array]  # which returns θ


def step_of(objective: Objective, plan: Plan) -> Step:
    """Return the training step that the plan describes."""
    averages = plan.ema_decay is not None
    return Step(objective, plan.optimizer, plan.clip_norm, plan.weight_decay > 0.0, plan.dropout, averages)


def print_epoch(epoch: Epoch) -> None:
    """Print a line for the epoch: the callback that `verbose` stands for."""
    score = "" if epoch.score is None else f"held-out score {epoch.score:.4f}, "
    print(f"epoch {epoch.number}: loss {epoch.loss:.6f}, {score}{epoch.samples / epoch.seconds:,.0f} samples/s")


def train(
    objective: Objective,
    plan: Plan,
    theta: Array,
    progress: Progress,
    n: int,
    *,
    epochs: int | None = None,
    evaluate: Callable[[Array], tuple[float, float]] | None = None,
    callback: Callable[[Epoch, Array], str] | None = None,
    after_epoch: Callable[[Array, Progress], None] | None = None,
    is_late: Callable[[], bool] | None = None,
) -> Training:
    """Minimise C(θ) from `theta`, which is not changed; `progress` is updated in place.

    A generator: it yields the `Steps` of each epoch and is sent what was `Taken`.

    Parameters
    ----------
    n : the rows of an epoch.
    epochs : the most epochs; by default those that are left of `plan.max_iter` since the call began.
    evaluate : ``evaluate(θ) -> score, loss`` of the held-out rows, for early stopping.
    callback : called after each epoch with its `Epoch` and the weights to predict with; a text ends training.
    after_epoch : called with θ and the progress, to save them. is_late : whether no further epoch may begin.

    Returns
    -------
    θ. `progress.stop_reason` tells why training ended: "max_iter", "converged", "time_limit", "stopped" by the
    callback, "diverged", or "interrupted" by Ctrl-C. The last two keep θ, the counts and the stream of random numbers
    of the last whole epoch, its evaluation included; the optimizer, whose moments the broken epoch has overwritten,
    starts anew.
    """
    backend = objective.backend
    theta, state = backend.copy(theta), progress.state
    step = step_of(objective, plan)
    n_steps, stream = -(-n // plan.batch_size), Stream(progress.rng, n, plan.shared_stream)
    progress.plateau.tol, progress.plateau.patience = plan.tol, plan.patience
    progress.stop_reason, progress.last_theta, whole = "", None, True
    for left in reversed(range(progress.first_epoch + plan.max_iter - progress.epoch if epochs is None else epochs)):
        if is_late is not None and is_late():
            progress.stop_reason = "time_limit"
            break
        try:
            began = time.perf_counter()
            # steps that write into their arguments would leave nothing to return to
            kept = backend.copy if backend.reuses_buffers else _same
            before = kept(theta)
            before_shown = before if plan.ema_decay is None else kept(plan.shown(theta, state))
            restore = progress.snapshot(stream)
            whole = False
            order = _next_order(plan, progress, stream, n) if plan.shuffle else None
            numbers = step_numbers(plan, progress, n_steps)
            theta, state, loss, finite = yield Steps(step, theta, state, plan.batch_size, order, numbers)
            if not (finite or plan.infinite_loss):
                progress.stop_reason = "diverged"
                break
            progress.state = state
            progress.epoch += 1
            progress.samples += n
            progress.loss_curve.append(loss)
            shown = plan.shown(theta, state)
            scored = evaluate(shown) if evaluate else None
            _update_stopping(progress, plan, backend, shown, loss, scored)
            whole = True
            if callback is not None:
                record = Epoch(progress.epoch, loss, n, time.perf_counter() - began, scored[0] if scored else None)
                if callback(record, shown):
                    progress.stop_reason = "stopped"
            if not left:
                progress.stop_reason = progress.stop_reason or "max_iter"
            if after_epoch is not None:
                after_epoch(theta, progress)
        except KeyboardInterrupt:
            progress.stop_reason = "interrupted"
        if progress.stop_reason:
            break
    if not whole:
        reason = progress.stop_reason
        restore()
        theta, state = before, plan.start(backend, before_shown)
        progress.state, progress.stop_reason = state, reason
    best = plan.shown(theta, state) if progress.best_theta is None else progress.best_theta
    if best is theta:
        return theta
    progress.last_theta = theta
    return backend.copy(best)


def _same(x: Array) -> Array:
    return x


def train_alone(training: Training, samples: Samples, after_step: Callable[[Array], None] | None = None) -> Array:
    """Take the steps that the training of one network asks for, on these samples; return θ.

    after_step : called with the cost of each step, which is then taken by itself.
    """
    run = None
    try:
        steps = next(training)
        while True:
            try:
                if run is None:
                    objective = steps.step.objective
                    backend, workspace = objective.backend, objective.workspace(steps.theta, steps.batch_size)
                    run = backend.compile(steps.step) if after_step is None else telling(steps.step, after_step)
                theta, state, costs, rows = run_epoch(
                    steps.step, steps.theta, steps.state, samples, *steps[3:], workspace=workspace, run=run
                )
                (loss,), (finite,) = read_epoch(backend, theta, costs, rows)
            except BaseException as error:
                steps = training.throw(error)  # Ctrl-C ends the training, any other error comes back
            else:
                steps = training.send(Taken(theta, state, loss, finite))
    except StopIteration as end:
        return end.value


def telling(step: Step, after_step: Callable[[Array], None]) -> Callable:
    """Return what `Backend.compile` returns, as a loop that tells of each step."""

    def run(carry: Any, samples: Any, rows: Any, at: StepNumbers, *workspace: Any) -> tuple[Any, list[Array]]:
        def take(*arguments: Any) -> Any:
            carry, cost = step(*arguments)
            after_step(cost)
            return carry, cost

        return Backend.compile(step.objective.backend, take)(carry, samples, rows, at, *workspace)

    return run


def _next_order(plan: Plan, progress: Progress, stream: Stream, n: int) -> np.ndarray:
    """Shuffle the row order of the last epoch once more, as scikit-learn does, to reproduce its runs; or by blocks."""
    if plan.shuffle == "blocks":
        return in_blocks(stream.permutation(), plan.batch_size * BLOCK)
    if progress.row_order is None or len(progress.row_order) != n:
        progress.row_order = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
    progress.row_order = progress.row_order[stream.permutation()]
    return progress.row_order


def in_blocks(permutation: np.ndarray, size: int) -> np.ndarray:
    """Return an order of rows in which blocks of neighbours follow each other at random, and their rows within them."""
    block = np.arange(len(permutation)) // size
    return np.lexsort((permutation, permutation[::size][block]))


def step_numbers(plan: Plan, progress: Progress, n_steps: int) -> Callable[[int, int, int], StepNumbers]:
    """Return the function ``(i, t, m) -> StepNumbers`` for m steps of the coming epoch, from its i-th step on."""
    epoch, samples, factor, seed = progress.epoch, progress.samples, progress.rate_factor, progress.seed
    epochs = progress.first_epoch + plan.max_iter

    first = progress.state.t
    if plan.schedule is constant and not plan.warmup:
        eta = np.full(n_steps, plan.learning_rate_init * factor)
    else:
        moments = (TrainingTime(epoch + j / n_steps, epochs, samples) for j in range(n_steps))
        eta = np.array([plan.rate(moment, factor, n_steps) for moment in moments])
    steps = np.arange(first, first + n_steps)
    columns = StepNumbers(
        rate=plan.optimizer.rate(steps + 1, eta),
        decay=eta * plan.weight_decay if plan.weight_decay else None,
        t=steps if any(plan.dropout) else None,
        seed=np.full(n_steps, seed) if any(plan.dropout) else None,
        ema=None if plan.ema_decay is None else np.where(steps > 0, plan.ema_decay, 0.0),
    )

    def at(i: int, done: int, m: int) -> StepNumbers:
        return StepNumbers(*(None if column is None else column[i : i + m] for column in columns))

    return at


def _update_stopping(
    progress: Progress, plan: Plan, backend: Backend, theta: Array, loss: float, scored: tuple[float, float] | None
) -> None:
    """Keep θ if it is the best so far, and decide whether the epoch was the last.

    scored : score and loss of the held-out rows with early stopping; else None.
    """
    if scored is not None:
        score, held_out_loss = scored
        progress.validation_scores.append(score)
        progress.validation_losses.append(held_out_loss)
        if score > progress.best_score or progress.best_theta is None:
            progress.best_theta, progress.best_score = backend.copy(theta), max(score, progress.best_score)
        loss = -score
    if progress.plateau.reached(loss):
        eta = plan.learning_rate_init * progress.rate_factor
        if plan.adaptive and eta > SMALLEST_RATE:
            progress.rate_factor /= RATE_DIVISOR
            progress.plateau.count = 0
        else:
            progress.stop_reason = "converged"
