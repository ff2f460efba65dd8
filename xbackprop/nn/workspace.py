"""Memory that training steps and predictions overwrite, so that large arrays are not allocated anew in every step."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from xbackprop.arrays.backend import Array, Backend
from xbackprop.nn.backprop import Buffers
from xbackprop.nn.parameters import Layout, unflatten


class Workspace(NamedTuple):
    """Arrays that `Objective.value_and_gradient` overwrites in every step of training.

    theta, layers : the θ that training updates in place, and views of its W_l and b_l, made once.
    gradient : g (P,), the array in which the gradient comes back.
    weights, gradient_weights : views of the weights' part of θ and of g.
    buffers : arrays for the passes; `buffers.gradients` are views of `gradient`.
    """

    theta: Array
    layers: list[tuple[Array, Array]]
    gradient: Array
    weights: Array
    gradient_weights: Array
    buffers: Buffers

    def rows(self, n: int) -> Workspace:
        """Return the same memory for a batch of n rows, at most as many as it was made for."""
        z, delta, gradients = self.buffers
        if z[0].shape[-2] == n:
            return self
        return self._replace(buffers=Buffers([a[..., :n, :] for a in z], [a[..., :n, :] for a in delta], gradients))


def make_workspace(
    backend: Backend, layout: Layout, theta: Array, n: int, checkpoint_every: int = 0
) -> Workspace | None:
    """Allocate memory for steps from this θ on batches of up to n rows; None if the backend reuses no buffers.

    The δ_l take turns in two arrays. Each z_l has an array of its own; with checkpointing only those have one whose h_l
    is kept, and the others share arrays with the layers of the same place between two kept ones.
    """
    if not backend.reuses_buffers:
        return None
    sizes, gradient = layout.sizes[1:], backend.xp.zeros_like(theta)
    L, k = len(sizes), checkpoint_every
    places = [("shared", l % k) if k and l % k else ("own", l) for l in range(1, L + 1)]
    z = _rows(backend, theta, n, sizes, places)
    deltas = _rows(backend, theta, n, sizes[:-1], [l % 2 for l in range(1, L)])
    layers, gradients = (backend.bind(unflatten)(a, layout) for a in (theta, gradient))
    weights, gradient_weights = layout.weights(theta), layout.weights(gradient)
    return Workspace(theta, layers, gradient, weights, gradient_weights, Buffers(z, deltas, gradients))


def make_forward_buffers(backend: Backend, layout: Layout, theta: Array, n: int) -> Buffers | None:
    """Allocate memory for forward passes of n rows; None if the backend reuses no buffers."""
    sizes = layout.sizes[1:]
    return Buffers(_rows(backend, theta, n, sizes, range(len(sizes)))) if backend.reuses_buffers else None


def _rows(backend: Backend, theta: Array, n: int, sizes: Sequence[int], places: Sequence[Hashable]) -> list[Array]:
    """Allocate an array (..., n, size) for each size, in one piece of memory for those of the same place.

    θ (..., P) says what stands in front.
    """
    xp, lead = backend.xp, theta.shape[:-1]
    n_rows = n * math.prod(lead)
    widest: dict[Hashable, int] = {}
    for size, place in zip(sizes, places, strict=True):
        widest[place] = max(size, widest.get(place, 0))
    made = {place: xp.zeros(n_rows * size, dtype=theta.dtype, device=backend.device) for place, size in widest.items()}
    return [
        xp.reshape(made[place][: n_rows * size], (*lead, n, size)) for size, place in zip(sizes, places, strict=True)
    ]
