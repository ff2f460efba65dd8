"""Take the steps that the training of one network asks for on many ranks: one sum of one vector in each step.

The weights of the batches are summed once before an epoch, their costs once behind it, with all that the ranks must
decide alike: whether θ is finite, whether Ctrl-C was pressed on one of them, and whether all have the same θ.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.data.batches import Samples, in_rows
from xbackprop.data.on_disk import comes_in_rows
from xbackprop.distributed.agreement import checksum, gather
from xbackprop.distributed.communicator import Communicator
from xbackprop.distributed.objective import shared_step
from xbackprop.distributed.rows import Holding, Part, parts
from xbackprop.errors import RankError
from xbackprop.nn.objective import row_totals
from xbackprop.optim.optimizers import State
from xbackprop.training.loop import Steps, Taken, Training, telling
from xbackprop.training.step import StepNumbers


def train_on_ranks(
    training: Training,
    samples: Samples,
    holding: Holding,
    ranks: Communicator,
    after_step: Callable[[Array], None] | None = None,
) -> Array:
    """Take the steps of one network with the other ranks, on the samples that this one holds; return θ.

    after_step : on rank 0, called with the cost of each step, for which the ranks then exchange a number more.
    """
    epochs: _Epochs | None = None
    told = any(gather(ranks, after_step is not None))
    with _interruptions() as interrupted:
        try:
            steps = next(training)
            while True:
                epochs = epochs or _Epochs(steps, samples, holding, ranks, after_step, told)
                taken = epochs.take(steps, interrupted)
                steps = training.throw(KeyboardInterrupt()) if taken is None else training.send(taken)
        except StopIteration as end:
            return end.value


class _Epochs:
    """The epochs of a run on this rank: the step, compiled or not, and the memory for it."""

    def __init__(
        self, steps: Steps, samples: Samples, holding: Holding, ranks: Communicator, after_step: Any, told: bool
    ) -> None:
        self.samples, self.holding, self.ranks = samples, holding, ranks
        self.step = shared_step(steps.step, ranks)
        self.backend = self.step.objective.backend
        self.workspace = self.step.objective.workspace(steps.theta, steps.batch_size)
        weight = samples[2]
        self.weight = None if weight is None else np.asarray(self.backend.to_host(weight), dtype=np.float64)
        note = self._telling(after_step or _ignore) if told else None
        self.run = telling(self.step, note) if note else ranks.compile(self.step)

    def take(self, steps: Steps, interrupted: list[bool]) -> Taken | None:
        """Take an epoch; return None if Ctrl-C was pressed on one of the ranks."""
        mine = parts(self.backend, self.holding, steps.order, steps.batch_size)
        carry: Any = (steps.theta, steps.state.moments)
        m, t = len(mine), steps.state.t
        at = steps.at(0, t, m)._replace(whole=self._totals(mine))
        costs: list[Array] = []
        done = 0
        for group, found in self._groups(mine):
            now = StepNumbers(*(None if column is None else column[done : done + len(found)] for column in at))
            carry, new = self.run(carry, group, found, now, self.workspace)
            costs += new
            done += len(found)
        theta, moments = carry
        loss, finite, stopped = self._read(theta, costs, [part.size for part in mine], any(interrupted))
        return None if stopped else Taken(theta, State(t + m, moments), loss, finite)

    def _groups(self, mine: list[Part]) -> Iterator[tuple[Samples, list[Part]]]:
        """Yield the samples and the parts to take of them; of a file or a sparse matrix, part by part."""
        if not comes_in_rows(self.samples[0]):
            yield self.samples, mine
            return
        rows = [part.rows if isinstance(part.rows, slice) else part.numbers for part in mine]
        for part, group in zip(mine, in_rows(self.backend, self.samples, rows), strict=True):
            yield group, [part._replace(rows=slice(None))]

    def _totals(self, mine: list[Part]) -> np.ndarray:
        """Return the rows of each whole batch (m,), or with weights its `row_totals` (m, 1) or (m, 1 + n_L)."""
        weight = self.weight
        if weight is None:
            return np.array([part.size for part in mine], dtype=np.float64)
        of_targets = weight.ndim == 2
        own = [row_totals(np, weight[part.numbers], of_targets) for part in mine]
        return self.ranks.all_reduce(np.stack(own))

    def _read(
        self, theta: Array, costs: Sequence[Array], rows: list[int], interrupted: bool
    ) -> tuple[float, bool, bool]:
        """Return the mean cost per row of the epoch, whether all is finite, and whether a rank was interrupted."""
        found = self.backend.read([*costs, self.backend.xp.sum(theta, axis=-1)])
        # Σ c² = (Σ c)²/R only where all c are the same: ranks with another θ show in numbers that are summed anyway
        c, finite = checksum(self.backend, theta), np.isfinite(found).all()
        sums = self.ranks.all_reduce(np.array([*found[:-1], float(finite), float(interrupted), c, c * c]))
        *costs_of_all, finite_on, interrupted_on, c_sum, c_squares = sums.tolist()
        R = self.ranks.size
        if int(c_sum) ** 2 != R * int(c_squares):
            each = self.ranks.all_gather(c)
            others = [rank for rank, other in enumerate(each) if other != each[0]]
            raise RankError(f"after an epoch the weights of rank 0 are not those of rank {', '.join(map(str, others))}")
        loss = float(np.asarray(costs_of_all) @ rows) / (R * sum(rows))
        return loss, finite_on == R and bool(np.isfinite(loss)), interrupted_on > 0

    def _telling(self, after_step: Callable[[Array], None]) -> Callable[[Array], None]:
        def note(cost: Array) -> None:
            own = np.array([self.backend.to_host(cost)], dtype=np.float64)
            after_step(self.backend.asarray(self.ranks.all_reduce(own) / self.ranks.size)[0])

        return note


def _ignore(cost: Array) -> None:
    """Take no note of a step, on a rank where nobody asks."""


@contextmanager
def _interruptions() -> Iterator[list[bool]]:
    """Context manager in which Ctrl-C is noted, so that all ranks end an epoch; a second one is raised."""
    noted: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, frame: Any) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(True)

    former = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, former)
