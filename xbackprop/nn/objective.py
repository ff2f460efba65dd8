"""The cost C(θ) of a network on a batch, loss and penalty together: the function that training minimises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from xbackprop.arrays.backend import Array, Backend, Namespace
from xbackprop.arrays.special import real_part
from xbackprop.nn.activations import IDENTITY, Activation
from xbackprop.nn.backprop import Buffers, Cache, backward, forward
from xbackprop.nn.losses import Loss
from xbackprop.nn.parameters import Layers, Layout, flatten, per_network, unflatten
from xbackprop.nn.penalty import add_l1_gradient, add_penalty_gradient, penalty
from xbackprop.nn.workspace import Workspace, make_forward_buffers, make_workspace


class Batch(NamedTuple):
    """The samples that a cost is averaged over: X (n, n_0), y (n, n_L), and their weights.

    A stack of k networks has k batches: X (k, n, n_0), y (k, n, n_L), and k numbers or columns of all the rest.

    total : n, or with sample weights Σw.
    inverse : 1/total, or 0 for a batch whose weights are all zero, so that its cost is 0 and not NaN.
    share : each sample's part of the mean, 1/n, or the column (n, 1) of w_i / Σw; where targets are missing, (n, n_L),
        each output's own parts, 0 for what is missing.
    masks : dropout masks (n, n_l), one per hidden layer; empty without dropout.
    penalty : for a stack of networks of different penalties, (1-ρ)α and ρα of each, (k,) and (k,); else None.
    """

    X: Array
    y: Array
    total: Array | float
    inverse: Array | float
    share: Array | float
    masks: Sequence[Array] = ()
    penalty: tuple[Array, Array] | None = None

    def part(self, start: int, stop: int) -> Batch:
        """Return some of the rows, without masks, each with its part of the mean of them all."""
        share = self.share if isinstance(self.share, float) else self.share[..., start:stop, :]
        return self._replace(X=self.X[..., start:stop, :], y=self.y[..., start:stop, :], share=share, masks=())


def make_batch(
    backend: Backend, X: Array, y: Array, weight: Array | None = None, masks: Sequence[Array] = (), whole: Any = None
) -> Batch:
    """Make a batch of all the rows of X and y; weight (..., n) of the rows, (..., n, n_L) of the targets, or None.

    Weights of the targets are 0 where one is missing: the loss of each output is divided by the weight of the targets
    that it has, and the penalty by that of the rows that have any.

    whole : where the rows are a part of a batch, n of the whole one; with weights its `row_totals`, an array.
    """
    if weight is None:
        n = X.shape[-2] if whole is None else whole
        return Batch(X, y, n, 1.0 / n, 1.0 / n, masks)
    xp = backend.xp
    of_targets = weight.ndim == y.ndim
    totals = row_totals(xp, weight, of_targets) if whole is None else whole
    total = totals[..., 0]
    inverse = inverse_of(xp, total)
    share = weight * inverse_of(xp, totals[..., None, 1:]) if of_targets else (weight * inverse[..., None])[..., None]
    return Batch(X, y, total, inverse, share, masks)


def row_totals(xp: Namespace, weight: Array, of_targets: bool) -> Array:
    """Return the weight of all the rows (..., 1) and, if the weights are of targets, that of each output behind it."""
    if not of_targets:
        return xp.sum(weight, axis=-1, keepdims=True)
    rows = xp.sum(xp.max(weight, axis=-1), axis=-1, keepdims=True)
    return xp.concat([rows, xp.sum(weight, axis=-2)], axis=-1)


def inverse_of(xp: Namespace, total: Array) -> Array:
    """Return 1/total, 0 where it is 0."""
    return xp.where(total > 0, 1.0 / xp.where(total > 0, total, xp.ones_like(total)), xp.zeros_like(total))


@dataclass(frozen=True)
class Objective:
    """C(θ) = loss(network(X; θ), y) + α/n Σ_l [(1-ρ)/2 ‖W_l‖² + ρ Σ|W_l|], n the weight of the batch; biases go free.

    Parameters
    ----------
    backend : the library and device of all arrays.
    layout : the place of each W_l and b_l in θ.
    hidden : the activations of the hidden layers, one per layer.
    loss : a `Loss`, such as a row of `losses.LOSSES`.
    alpha, l1_ratio : α ≥ 0, the strength of the penalty, and ρ in [0, 1], the part of L1 in it (the elastic net of Zou
        and Hastie, 2005).
    checkpoint_every : k, to keep only every k-th h_l for the backward pass (`backprop.recompute`), or 0 to keep all.
    """

    backend: Backend
    layout: Layout
    hidden: tuple[Activation, ...]
    loss: Loss
    alpha: float
    l1_ratio: float = 0.0
    checkpoint_every: int = 0

    @property
    def l1(self) -> float:
        """Strength of the L1 part, ρα."""
        return self.alpha * self.l1_ratio

    @property
    def l2(self) -> float:
        """Strength of the L2 part, (1-ρ)α."""
        return self.alpha * (1.0 - self.l1_ratio)

    @property
    def activations(self) -> list[Activation]:
        """The activations of all layers: hidden ones, then the identity, since the loss takes logits."""
        return [*self.hidden, IDENTITY]

    def layers(self, theta: Array) -> list[tuple[Array, Array]]:
        """Split θ (..., P), or a vector like it, into (W_l, b_l), l = 1 … L."""
        return self.backend.bind(unflatten)(theta, self.layout)

    def flatten(self, layers: Layers) -> Array:
        """Join layers into θ (..., P)."""
        return self.backend.bind(flatten)(layers, self.layout)

    def forward(self, theta: Array, X: Array, masks: Sequence[Array] = ()) -> Cache:
        """Run the forward pass at θ (..., P) and return every z_l and h_l."""
        return forward(self.backend, self.layers(theta), self.activations, X, masks)

    def forward_and_delta(self, theta: Array, batch: Batch) -> tuple[Cache, Array]:
        """Run the forward pass at θ (..., P) and return every z_l and h_l, and δ_L = ∂C/∂z_L."""
        cache = self.forward(theta, batch.X, batch.masks)
        return cache, self._loss(cache, batch)[1]

    def value(self, theta: Array, batch: Batch) -> Array:
        """Compute C (...) at θ (..., P)."""
        return self.value_and_branches(theta, batch)[0]

    def value_and_branches(self, theta: Array, batch: Batch) -> tuple[Array, list[Array]]:
        """Compute C (...) at θ (..., P), and on which side of each kink and corner every unit, output and weight lies.

        Gradient checks compare the sides at two θ, to difference across no kink. An activation's f′ is taken from the
        left at a kink, so one boolean array, z > kink, tells the side; δ_L and sign(W) belong to neither side at
        theirs, so there are two arrays, > and <.
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

    def value_and_logits(self, theta: Array, batch: Batch, rows: int) -> tuple[Array, Array]:
        """Compute C (...) and the logits z_L (..., n, n_L) at θ (..., P), of a batch without masks.

        rows : the most rows of a forward pass, whose activations are in memory at the same time.
        """
        n, costs, logits = batch.X.shape[-2], [], []
        for start in range(0, n, rows):
            part = batch.part(start, min(start + rows, n)) if n > rows else batch
            cache = self.forward(theta, part.X)
            costs.append(self._loss(cache, part)[0])
            logits.append(cache.z[-1])
        cost = sum(costs[1:], costs[0])
        cost = cost + self.penalty(theta, batch) if self.alpha else cost
        return cost, self.backend.xp.concat(logits, axis=-2) if len(logits) > 1 else logits[0]

    def value_and_gradient(self, theta: Array, batch: Batch, workspace: Workspace | None = None) -> tuple[Array, Array]:
        """Compute C (...) and g = ∂C/∂θ (..., P) at θ (..., P).

        workspace : memory from `workspace`, which the passes overwrite instead of allocating; g is then
            `workspace.gradient`, valid until the next call.
        """
        cost, g = self.loss_and_gradient(theta, batch, workspace)
        return self.with_penalty(cost, g, theta, batch, workspace)

    def loss_and_gradient(self, theta: Array, batch: Batch, workspace: Workspace | None = None) -> tuple[Array, Array]:
        """Compute the loss (...) and its gradient (..., P), as `value_and_gradient` does, without the penalty."""
        layers = workspace.layers if workspace and workspace.theta is theta else self.layers(theta)
        cost, gradients = self.loss_gradients(layers, batch, workspace.buffers if workspace else None)
        return cost, workspace.gradient if workspace else self.flatten(gradients)

    def with_penalty(
        self, cost: Array, g: Array, theta: Array, batch: Batch, workspace: Workspace | None = None
    ) -> tuple[Array, Array]:
        """Add the penalty to a loss, and its gradient to that of the loss, which lies in the workspace, if any."""
        if not self.alpha:
            return cost, g
        w = workspace.weights if workspace and workspace.theta is theta else self.layout.weights(theta)
        g_w = workspace.gradient_weights if workspace else self.layout.weights(g)
        return cost + self._penalty(w, batch), self._replace_weights(g, self._add_penalty_gradient(g_w, w, batch))

    def layer_gradients(self, layers: Layers, batch: Batch) -> tuple[Array, list[tuple[Array, Array]]]:
        """Compute C and (∂C/∂W_l, ∂C/∂b_l), l = 1 … L, at layers that are arrays of their own and no views of one θ."""
        cost, gradients = self.loss_gradients(layers, batch)
        return self.with_layer_penalty(cost, gradients, layers, batch)

    def with_layer_penalty(
        self, cost: Array, gradients: Layers, layers: Layers, batch: Batch
    ) -> tuple[Array, list[tuple[Array, Array]]]:
        """Add the penalty and its gradient to those of the loss at these layers."""
        if not self.alpha:
            return cost, list(gradients)
        for W, _ in layers:
            cost = cost + self._penalty(self.backend.xp.reshape(W, (-1,)), batch)
        return cost, [
            (self._add_penalty_gradient(gW, W, batch), gb) for (gW, gb), (W, _) in zip(gradients, layers, strict=True)
        ]

    def decay(self, theta: Array, rate: Array | float) -> Array:
        """Return θ with w ← w - rate w for all weights and the biases as they are. Loshchilov and Hutter, 2019."""
        w = self.layout.weights(theta)
        return self._replace_weights(theta, self.backend.bind(add_penalty_gradient)(w, w, -rate))

    def workspace(self, theta: Array, n: int) -> Workspace | None:
        """Allocate memory for steps from this θ on batches of up to n rows; None where it cannot be reused."""
        return make_workspace(self.backend, self.layout, theta, n, self.checkpoint_every)

    def penalty(self, theta: Array, batch: Batch) -> Array:
        """Compute the penalty (...) at θ (..., P), for the weight of this batch."""
        return self._penalty(self.layout.weights(theta), batch)

    def forward_buffers(self, theta: Array, n: int) -> Buffers | None:
        """Allocate memory for forward passes of n rows; None where it cannot be reused."""
        return make_forward_buffers(self.backend, self.layout, theta, n)

    def _loss(self, cache: Cache, batch: Batch) -> tuple[Array, Array]:
        return self.backend.bind(self.loss.value_and_delta)(cache.z[-1], batch.y, batch.share)

    def _value(self, theta: Array, cache: Cache, batch: Batch) -> Array:
        cost, _ = self._loss(cache, batch)
        return cost + self.penalty(theta, batch) if self.alpha else cost

    def loss_gradients(
        self, layers: Layers, batch: Batch, buffers: Buffers | None = None
    ) -> tuple[Array, list[tuple[Array, Array]]]:
        """Compute the loss and its gradient, without the penalty."""
        cache = forward(self.backend, layers, self.activations, batch.X, batch.masks, buffers, self.checkpoint_every)
        cost, delta = self._loss(cache, batch)
        return cost, backward(self.backend, layers, self.activations, cache, delta, buffers)

    def _penalty(self, w: Array, batch: Batch) -> Array:
        l2, l1 = batch.penalty or (self.l2, self.l1)
        of_l1 = l1 * batch.inverse if self.l1 else None
        return self.backend.bind(penalty)(w, l2 * batch.inverse, of_l1)  # α/n as the gradient has it

    def _add_penalty_gradient(self, g: Array, w: Array, batch: Batch) -> Array:
        l2, l1 = batch.penalty or (self.l2, self.l1)
        for add, used, strength in ((add_penalty_gradient, self.l2, l2), (add_l1_gradient, self.l1, l1)):
            if used:
                g = self.backend.bind(add)(g, w, per_network(strength * batch.inverse))
        return g

    def _replace_weights(self, theta: Array, w: Array) -> Array:
        """Return θ, or a vector like it, with the weights w, which lie in it already where buffers are reused."""
        if self.backend.reuses_buffers:
            return theta
        return self.backend.xp.concat([w, theta[..., self.layout.n_weights :]], axis=-1)
