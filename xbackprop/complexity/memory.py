"""The memory of a training step, found by going through the passes of `backprop` with sizes in place of arrays."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xbackprop.arrays.discovery import get_backend
from xbackprop.nn.activations import Activation
from xbackprop.nn.backprop import last_kept
from xbackprop.nn.objective import Objective
from xbackprop.optim.optimizers import Optimizer

SMALL, LARGE = 2**14, 2**18  # elements of the arrays on which a function is measured


class StepMemory:
    """The array elements held at each moment of a step.

    objective, optimizer : of the step. m : rows of the batch. dropout : whether there are masks.
    """

    def __init__(self, objective: Objective, optimizer: Optimizer, m: int, dtype: str, dropout: bool) -> None:
        self.objective, self.optimizer, self.m, self.dtype, self.dropout = objective, optimizer, m, dtype, dropout
        self.reuses = objective.backend.reuses_buffers
        self.host = get_backend("numpy") if self.reuses else get_backend("numpy").generic()
        self.sizes, self.L = objective.layout.sizes, len(objective.layout.sizes) - 1
        self.k = objective.checkpoint_every
        self.top = last_kept(self.L, self.k)
        self.measured: dict[Any, tuple[float, float]] = {}

    def memory(self) -> tuple[float, float, float, float, float]:
        """Count parameters, gradients, optimizer state, activations and temporaries at the moment when they are most.

        `training.train` keeps the θ from before the epoch: a copy where steps write into θ; where arrays are made anew,
        θ itself, and the moments stay as well.
        """
        P, m = self.objective.layout.n_parameters, self.m
        fixed = self._buffers() + m * (self.sizes[0] + self.sizes[-1])  # X and y of the batch
        activations, most = 0.0, 0.0
        for kept, others in self._peaks():
            activations, most = max(activations, kept), max(most, kept + others)
        activations += self._buffers(deltas=False) + m * self.sizes[0]
        state = P * self.optimizer.n_moments
        before = 0 if self.reuses else state
        return (2 if self.reuses else 1) * P, P, state + before, activations, fixed + most - activations

    def _peaks(self) -> Iterator[tuple[float, float]]:
        """Yield the elements that the passes keep, and all others, at each moment that may be the largest."""
        m, sizes, L = self.m, self.sizes, self.L
        kept = [0.0] * (L + 1)  # of each layer, beside the buffers
        for l in range(1, L + 1):  # as `backprop.forward`
            kept[l] = self._layer(l)
            yield sum(kept), self._f(l)[0] * m * sizes[l] - self._f(l)[1] * m * sizes[l]
            if l <= self.top:
                kept[l - 1] = self._edge(l - 1) if (l - 1) % self.k == 0 else 0.0
                kept[l] = self._edge(l)
        at_work, delta = self._measure(self.objective.loss.value_and_delta, 2, sizes[L], 1.0 / m)
        yield sum(kept), at_work * m * sizes[L]
        delta_before = delta * m * sizes[L]
        gradients = 0.0
        for l in reversed(range(1, L)):  # as `backprop.deltas`
            gradients += 0 if self.reuses else sizes[l] * sizes[l + 1] + sizes[l + 1]
            if self.k and l <= self.top and l % self.k == 0:
                kept[l + 1 :] = [0.0] * (L - l)
                for j in range(l - self.k + 1, l + 1):
                    kept[j] = self._layer(j)
                    yield sum(kept), delta_before + gradients
            at_work, slope = self._df(l)
            yield sum(kept), delta_before + gradients + at_work * m * sizes[l]
            delta_after = 0.0 if self.reuses else m * sizes[l]
            yield sum(kept), delta_before + gradients + (slope * m * sizes[l]) + 2 * delta_after
            delta_before = delta_after
        P, n_weights = self.objective.layout.n_parameters, self.objective.layout.n_weights
        if not self.reuses:
            yield sum(kept), P + delta_before  # the joined gradient, beside its parts, which count as the gradient
            step, constants = self.optimizer.step
            yield 0.0, P * self._measure(step, 2 + self.optimizer.n_moments, P, 0.1, *constants)[0]
            if self.objective.alpha:
                yield sum(kept), 2 * P + n_weights

    def _buffers(self, deltas: bool = True) -> float:
        """Count the elements of the workspace beside θ and g: see `workspace.make_workspace`."""
        if not self.reuses:
            return 0.0
        hidden = self.sizes[1:-1]
        places: dict[int, int] = {}
        for l, size in enumerate(self.sizes[1:], 1):
            place = l % self.k if self.k and l % self.k else -l
            places[place] = max(size, places.get(place, 0))
        rows = sum(places.values())
        if deltas:
            rows += max(hidden[::2], default=0) + max(hidden[1::2], default=0)
        return self.m * rows

    def _layer(self, l: int) -> float:
        """Count what a layer keeps beside the buffers: z, f(z), the mask, and their product, if they are new arrays."""
        masked = 2 * (self.dropout and l < self.L)
        return self.m * self.sizes[l] * ((not self.reuses) + self._f(l)[1] + masked)

    def _edge(self, l: int) -> float:
        """Count the elements of h_l."""
        if l == 0:
            return 0.0
        return self.m * self.sizes[l] * (1.0 if self.dropout else max(self._f(l)[1], float(not self.reuses)))

    def _f(self, l: int) -> tuple[float, float]:
        """Measure what f holds while it runs, and what it returns, in arrays of its layer."""
        f = self.objective.activations[l - 1]
        in_place = self.reuses and f.in_place
        return self._measure(f.f, 1, self.sizes[l], in_place=in_place)

    def _df(self, l: int) -> tuple[float, float]:
        """Measure the same for f′, times the mask with dropout."""
        f: Activation = self.objective.activations[l - 1]
        at_work, left = self._measure(f.df, 2, self.sizes[l])
        return (max(at_work, left + 1.0) if self.dropout else at_work), left

    def _measure(
        self, function: Callable, n_arrays: int, width: int, *constants: float, in_place: bool = False
    ) -> tuple[float, float]:
        """Measure on NumPy what a function holds at most, and what its results take, in arrays like its first.

        NumPy saves temporaries of large arrays, which others do not: where buffers are not reused, and so perhaps
        another library is meant, the arrays are small.
        """
        key = (function, width, in_place)
        if key not in self.measured:
            width = min(width, LARGE if self.reuses else SMALL)
            rows = max(SMALL // width, min(self.m, LARGE // width) if self.reuses else 1)
            arrays = [np.full((rows, width), 0.5, self.dtype) for _ in range(n_arrays)]
            self.measured[key] = measure(self.host.bind(function), *arrays, *arrays[: int(in_place)], *constants)
        return self.measured[key]


def measure(function: Callable, *arguments: Any) -> tuple[float, float]:
    """Measure what ``function(*arguments)`` allocates at most, and what its results keep, in arrays like the first."""
    unit = arguments[0].nbytes
    function(*arguments)  # what it makes once, and keeps
    ours = not tracemalloc.is_tracing()
    if ours:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        results = function(*arguments)
        after, most = tracemalloc.get_traced_memory()
    finally:
        if ours:
            tracemalloc.stop()
    del results
    return max(0.0, (most - before) / unit), max(0.0, (after - before) / unit)
