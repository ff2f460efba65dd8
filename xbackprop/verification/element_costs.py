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

from xbackprop.arrays.backend import Array, Namespace
from xbackprop.arrays.special import real_part
from xbackprop.nn.activations import Activation
from xbackprop.nn.objective import Batch, Objective
from xbackprop.nn.penalty import penalty


class _Point(NamedTuple):
    """θ, the targets and weights of the samples, and the penalty at θ; in real or in complex numbers."""

    theta: Array
    batch: Batch
    penalty: Array | float


class _Above(NamedTuple):
    """The part of the network, at θ itself, that an element of W_l or b_l changes.

    z : z_l … z_L. h : h_{l-1} … h_L. layers : (W, b) of l + 1 … L. masks : those of h_l … h_{L-1}, or none.
    """

    z: list[Array]
    h: list[Array]
    layers: list[tuple[Array, Array]]
    masks: list[Array]


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
    def _real(self) -> tuple[_Point, list[_Above]]:
        return self._at_theta(self.theta, self.batch)

    @cached_property
    def _complex(self) -> tuple[_Point, list[_Above]]:
        xp = self.objective.backend.xp
        return self._at_theta(xp.astype(self.theta, xp.complex128), self.complex_batch)

    def _at_theta(self, theta: Array, batch: Batch) -> tuple[_Point, list[_Above]]:
        objective, xp = self.objective, self.objective.backend.xp
        layers, cache = objective.layers(theta), objective.forward(theta, batch.X, batch.masks)
        cost = penalty(xp, objective.layout.weights(theta), *_rates(objective, batch)) if objective.alpha else 0.0
        return _Point(theta, batch._replace(X=None, masks=()), cost), [
            _Above(cache.z[l:], cache.h[l:], layers[l + 1 :], list(batch.masks)[l:]) for l in range(len(layers))
        ]

    def __call__(self, elements: np.ndarray, h: complex) -> tuple[np.ndarray, np.ndarray]:
        """Return costs (k,) and crossings (k,) for elements (k,) of θ, on the host; h is a float, or complex."""
        point, layers = self._complex if isinstance(h, complex) else self._real
        costs, crossed = np.empty(len(elements), dtype=type(h)), np.empty(len(elements), dtype=bool)
        backend, layout = self.objective.backend, self.objective.layout
        for ranges, above, n in zip(layout.slices(), layers, layout.sizes[1:], strict=True):
            for where, is_weight in zip(ranges, (True, False), strict=True):
                mine = np.flatnonzero((elements >= where.start) & (elements < where.stop))
                if len(mine):
                    numbers = elements[mine], *np.divmod(elements[mine] - where.start, n)
                    p, i, j = (backend.xp.asarray(a, device=backend.device) for a in numbers)
                    found = backend.bind(_move)(self.objective, point, above, p, i if is_weight else None, j, h)
                    costs[mine], crossed[mine] = map(backend.to_host, found)
        return costs, crossed


def _move(
    xp: Namespace,
    objective: Objective,
    point: _Point,
    above: _Above,
    elements: Array,
    i: Array | None,
    j: Array,
    h: complex,
) -> tuple[Array, Array]:
    """Return costs and crossings (k,) for elements [i, j] of W_l, or j of b_l where i is None."""
    old = xp.take(point.theta, elements)
    step = (old + h) - old  # as rounding leaves it
    activations, depth = objective.activations[-len(above.z) :], len(above.layers)
    column = _columns(xp, above.z[0], j)
    change = step[:, None] if i is None else step[:, None] * _columns(xp, above.h[0], i)
    z = column + change
    differences = _sides_differ(xp, activations[0], z, column)
    if depth:
        f = activations[0].f(xp, z)
        change = (f * _columns(xp, above.masks[0], j) if above.masks else f) - _columns(xp, above.h[1], j)
        z = above.z[1] + change[:, :, None] * xp.take(above.layers[0][0], j, axis=0)[:, None, :]
    else:
        chosen = xp.arange(above.z[0].shape[1], device=objective.backend.device) == j[:, None, None]
        z = xp.where(chosen, z[:, :, None], above.z[0])
    for m in range(1, depth):  # z is z_{l+m} (k, n, n_{l+m})
        differences += _sides_differ(xp, activations[m], z, above.z[m])
        f, (W, b) = activations[m].f(xp, z), above.layers[m]
        z = (f * above.masks[m] if above.masks else f) @ W + b
    weights = None if i is None else (old, old + h)
    differences += _sides_differ_in_cost(xp, objective, z, above.z[-1], point.batch.y, weights)
    crossed = xp.zeros(old.shape, dtype=xp.bool, device=objective.backend.device)
    for differ in differences:
        crossed = crossed | xp.any(differ, axis=tuple(range(1, differ.ndim)))
    return _cost(xp, objective, point, z, weights), crossed


def _rates(objective: Objective, batch: Batch) -> tuple[Array | float, Array | float | None]:
    return objective.l2 * batch.inverse, objective.l1 * batch.inverse if objective.l1 else None


def _cost(xp: Namespace, objective: Objective, point: _Point, z: Array, weights: tuple[Array, Array] | None) -> Array:
    """Return C (k,) of logits z (k, n, n_L); the penalty needs the moved `weights` (k,), before and after."""
    batch = point.batch
    cost, _ = objective.loss.value_and_delta(xp, z, batch.y, batch.share)
    if not objective.alpha:
        return cost
    cost = cost + point.penalty
    if weights is not None:
        before, after = (penalty(xp, w[:, None], *_rates(objective, batch)) for w in weights)
        cost = cost + (after - before)
    return cost


def _sides_differ(xp: Namespace, activation: Activation, z: Array, there: Array) -> list[Array]:
    """Return, for every kink, where z (k, ...) is on another side of it than `there`."""
    here, there = real_part(xp, z), real_part(xp, there)
    return [(here > kink) != (there > kink) for kink in (*activation.kinks, *activation.corners)]


def _sides_differ_in_cost(
    xp: Namespace, objective: Objective, z: Array, there: Array, y: Array, weights: tuple[Array, Array] | None
) -> list[Array]:
    """Return where a kink of the loss is crossed, and where a weight under an L1 penalty changes its sign."""
    here, there = (real_part(xp, logits - y) for logits in (z, there))
    differences = []
    for kink in (*objective.loss.kinks, *objective.loss.corners):
        differences += [(here > kink) != (there > kink), (here < kink) != (there < kink)]
    if objective.l1 and weights is not None:
        old, new = (xp.sign(real_part(xp, w)) for w in weights)
        differences.append(old != new)
    return differences


def _columns(xp: Namespace, x: Array, indices: Array) -> Array:
    """Return columns of x (n, m) as rows (k, n)."""
    return xp.take(xp.matrix_transpose(x), indices, axis=0)
