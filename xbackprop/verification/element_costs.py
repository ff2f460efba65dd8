"""Compute C(θ + h e_p) for one element p of θ at a time, from the layers above it only.

Moving W_l[i, j] by h adds h h_{l-1}[:, i] to column j of z_l, and moving b_l[j] adds h. The layers below do not change;
in layer l + 1

    z_{l+1} + (h_l′ - h_l)[:, j] W_{l+1}[j, :] ,

where h_l′ is the moved h_l, and whole products are needed only above that. A network of two layers takes some hundred
times less work than with passes through stacks of θ. It needs activations that work element by element, as xbackprop's
own do.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.arrays.special import real_part
from xbackprop.nn.activations import Activation
from xbackprop.nn.backprop import Cache
from xbackprop.nn.objective import Batch, Objective
from xbackprop.nn.penalty import penalty


class _Base(NamedTuple):
    """The layers and the forward pass of the network at θ itself, in real or in complex numbers."""

    theta: Array
    batch: Batch
    layers: list[tuple[Array, Array]]
    cache: Cache


class ElementCosts:
    """C(θ + h e_p) of a network, and whether some unit is then on another side of a kink than at θ.

    objective : C, on a backend that overrides nothing. theta : (P,). batch, complex_batch : the same samples, the
    second in complex numbers.
    """

    def __init__(self, objective: Objective, theta: Array, batch: Batch, complex_batch: Batch) -> None:
        self.objective, self.theta, self.batch, self.complex_batch = objective, theta, batch, complex_batch
        above = objective.layout.sizes[min(2, len(objective.layout.shapes)) :]
        #: The numbers that are stored for one element.
        self.floats_per_element = batch.X.shape[0] * (6 + 8 * sum(above))

    @cached_property
    def _real(self) -> _Base:
        return self._base(self.theta, self.batch)

    @cached_property
    def _complex(self) -> _Base:
        xp = self.objective.backend.xp
        return self._base(xp.astype(self.theta, xp.complex128), self.complex_batch)

    def _base(self, theta: Array, batch: Batch) -> _Base:
        cache = self.objective.forward(theta, batch.X, batch.masks)
        return _Base(theta, batch, self.objective.layers(theta), cache)

    def __call__(self, elements: np.ndarray, h: complex) -> tuple[np.ndarray, np.ndarray]:
        """Return costs (k,) and crossings (k,) for elements (k,) of θ, on the host; h is a float, or complex."""
        base = self._complex if isinstance(h, complex) else self._real
        costs, crossed = np.empty(len(elements), dtype=type(h)), np.empty(len(elements), dtype=bool)
        to_host = self.objective.backend.to_host
        for l, ranges in enumerate(self.objective.layout.slices(), 1):
            for where, is_weight in zip(ranges, (True, False), strict=True):
                mine = np.flatnonzero((elements >= where.start) & (elements < where.stop))
                if len(mine):
                    i, j = np.divmod(elements[mine] - where.start, self.objective.layout.sizes[l])
                    found = self._move(base, l, elements[mine], i if is_weight else None, j, h)
                    costs[mine], crossed[mine] = map(to_host, found)
        return costs, crossed

    def _move(
        self, base: _Base, l: int, elements: np.ndarray, i: np.ndarray | None, j: np.ndarray, h: complex
    ) -> tuple[Array, Array]:
        """Return costs and crossings for elements [i, j] of W_l, or j of b_l."""
        xp, (theta, batch, layers, cache) = self.objective.backend.xp, base
        activations, L = self.objective.activations, len(layers)
        old = self._take(theta, elements, 0)
        step = (old + h) - old  # as rounding leaves it
        column = self._columns(cache.z[l - 1], j)
        change = step[:, None] if i is None else step[:, None] * self._columns(cache.h[l - 1], i)
        z = column + change
        crossed = self._crosses(activations[l - 1], z, column)
        if l < L:
            f = activations[l - 1].f(xp, z)
            moved = f * self._columns(batch.masks[l - 1], j) if l <= len(batch.masks) else f
            change = moved - self._columns(cache.h[l], j)
            z = cache.z[l] + change[:, :, None] * self._take(layers[l][0], j, 0)[:, None, :]
            l += 1
        else:
            chosen = xp.asarray(np.arange(self.objective.layout.sizes[L]) == j[:, None, None], device=z.device)
            z = xp.where(chosen, z[:, :, None], cache.z[L - 1])
        for m in range(l, L):  # z is z_m (k, n, n_m)
            crossed = crossed | self._crosses(activations[m - 1], z, cache.z[m - 1])
            f = activations[m - 1].f(xp, z)
            z = (f * batch.masks[m - 1] if m <= len(batch.masks) else f) @ layers[m][0] + layers[m][1]
        weights = None if i is None else (old, old + h)
        return self._cost(base, z, weights), crossed | self._crosses_in_cost(base, z, weights)

    def _cost(self, base: _Base, z: Array, weights: tuple[Array, Array] | None) -> Array:
        """Return C (k,) of logits z (k, n, n_L); the penalty needs the moved `weights` (k,), before and after."""
        objective, xp, batch = self.objective, self.objective.backend.xp, base.batch
        cost, _ = objective.loss.value_and_delta(xp, z, batch.y, batch.share)
        if not objective.alpha:
            return cost
        rates = objective.l2 * batch.inverse, objective.l1 * batch.inverse if objective.l1 else None
        cost = cost + penalty(xp, base.theta[: objective.layout.n_weights], *rates)
        if weights is not None:
            before, after = (penalty(xp, w[:, None], *rates) for w in weights)
            cost = cost + (after - before)
        return cost

    def _crosses(self, activation: Activation, z: Array, there: Array) -> Array:
        """Return whether some z (k, ...) is on another side of a kink than `there`."""
        xp = self.objective.backend.xp
        crossed = xp.zeros((z.shape[0],), dtype=xp.bool, device=z.device)
        for kink in (*activation.kinks, *activation.corners):
            crossed = crossed | self._differ(real_part(xp, z) > kink, real_part(xp, there) > kink)
        return crossed

    def _crosses_in_cost(self, base: _Base, z: Array, weights: tuple[Array, Array] | None) -> Array:
        """Return whether a kink of the loss is crossed, or a weight under an L1 penalty changes its sign."""
        objective, xp = self.objective, self.objective.backend.xp
        crossed = xp.zeros((z.shape[0],), dtype=xp.bool, device=z.device)
        residual, there = (real_part(xp, logits - base.batch.y) for logits in (z, base.cache.z[-1]))
        for kink in (*objective.loss.kinks, *objective.loss.corners):
            crossed = crossed | self._differ(residual > kink, there > kink)
            crossed = crossed | self._differ(residual < kink, there < kink)
        if objective.l1 and weights is not None:
            before, after = (xp.sign(real_part(xp, w)) for w in weights)
            crossed = crossed | (before != after)
        return crossed

    def _differ(self, here: Array, there: Array) -> Array:
        return self.objective.backend.xp.any(here != there, axis=tuple(range(1, here.ndim)))

    def _take(self, x: Array, indices: np.ndarray, axis: int) -> Array:
        xp = self.objective.backend.xp
        return xp.take(x, xp.asarray(indices, device=x.device), axis=axis)

    def _columns(self, x: Array, indices: np.ndarray) -> Array:
        """Return columns of x (n, m) as rows (k, n)."""
        return self._take(self.objective.backend.xp.matrix_transpose(x), indices, 0)
