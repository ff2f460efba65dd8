"""The training loop: the one place where objective, optimizer and minibatches meet.

Inside an epoch nothing waits for the device. The costs of the batches and a flag that says whether θ is finite are
read once, when the epoch is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from xbackprop.backend import Array, Backend
from xbackprop.batches import minibatches
from xbackprop.objective import Batch, Objective, Parameters, Workspace
from xbackprop.optimizers import Optimizer, State


class Epoch(NamedTuple):
    """What a callback is told after each epoch. `seconds` is the wall time of this epoch alone."""

    number: int
    loss: float
    samples: int
    seconds: float


def print_epoch(epoch: Epoch) -> None:
    """The callback behind `verbose`: a line per epoch."""
    print(f"epoch {epoch.number}: loss {epoch.loss:.6f}, {epoch.samples / epoch.seconds:,.0f} samples/s")


class Run(NamedTuple):
    """How training went: θ at its end, the loss of every epoch, and why it ended.

    diverged : the epoch (from 1) whose loss or weights were not finite, in which case theta is from before it.
    """

    theta: Array
    loss_curve: list[float]
    converged: bool
    diverged: int | None


class Plateau:
    """scikit-learn's stopping rule: more than `patience` epochs in a row improved the best loss by less than tol."""

    def __init__(self, tol: float, patience: int) -> None:
        self.tol, self.patience = tol, patience
        self.best, self.count = np.inf, 0

    def reached(self, loss: float) -> bool:
        """Note the loss of one more epoch."""
        self.count = self.count + 1 if loss > self.best - self.tol else 0
        self.best = min(self.best, loss)
        return self.count > self.patience


def run_epoch(
    objective: Objective,
    optimizer: Optimizer,
    parameters: Parameters,
    state: State,
    batches: Iterable[Batch],
    workspace: Workspace | None = None,
) -> tuple[Parameters, State, list[Array], list[Array | float]]:
    """One step per batch. Returns the parameters, the optimizer's state, and each batch's cost and weight."""
    costs: list[Array] = []
    totals: list[Array | float] = []
    for batch in batches:
        lent = workspace.rows(batch.X.shape[0]) if workspace else None
        cost, gradients = objective.value_and_gradient(parameters, batch, lent)
        parameters, state = optimizer.update(objective.backend, parameters, gradients, state)
        costs.append(cost)
        totals.append(batch.total)
    return parameters, state, costs, totals


def read_epoch(
    backend: Backend, parameters: Parameters, costs: list[Array], totals: list[Array | float]
) -> tuple[float, bool]:
    """The mean cost of an epoch, and whether it and θ are finite. The one place that waits for the device."""
    xp = backend.xp
    sums = [xp.sum(p) for p in parameters]  # one pass that any infinity or NaN shows in
    numbers = backend.to_host(xp.stack([*costs, *sums])).astype(np.float64)
    weights = np.asarray(totals, dtype=np.float64) if isinstance(totals[0], int) else backend.to_host(xp.stack(totals))
    cost = float(np.average(numbers[: len(costs)], weights=weights))
    return cost, bool(np.isfinite(numbers).all())


def train(
    objective: Objective,
    optimizer: Optimizer,
    theta: Array,
    X: Array,
    y: Array,
    weight: Array | None,
    *,
    batch_size: int,
    max_iter: int,
    shuffle: bool,
    rng: np.random.RandomState,
    tol: float,
    n_iter_no_change: int,
    callback: Callable[[Epoch], None] | None = None,
) -> Run:
    """Minimise C(θ) from `theta`, which is not written to."""
    backend = objective.backend
    parameters = [backend.copy(theta)]
    state = optimizer.start(backend, parameters)
    workspace = objective.workspace(parameters[0], batch_size)
    plateau = Plateau(tol, n_iter_no_change)
    loss_curve: list[float] = []
    n = X.shape[0]

    for number in range(1, max_iter + 1):
        began = time.perf_counter()
        last_finite = backend.copy(parameters[0]) if backend.reuses_buffers else parameters[0]
        order = rng.permutation(n) if shuffle else None
        batches = minibatches(backend, X, y, weight, batch_size, order)
        parameters, state, costs, totals = run_epoch(objective, optimizer, parameters, state, batches, workspace)
        loss, finite = read_epoch(backend, parameters, costs, totals)
        if not finite:
            return Run(last_finite, loss_curve, converged=False, diverged=number)
        loss_curve.append(loss)
        if callback is not None:
            callback(Epoch(number, loss, n, time.perf_counter() - began))
        if plateau.reached(loss):
            return Run(parameters[0], loss_curve, converged=True, diverged=None)
    return Run(parameters[0], loss_curve, converged=False, diverged=None)
