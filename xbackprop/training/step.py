"""A training step as a pure function of arrays, and an epoch of such steps.

A step takes θ, the optimizer's moments, rows and a few numbers, and returns the new θ and moments, so that a backend
with a compiler can run a whole epoch in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.data.batches import Samples, batch_groups, take_batch
from xbackprop.nn.dropout import Masks
from xbackprop.nn.objective import Batch, Objective
from xbackprop.nn.parameters import per_network
from xbackprop.nn.workspace import Workspace
from xbackprop.optim.optimizers import Optimizer, State, average_step, clip_norm

Carry = tuple[Array, Sequence[Array]]  # θ and its moments


class StepNumbers(NamedTuple):
    """Inputs that change from step to step; for m steps, columns (m,). Inputs that are not needed are None.

    In a stack of k networks a number of which each has its own is an array (k,), and a column is (m, k).

    rate : the learning rate, after schedule and bias correction.
    decay : ηλ, by which weights shrink apart from the gradient.
    t, seed : the number of the step, from 0, and of the run, which select the dropout masks.
    ema : β of the average of the weights.
    l2, l1 : the strengths (1-ρ)α and ρα of the penalty, in a stack of networks in which they differ.
    whole : of a batch of which this process has a part, the rows or the weight; see `make_batch`.

    A compiled step takes them as arrays, so that another rate or seed compiles nothing.
    """

    rate: Any
    decay: Any = None
    t: Any = None
    seed: Any = None
    ema: Any = None
    l2: Any = None
    l1: Any = None
    whole: Any = None


@dataclass(frozen=True)
class Step:
    """A training step. Two steps with equal parts are equal, so that a compiled one is found again.

    clip_norm : the largest norm of the gradient, to which longer ones are scaled, or None.
    decays : whether weights decay apart from the gradient (AdamW).
    dropout : a rate per hidden layer, or () for none.
    averages : whether an average of the weights is kept: then it is the last of the moments.
    """

    objective: Objective
    optimizer: Optimizer
    clip_norm: float | None = None
    decays: bool = False
    dropout: tuple[float, ...] = ()
    averages: bool = False

    def __call__(
        self, carry: Carry, samples: Samples, rows: Any, at: StepNumbers, workspace: Workspace | None = None
    ) -> tuple[Carry, Array]:
        """Take a step on these rows; return θ and moments after it, and C before it."""
        theta, moments = carry
        objective, backend = self.objective, self.objective.backend
        batch = self.batch(samples, rows, at)
        workspace = workspace.rows(batch.X.shape[-2]) if workspace else None
        cost, g = objective.value_and_gradient(theta, batch, workspace)
        if self.clip_norm:
            (g,) = backend.bind(clip_norm)([g], self.clip_norm)
        if self.decays:
            theta = objective.decay(theta, per_network(at.decay))
        return self.update(theta, g, moments, at), cost

    def update(self, theta: Array, g: Array, moments: Sequence[Array], at: StepNumbers) -> Carry:
        """Return θ and moments after an update by the gradient g."""
        backend, n = self.objective.backend, self.optimizer.n_moments
        theta, updated = self.optimizer.update(backend, theta, g, moments[:n], per_network(at.rate))
        if self.averages:
            updated += tuple(backend.bind(average_step)(moments[n], theta, per_network(at.ema)))
        return theta, updated

    def batch(self, samples: Samples, rows: Any, at: StepNumbers) -> Batch:
        """Take the batch of these rows, with the dropout masks of this step."""
        batch = self.take(samples, rows, at)
        if at.l2 is not None:
            batch = batch._replace(penalty=(at.l2, at.l1))
        return batch._replace(masks=self.masks(batch, rows, at)) if any(self.dropout) else batch

    def take(self, samples: Samples, rows: Any, at: StepNumbers) -> Batch:  # noqa: ARG002, a rank needs `at`
        """Take the batch of these rows, without masks."""
        return take_batch(self.objective.backend, samples, rows)

    def masks(self, batch: Batch, rows: Any, at: StepNumbers) -> Masks:  # noqa: ARG002, a rank needs `rows`
        """Return the dropout masks of this step."""
        backend, widths, (n, _) = self.objective.backend, self.objective.layout.sizes[1:-1], batch.X.shape[-2:]
        return Masks(backend, per_network(at.seed), per_network(at.t), n, widths, self.dropout, batch.X.dtype)


def run_epoch(
    step: Step,
    theta: Array,
    state: State,
    samples: Samples,
    batch_size: int,
    order: np.ndarray | None,
    at: Callable[[int, int, int], StepNumbers],
    workspace: Workspace | None = None,
    run: Callable | None = None,
) -> tuple[Array, State, list[Array], list[int]]:
    """Take one step per batch; return θ, the optimizer's state, and the cost and the number of rows of each batch.

    order : a permutation of the rows, or None to take them as they are.
    at : ``(i, t, m) -> StepNumbers`` of m steps, of which the first is the i-th of this epoch and the t-th of the whole
        run, both from 0.

    For a stack of k networks θ is (k, P), `order` (k, n) and a cost (k,).
    workspace : memory from `Objective.workspace`, made for this θ. run : ``Backend.compile(step)``, to use again.
    """
    backend = step.objective.backend
    run = run or backend.compile(step)
    carry: Carry = (theta, state.moments)
    costs: list[Array] = []
    rows: list[int] = []
    for group, numbers, sizes in batch_groups(backend, samples, batch_size, order):
        done = len(rows)
        carry, found = run(carry, group, numbers, at(done, state.t + done, len(sizes)), workspace)
        costs += found
        rows += sizes
    theta, moments = carry
    return theta, State(state.t + len(rows), moments), costs, rows


def read_epoch(backend: Backend, theta: Array, costs: list[Array], rows: list[int]) -> tuple[list[float], list[bool]]:
    """Return for each network the mean cost per row of an epoch, as scikit-learn reports it, and whether costs and θ
    are finite.

    This is the only place in training that waits for the device.
    """
    totals = backend.xp.sum(theta, axis=-1)  # one pass over θ: any infinity or NaN shows in the sum
    numbers = np.ascontiguousarray(backend.read([*costs, totals]).reshape(len(rows) + 1, -1).T)
    return [float(of[:-1] @ rows) / sum(rows) for of in numbers], np.isfinite(numbers).all(axis=1).tolist()
