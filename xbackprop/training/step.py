"""A step of training, as a pure function of arrays, and an epoch of them.

θ, its moments, a batch and the numbers of the step go in; θ and its moments come out. So a backend that has a compiler
can make one call of a whole epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend, Namespace
from xbackprop.data.batches import Samples, batch_groups, take_batch
from xbackprop.nn.dropout import Masks
from xbackprop.nn.objective import Objective, Parameters
from xbackprop.nn.workspace import Workspace
from xbackprop.optim.optimizers import Optimizer, State, clip_norm

Carry = tuple[Parameters, list[tuple[Array, ...]]]  # the parameters, and the moments of each


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
        parameters, moments = carry
        objective, backend = self.objective, self.objective.backend
        batch = take_batch(backend, samples, rows)
        n = batch.X.shape[0]
        if any(self.dropout):
            widths = objective.layout.sizes[1:-1]
            batch = batch._replace(masks=Masks(backend, at.seed, at.t, n, widths, self.dropout, batch.X.dtype))
        lent = workspace.rows(n) if workspace else None
        cost, gradients = objective.value_and_gradient(parameters, batch, lent)
        if self.clip_norm:
            gradients = backend.bind(clip_norm)(gradients, self.clip_norm)
        if self.decays:
            parameters = objective.decay(parameters, at.decay)
        return self.optimizer.update(backend, parameters, gradients, moments, at.rate), cost


def spread(objective: Objective, theta: Array, state: State) -> tuple[Parameters, State]:
    """θ and its moments as the backend likes to take steps: as they are, or as leaves."""
    if not objective.backend.prefers_leaves:
        return [theta], state
    xp, layout, (moments,) = objective.backend.xp, objective.layout, state.moments
    leaves = layout.leaves(xp, theta)
    apart = [layout.leaves(xp, m) for m in moments]
    return leaves, State(state.t, list(zip(*apart, strict=True)) if apart else [()] * len(leaves))


def gather(objective: Objective, parameters: Parameters, state: State) -> tuple[Array, State]:
    """The inverse of `spread`."""
    if len(parameters) == 1:
        return parameters[0], state
    xp, layout = objective.backend.xp, objective.layout
    moments = tuple(layout.join(xp, leaves) for leaves in zip(*state.moments, strict=True))
    return layout.join(xp, parameters), State(state.t, [moments])


def run_epoch(
    step: Step,
    parameters: Parameters,
    state: State,
    samples: Samples,
    batch_size: int,
    order: np.ndarray | None,
    at: Callable[[int, int, int], StepNumbers],
    workspace: Workspace | None = None,
) -> tuple[Parameters, State, list[Array], list[int]]:
    """One step per batch. Returns the parameters, the optimizer's state, each batch's cost and its number of rows.

    at : ``(i, t, m) -> StepNumbers``, columns for m steps, from the i-th of this epoch on;
        t numbers it in the whole run. Both count from 0.
    """
    backend = step.objective.backend
    run = backend.compile(step)
    carry: Carry = (parameters, state.moments)
    costs: list[Array] = []
    rows: list[int] = []
    for piece, numbers, sizes in batch_groups(backend, samples, batch_size, order):
        done = len(rows)
        carry, found = run(carry, piece, numbers, at(done, state.t + done, len(sizes)), workspace)
        costs += found
        rows += sizes
    parameters, moments = carry
    return parameters, State(state.t + len(rows), moments), costs, rows


def read_epoch(backend: Backend, parameters: Parameters, costs: list[Array], rows: list[int]) -> tuple[float, bool]:
    """The mean cost of an epoch, over rows as scikit-learn's is, and whether it and θ are finite.

    The one place that waits for the device.
    """
    numbers = backend.read([*costs, *backend.bind(sums)(parameters)])
    cost = float(numbers[: len(rows)] @ rows) / sum(rows)
    return cost, bool(np.isfinite(numbers).all())


def sums(xp: Namespace, arrays: Sequence[Array]) -> list[Array]:
    """The sum of each: one pass that any infinity or NaN shows in."""
    return [xp.sum(a) for a in arrays]
