"""C(θ): a network, its loss and its penalty, as a function of the parameters. What optimizers and checkers see."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xbackprop.arrays.backend import Array, Backend
from xbackprop.arrays.special import real_part
from xbackprop.nn.activations import IDENTITY, Activation
from xbackprop.nn.backprop import Buffers, Cache, backward, forward
from xbackprop.nn.losses import Loss
from xbackprop.nn.parameters import Layers, Layout, flatten, unflatten
from xbackprop.nn.penalty import add_l1_gradient, add_penalty_gradient, penalty
from xbackprop.nn.workspace import Workspace


class Batch(NamedTuple):
    """The samples a cost is averaged over: X (n, n_0), y (n, n_L), and the weight of each.

    total : n, or with sample weights Σw.
    inverse : 1/total; zero for a batch that weighs nothing, whose cost is then zero.
    share : each sample's part of the mean: 1/n, or the column (n, 1) of w_i / Σw.
    masks : of dropout, (n, n_l) for every hidden layer; empty where nothing is dropped.
    """

    X: Array
    y: Array
    total: Array | float
    inverse: Array | float
    share: Array | float
    masks: Sequence[Array] = ()


def make_batch(backend: Backend, X: Array, y: Array, weight: Array | None = None, masks: Sequence[Array] = ()) -> Batch:
    """A batch of all the rows of X and y, with weights (n,) or without."""
    if weight is None:
        n = X.shape[0]
        return Batch(X, y, n, 1.0 / n, 1.0 / n, masks)
    xp = backend.xp
    total = xp.sum(weight)
    inverse = xp.where(total > 0, 1.0 / xp.where(total > 0, total, xp.ones_like(total)), xp.zeros_like(total))
    return Batch(X, y, total, inverse, (weight * inverse)[:, None], masks)


@dataclass(frozen=True)
class Objective:
    """C(θ) = loss(network(X; θ), y) + α/n Σ_l [(1-ρ)/2 ‖W_l‖² + ρ Σ|W_l|], n the weight of the batch; biases go free.

    Parameters
    ----------
    backend, layout : where the arrays live, and how θ is cut into layers.
    hidden : one activation per hidden layer.
    loss : a row of `losses.LOSSES`.
    alpha, l1_ratio : α ≥ 0, the strength of the penalty, and ρ, the part of L1 in it (Zou and Hastie's elastic net).
    checkpoint_every : k, to keep only every k-th h_l for the backward pass, see `backprop.recompute`; 0 keeps all.
    """

    backend: Backend
    layout: Layout
    hidden: Sequence[Activation]
    loss: Loss
    alpha: float
    l1_ratio: float = 0.0
    checkpoint_every: int = 0

    @property
    def l1(self) -> float:
        """ρα."""
        return self.alpha * self.l1_ratio

    @property
    def l2(self) -> float:
        """(1-ρ)α."""
        return self.alpha * (1.0 - self.l1_ratio)

    @property
    def activations(self) -> list[Activation]:
        """One per layer; the last layer hands its logits to the loss."""
        return [*self.hidden, IDENTITY]

    def layers(self, theta: Array) -> list[tuple[Array, Array]]:
        """(W_l, b_l) of θ (..., P), or of a vector like it."""
        return self.backend.bind(unflatten)(theta, self.layout)

    def flatten(self, layers: Layers) -> Array:
        """θ (P,) of its layers."""
        return self.backend.bind(flatten)(layers, self.layout)

    def forward(self, theta: Array, X: Array, masks: Sequence[Array] = ()) -> Cache:
        """Every z_l and h_l of the network at θ (..., P)."""
        return forward(self.backend, self.layers(theta), self.activations, X, masks)

    def forward_and_delta(self, theta: Array, batch: Batch) -> tuple[Cache, Array]:
        """Every z_l and h_l, and δ_L."""
        cache = self.forward(theta, batch.X, batch.masks)
        return cache, self._loss(cache, batch)[1]

    def value(self, theta: Array, batch: Batch) -> Array:
        """C (...) at θ (..., P)."""
        return self.value_and_branches(theta, batch)[0]

    def value_and_branches(self, theta: Array, batch: Batch) -> tuple[Array, list[Array]]:
        """C (...) at θ (..., P), and on which side of every kink and joint the values are that have one.

        Where a derivative is taken from the left at its kink, as f′ is, that is one array, z > kink; where it is
        neither side's, as δ_L's and sign(W) are, it is two.
        """
        xp = self.backend.xp
        cache = self.forward(theta, batch.X, batch.masks)
        branches = [
            real_part(xp, z) > kink
            for z, f in zip(cache.z, self.activations, strict=True)
            for kink in (*f.kinks, *f.corners)
        ]
        for kink in (*self.loss.kinks, *self.loss.corners):
            residual = real_part(xp, cache.z[-1] - batch.y)
            branches += [residual > kink, residual < kink]
        if self.l1:
            w = real_part(xp, self.layout.weights(theta))
            branches += [w > 0, w < 0]
        return self._value(theta, cache, batch), branches

    def value_and_logits(self, theta: Array, batch: Batch) -> tuple[Array, Array]:
        """C and z_L (n, n_L) at θ (P,)."""
        cache = self.forward(theta, batch.X, batch.masks)
        return self._value(theta, cache, batch), cache.z[-1]

    def value_and_gradient(self, theta: Array, batch: Batch, workspace: Workspace | None = None) -> tuple[Array, Array]:
        """C and g = ∂C/∂θ (P,) at θ (P,). With a workspace, g is `workspace.gradient`."""
        if workspace and workspace.theta is theta:
            layers, w = workspace.layers, workspace.weights
        else:
            layers, w = self.layers(theta), self.layout.weights(theta)
        cost, gradients = self._loss_gradients(layers, batch, workspace.buffers if workspace else None)
        g = workspace.gradient if workspace else self.flatten(gradients)
        if not self.alpha:
            return cost, g
        g_w = workspace.gradient_weights if workspace else self.layout.weights(g)
        return cost + self._penalty(w, batch), self._replace_weights(g, self._add_penalty_gradient(g_w, w, batch))

    def layer_gradients(self, layers: Layers, batch: Batch) -> tuple[Array, list[tuple[Array, Array]]]:
        """C and (∂C/∂W_l, ∂C/∂b_l) for l = 1 … L, of layers that do not lie in one θ."""
        cost, gradients = self._loss_gradients(layers, batch)
        if not self.alpha:
            return cost, gradients
        for W, _ in layers:
            cost = cost + self._penalty(self.backend.xp.reshape(W, (-1,)), batch)
        return cost, [
            (self._add_penalty_gradient(gW, W, batch), gb) for (gW, gb), (W, _) in zip(gradients, layers, strict=True)
        ]

    def decay(self, theta: Array, rate: Array | float) -> Array:
        """w ← w - rate w for all weights; the biases stay. Loshchilov and Hutter, 2019."""
        w = self.layout.weights(theta)
        return self._replace_weights(theta, self.backend.bind(add_penalty_gradient)(w, w, -rate))

    def workspace(self, theta: Array, n: int) -> Workspace | None:
        """Memory for steps on batches of up to n rows, starting at this θ; None where a library cannot reuse it.

        The δ_l take turns in two arrays. Of the z_l each has its own; with checkpointing only those whose h_l is kept,
        while the others share the arrays of their places between two such.
        """
        if not self.backend.reuses_buffers:
            return None
        xp, sizes = self.backend.xp, self.layout.sizes[1:]
        gradient = xp.zeros_like(theta)
        L, k = len(sizes), self.checkpoint_every
        places = [("shared", l % k) if k and l % k else ("own", l) for l in range(1, L + 1)]
        z, deltas = self._rows(theta, n, sizes, places), self._rows(theta, n, sizes[:-1], [l % 2 for l in range(1, L)])
        buffers = Buffers(z, deltas, self.layers(gradient))
        weights, gradient_weights = self.layout.weights(theta), self.layout.weights(gradient)
        return Workspace(theta, self.layers(theta), gradient, weights, gradient_weights, buffers)

    def forward_buffers(self, theta: Array, n: int) -> Buffers | None:
        """Memory for forward passes of n rows; None where a library cannot reuse it."""
        sizes = self.layout.sizes[1:]
        return Buffers(self._rows(theta, n, sizes, range(len(sizes)))) if self.backend.reuses_buffers else None

    def _rows(self, theta: Array, n: int, sizes: Sequence[int], places: Sequence[Hashable]) -> list[Array]:
        """Arrays (n, size); those of the same place lie in the same memory."""
        xp = self.backend.xp
        widest: dict[Hashable, int] = {}
        for size, place in zip(sizes, places, strict=True):
            widest[place] = max(size, widest.get(place, 0))
        made = {
            place: xp.zeros(n * size, dtype=theta.dtype, device=self.backend.device) for place, size in widest.items()
        }
        return [xp.reshape(made[place][: n * size], (n, size)) for size, place in zip(sizes, places, strict=True)]

    def _loss(self, cache: Cache, batch: Batch) -> tuple[Array, Array]:
        return self.backend.bind(self.loss.value_and_delta)(cache.z[-1], batch.y, batch.share)

    def _value(self, theta: Array, cache: Cache, batch: Batch) -> Array:
        cost, _ = self._loss(cache, batch)
        return cost + self._penalty(self.layout.weights(theta), batch) if self.alpha else cost

    def _loss_gradients(
        self, layers: Layers, batch: Batch, buffers: Buffers | None = None
    ) -> tuple[Array, list[tuple[Array, Array]]]:
        """The loss and its gradient, without the penalty's part."""
        cache = forward(self.backend, layers, self.activations, batch.X, batch.masks, buffers, self.checkpoint_every)
        cost, delta = self._loss(cache, batch)
        return cost, backward(self.backend, layers, self.activations, cache, delta, buffers)

    def _penalty(self, w: Array, batch: Batch) -> Array:
        l1 = self.l1 * batch.inverse if self.l1 else None
        return self.backend.bind(penalty)(w, self.l2 * batch.inverse, l1)  # α/n as the gradient has it

    def _add_penalty_gradient(self, g: Array, w: Array, batch: Batch) -> Array:
        for add, strength in ((add_penalty_gradient, self.l2), (add_l1_gradient, self.l1)):
            if strength:
                g = self.backend.bind(add)(g, w, strength * batch.inverse)
        return g

    def _replace_weights(self, theta: Array, w: Array) -> Array:
        """θ, or a vector like it, with these weights, which lie in it already where buffers are reused."""
        if self.backend.reuses_buffers:
            return theta
        return self.backend.xp.concat([w, theta[..., self.layout.n_weights :]])
