"""`NumbaBackend`: NumPy's arrays, compiled passes, and an epoch of steps in one compiled call."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, ClassVar

import numba
import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.data.batches import as_row_indices
from xbackprop.nn.dropout import LEVELS
from xbackprop.training.step import Step, StepNumbers
from xbackprop_numba.blas import gemm_address
from xbackprop_numba.passes import OVERRIDES
from xbackprop_numba.places import Places
from xbackprop_numba.program import Kind, program_of, write_program
from xbackprop_numba.tracing import Untraceable
from xbackprop_numba.workers import team
from xbackprop_numpy import NumpyBackend, thread_limit

#: Multiply-adds of one call, about a second: Ctrl-C is heard between calls.
OPERATIONS_PER_CALL = 1e10
#: Activations of a step from which on `checkpoint_activations` forgets some, in the loop; the compiled epoch keeps all.
CHECKPOINTED = 2**22


#: Multiply-adds of a forward pass, and rows, from which on one more worker pays; and those of a call that pays for any.
OPERATIONS_PER_WORKER, ROWS_PER_WORKER, OPERATIONS_OF_A_TEAM = 3e5, 16, 2e7


def workers_for(n: int, n_weights: int, steps: int) -> int:
    """Return how many workers pay for steps of n rows, within the limit on threads."""
    of_a_step = n * n_weights
    if of_a_step * steps < OPERATIONS_OF_A_TEAM:
        return 1
    return max(1, min(thread_limit(), int(of_a_step / OPERATIONS_PER_WORKER), n // ROWS_PER_WORKER))


class _Memory(threading.local):
    """Flat arrays that a thread keeps from epoch to epoch, by name and dtype."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, Any], Array] = {}

    def array(self, name: str, size: int, dtype: Any) -> Array:
        kept = self.kept.get((name, dtype))
        if kept is None or kept.shape[0] < size:
            kept = self.kept[name, dtype] = np.empty(size, dtype)
        return kept[:size]


_memory = _Memory()


class NumbaBackend(NumpyBackend):
    """NumPy on the host, with compiled passes and epochs."""

    name = "numba"
    overrides: ClassVar = OVERRIDES

    @property
    def version(self) -> str:
        """The version of Numba."""
        return str(numba.__version__)

    def together(self, products: float) -> tuple[str, int]:  # noqa: ARG002
        """Return "threads", since a compiled epoch does not hold Python's lock."""
        return "threads", 1

    def compile(self, step: Any) -> Callable:
        """Return a function that takes all the steps in one call, without the interpreter's lock.

        A loop, as `NumpyBackend` has it, takes the steps that cannot be compiled; `why_not` tells which.
        """
        loop = super().compile(step)
        if why_not(step):
            return loop
        prepared = functools.cache(functools.partial(_Epoch, step))
        n_weights = step.objective.layout.n_weights

        def run(carry: Any, samples: Any, rows: Any, at: StepNumbers, workspace: Any = None) -> tuple[Any, list[Array]]:
            if carry[0].ndim > 1:  # a stack of networks, each of which has a core of its own where it may choose
                return loop(carry, samples, rows, at, workspace)
            n = rows.shape[1] if hasattr(rows, "shape") else samples[1][rows[0]].shape[0]
            if step.objective.checkpoint_every and n * sum(step.objective.layout.sizes) > CHECKPOINTED:
                return loop(carry, samples, rows, at, workspace)
            workers = workers_for(n, n_weights, len(rows))
            epoch = prepared(n, carry[0].dtype, 0 if samples[2] is None else samples[2].ndim, workers)
            return carry, epoch.run(carry, samples, rows, at, workspace)

        return run

    def not_compiled(self, step: Any) -> str:
        """Return the reason why a step is not compiled as a whole, or "" if it is."""
        return why_not(step)


def why_not(step: Step) -> str:
    """Return the reason why a step is not compiled as a whole, or "" if it is."""
    if find_spec("scipy") is None:
        return "Numba takes matrix products from SciPy, which is not installed: pip install scipy"
    try:
        for weighted in range(3):
            write_program(_kind(step, "float32", weighted))
    except Untraceable as error:
        return f"a function of the step cannot be traced: {error}"
    return ""


def _kind(step: Step, dtype: str, weighted: int) -> Kind:
    objective = step.objective
    return Kind(
        tuple(dict.fromkeys(objective.activations)), objective.loss, step.optimizer, bool(objective.l2),
        bool(objective.l1), bool(step.clip_norm), step.decays, any(step.dropout), step.averages, weighted, dtype,
    )  # fmt: skip


class _Epoch:
    """The compiled epoch of a step on batches of n rows, with all of its arguments that stay from epoch to epoch."""

    def __init__(self, step: Step, n: int, real: Any, weighted: int, workers: int) -> None:
        objective = step.objective
        kind = _kind(step, real.name, weighted)
        self.program, slots = program_of(kind)
        sizes = objective.layout.sizes
        self.per_call = max(1, int(OPERATIONS_PER_CALL / (3.0 * n * objective.layout.n_weights)))
        place = {activation: i for i, activation in enumerate(kind.activations)}
        kinds = np.array([place[activation] for activation in objective.activations])
        dropped = np.array([round(rate * LEVELS) for rate in step.dropout] or [0])
        at = Places.of(objective.layout, n, workers)
        self.blas = gemm_address(real)
        self.workers = workers
        _, constants = step.optimizer.step

        def lent(name: str, *shape: int, needed: bool = True, dtype: Any = real) -> Array:
            return _memory.array(name, math.prod(shape) * needed, dtype).reshape(shape if needed else -1)

        cells, n_y = at.h[-1], sizes[-1]
        self.fixed = (
            at, np.array(sizes), kinds, dropped, np.array(constants, np.float64), objective.l2, objective.l1,
            float(step.clip_norm or 0.0), lent("h", cells), lent("z", cells), lent("f", cells, needed=kind.drops),
            lent("masks", cells, needed=kind.drops), lent("words", at.words[-1], needed=kind.drops, dtype=np.uint32),
            lent("deltas", cells), lent("target", n * n_y),
            lent("share", n, n_y) if weighted == 2 else lent("share", n, needed=weighted == 1),
            lent("scratch", self.workers, slots, n_y), lent("parts", 2, at.part[-1], dtype=np.dtype(float)),
        )  # fmt: skip
        self.samples: Any = None
        self.read: tuple[Array, Array, Array] = (np.empty(0),) * 3
        self.no_weight = np.empty(0, real)

    def run(self, carry: Any, samples: Any, rows: Any, at: StepNumbers, workspace: Any = None) -> list[Array]:
        """Take the steps, in as many calls as Ctrl-C needs; θ and its moments are updated in place."""
        theta, moments = carry
        if samples is not self.samples:
            X, y, weight = samples
            given = (X, y, self.no_weight if weight is None else weight)
            X, y, weight = (_read_only(np.ascontiguousarray(a)) for a in given)
            self.samples, self.read = samples, (X, y, weight)
        X, y, weight = self.read
        rows = _read_only(as_row_indices(rows, y.shape[0]).astype(np.int64, copy=False))
        m = rows.shape[0]
        nothing = _zeros(m)
        columns = (nothing if column is None else column for column in at)
        rate, decay, t, seed, ema, *_ = (_read_only(np.asarray(column)) for column in columns)
        t = _read_only(t.astype(np.int64, copy=False))
        costs, gradient = np.empty(m), np.empty_like(theta) if workspace is None else workspace.gradient
        for first in range(0, m, self.per_call):
            part = slice(first, min(first + self.per_call, m))
            arguments = (
                self.blas, theta, tuple(moments), gradient, X, y, weight, rows[part], rate[part], decay[part],
                ema[part], t[part], int(seed[first]), *self.fixed, costs[part],
            )  # fmt: skip
            team.run(self.workers, functools.partial(self._work, arguments))
        return costs.tolist()

    def _work(self, arguments: tuple, worker: int, arrivals: Array) -> None:
        self.program.run_steps(worker, self.workers, arrivals, *arguments)


@functools.lru_cache(maxsize=64)
def _zeros(m: int) -> Array:
    return np.zeros(m)


def _read_only(x: Array) -> Array:
    """Return a view that cannot be written to: one type for all arrays that are only read."""
    view = x.view()
    view.flags.writeable = False
    return view
