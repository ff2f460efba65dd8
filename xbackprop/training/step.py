"""A step of training, as a pure function of arrays, and an epoch of them.

θ, its moments, a batch and the numbers of the step go in; θ and its moments come out. So a backend that has a compiler
can make one call of a whole epoch.
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
from xbackprop.nn.workspace import Workspace
from xbackprop.optim.optimizers import Optimizer, State, clip_norm

Carry = tuple[Array, Sequence[Array]]  # θ and its moments


class StepNumbers(NamedTuple):
    """The numbers of one step: the optimizer's rate; ηλ, the decay of the weights; t, from 0, and the seed, of dropout.

    Or of several steps, as columns (m,); None where a step has no need of them. Within a compiled step they are arrays,
    so that it serves all of them.
    """

    rate: Any
    decay: Any = None
    t: Any = None
    seed: Any = None


@dataclass(frozen=True)
class Step:
    """What a step does: the same for the same values of its parts.

    clip_norm : the longest gradient. decays : whether weights decay apart from the gradient. dropout : a rate for every
    hidden layer, or none.
    """

    objective: Objective
    optimizer: Optimizer
    clip_norm: float | None = None
    decays: bool = False
    dropout: tuple[float, ...] = ()

    def __call__(
        self, carry: Carry, samples: Samples, rows: Any, at: StepNumbers, workspace: Workspace | None = None
    ) -> tuple[Carry, Array]:
        """θ and moments after the step on these rows, and C before it."""
        theta, moments = carry
        objective, backend = self.objective, self.objective.backend
        batch = self.batch(samples, rows, at)
        workspace = workspace.rows(batch.X.shape[0]) if workspace else None
        cost, g = objective.value_and_gradient(theta, batch, workspace)
        if self.clip_norm:
            (g,) = backend.bind(clip_norm)([g], self.clip_norm)
        if self.decays:
            theta = objective.decay(theta, at.decay)
        return self.optimizer.update(backend, theta, g, moments, at.rate), cost

    def batch(self, samples: Samples, rows: Any, at: StepNumbers) -> Batch:
        """Take the batch of these rows, with the masks of dropout that this step has."""
        backend, widths = self.objective.backend, self.objective.layout.sizes[1:-1]
        batch = take_batch(backend, samples, rows)
        if not any(self.dropout):
            return batch
        n, dtype = batch.X.shape[0], batch.X.dtype
        return batch._replace(masks=Masks(backend, at.seed, at.t, n, widths, self.dropout, dtype))


def run_epoch(
    step: Step,
    theta: Array,
    state: State,
    samples: Samples,
    batch_size: int,
    order: np.ndarray | None,
    at: Callable[[int, int, int], StepNumbers],
    workspace: Workspace | None = None,
) -> tuple[Array, State, list[Array], list[int]]:
    """One step per batch. Returns θ, the optimizer's state, each batch's cost and its number of rows.

    at : ``(i, t, m) -> StepNumbers``, columns for m steps, from the i-th of this epoch on;
        t numbers it in the whole run. Both count from 0.
    """
    backend = step.objective.backend
    run = backend.compile(step)
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


def read_epoch(backend: Backend, theta: Array, costs: list[Array], rows: list[int]) -> tuple[float, bool]:
    """The mean cost of an epoch, over rows as scikit-learn's is, and whether it and θ are finite.

    The one place that waits for the device.
    """
    numbers = backend.read([*costs, backend.xp.sum(theta)])  # one pass over θ that any infinity or NaN shows in
    cost = float(numbers[: len(rows)] @ rows) / sum(rows)
    return cost, bool(np.isfinite(numbers).all())
