"""Memory that steps of training write over."""

from __future__ import annotations

from typing import NamedTuple

from xbackprop.arrays.backend import Array
from xbackprop.nn.backprop import Buffers


class Workspace(NamedTuple):
    """Memory that a trainer lends to `Objective.value_and_gradient`, to be written over at every step.

    theta, layers : the trainer's θ and views of it, which need not be cut anew as long as θ is updated in place.
    gradient : g (P,), the array in which the gradient comes back.
    weights, gradient_weights : views of those parts of θ and g that are weights.
    buffers : for the passes; `gradients` there are views of `gradient`.
    """

    theta: Array
    layers: list[tuple[Array, Array]]
    gradient: Array
    weights: Array
    gradient_weights: Array
    buffers: Buffers

    def rows(self, n: int) -> Workspace:
        """The same memory, for a batch of n rows, no more than it was made for."""
        z, delta, gradients = self.buffers
        if z[0].shape[0] == n:
            return self
        return self._replace(buffers=Buffers([a[:n] for a in z], [a[:n] for a in delta], gradients))
