"""C(θ) and its gradient as sums over ranks: each computes them on its rows, and one sum of one vector joins them.

C = Σ_x share_x c(x) + penalty is a sum over the rows of the batch, and so is its gradient; share_x has the weight of
the whole batch in it. The sums of the parts are therefore those of the batch, whatever its rows are divided into, and
the penalty is added once, behind the sum.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.data.batches import Samples, take_arrays
from xbackprop.distributed.communicator import ALONE, Communicator
from xbackprop.distributed.rows import Part
from xbackprop.nn.dropout import Masks, PartOfMasks
from xbackprop.nn.objective import Batch, Objective, make_batch
from xbackprop.nn.parameters import Layers
from xbackprop.nn.workspace import Workspace
from xbackprop.training.step import Step, StepNumbers


def total(ranks: Communicator, backend: Backend, x: Array) -> Array:
    """Return Σ over the ranks of x, an array of the backend, in the memory of x where that may be written."""
    if ranks.takes(backend):
        return ranks.all_reduce(x)
    found = backend.asarray(ranks.all_reduce(np.array(backend.to_host(x))))
    if not backend.reuses_buffers:
        return found
    x[...] = found
    return x


@dataclass(frozen=True)
class SharedObjective(Objective):
    """C(θ) of a batch of which each rank has a part; the C of a rank is its own, their mean that of the batch."""

    ranks: Communicator = ALONE

    def value_and_gradient(self, theta: Array, batch: Batch, workspace: Workspace | None = None) -> tuple[Array, Array]:
        """Compute this rank's C, and g = ∂C/∂θ of the whole batch, of this rank's rows of it; there may be none."""
        if batch.X.shape[-2]:
            cost, g = self.loss_and_gradient(theta, batch, workspace)
        else:
            cost, g = self._nothing(theta, workspace)
        g = total(self.ranks, self.backend, g)
        return self.with_penalty(self.ranks.size * cost, g, theta, batch, workspace)

    def layer_gradients(self, layers: Layers, batch: Batch) -> tuple[Array, list[tuple[Array, Array]]]:
        """Compute the same at layers that are arrays of their own, with sums that are a part of a compiled epoch."""
        backend, ranks = self.backend, self.ranks
        cost, gradients = self.loss_gradients(layers, batch)
        summed = [(total(ranks, backend, gW), total(ranks, backend, gb)) for gW, gb in gradients]
        return self.with_layer_penalty(ranks.size * cost, summed, layers, batch)

    def _nothing(self, theta: Array, workspace: Workspace | None) -> tuple[Array, Array]:
        """Return the loss and the gradient of no rows."""
        xp = self.backend.xp
        g = workspace.gradient if workspace else xp.zeros_like(theta)
        if workspace:
            g[...] = 0.0
        return xp.zeros((), dtype=theta.dtype, device=self.backend.device), g


@dataclass(frozen=True)
class WholeObjective(SharedObjective):
    """The same, with C of the whole batch on every rank, for an optimizer that asks for it at every point."""

    def value_and_gradient(self, theta: Array, batch: Batch, workspace: Workspace | None = None) -> tuple[Array, Array]:
        """Compute C and g = ∂C/∂θ of the whole batch, of this rank's rows of it."""
        cost, g = super().value_and_gradient(theta, batch, workspace)
        cost = np.asarray(self.backend.to_host(cost), dtype=np.float64).reshape(1)
        return self.backend.asarray(self.ranks.all_reduce(cost.copy())[0] / self.ranks.size), g


def shared_objective(objective: Objective, ranks: Communicator, kind: type = SharedObjective) -> Any:
    """Return the objective of the same network, computed by all the ranks."""
    return kind(**{field.name: getattr(objective, field.name) for field in fields(Objective)}, ranks=ranks)


@dataclass(frozen=True)
class RankStep(Step):
    """A step of which this rank takes its part of the rows, a `Part`; the update is that of all of them."""

    def take(self, samples: Samples, rows: Part, at: StepNumbers) -> Batch:
        """Take this rank's part of the batch, each row with its part of the mean over the whole batch."""
        backend = self.objective.backend
        X, y, weight = take_arrays(backend, samples, rows.rows)
        return make_batch(backend, X, y, weight, whole=at.whole)

    def masks(self, batch: Batch, rows: Part, at: StepNumbers) -> Masks:
        """Return this rank's rows of the masks of the whole batch."""
        backend, widths = self.objective.backend, self.objective.layout.sizes[1:-1]
        n, dtype = batch.X.shape[-2], batch.X.dtype
        return PartOfMasks(backend, at.seed, at.t, n, widths, self.dropout, dtype, rows.places, rows.size)


def shared_step(step: Step, ranks: Communicator) -> RankStep:
    """Return the same step, taken by all the ranks."""
    own = {field.name: getattr(step, field.name) for field in fields(Step)}
    return RankStep(**{**own, "objective": shared_objective(step.objective, ranks)})
