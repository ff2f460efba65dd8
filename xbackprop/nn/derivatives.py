"""Derivatives of C(θ) and of the logits z_L(X; θ) beside the gradient: Jv, Jᵀw, Hv, ∂C/∂X and per-sample gradients.

θ and directions v in it are flat vectors (P,), laid out as in `Layout`.
"""

from __future__ import annotations

from collections.abc import Sequence

from xbackprop.arrays.backend import Array
from xbackprop.nn.backprop import Cache, backward, deltas
from xbackprop.nn.objective import Batch, Objective
from xbackprop.nn.tangent import backward_tangent, forward_tangent


def jvp(
    objective: Objective,
    theta: Array,
    direction: Array,
    X: Array,
    X_tangent: Array | None = None,
    masks: Sequence[Array] = (),
) -> Array:
    """Compute Jv = ż_L (n, n_L), the derivative of the logits as θ moves along v, and X along Ẋ, by forward mode."""
    layers, cache = objective.layers(theta), objective.forward(theta, X, masks)
    along = objective.layers(direction)
    return forward_tangent(objective.backend, layers, objective.activations, cache, along, X_tangent).z[-1]


def vjp(objective: Objective, theta: Array, cotangent: Array, X: Array, masks: Sequence[Array] = ()) -> Array:
    """Compute Jᵀw (P,) for the logits and w (n, n_L): the backward pass, started with w in place of δ_L."""
    layers, cache = objective.layers(theta), objective.forward(theta, X, masks)
    return objective.flatten(backward(objective.backend, layers, objective.activations, cache, cotangent))


def hvp(objective: Objective, theta: Array, direction: Array, batch: Batch) -> Array:
    """Compute Hv (P,), H the Hessian of C: d/dt ∂C/∂θ (θ + t v) at t = 0, by the R-operator. The penalty adds α/n V_l.

    Raises
    ------
    ValueError : if an activation has no f″, or the loss no `delta_tangent`.
    """
    backend, loss = objective.backend, objective.loss
    if loss.delta_tangent is None:
        raise ValueError(
            f"loss {loss.name!r}: a Hessian-vector product needs the tangent of δ_L; give it one: "
            f"xbackprop.Loss(..., delta_tangent=lambda xp, z, y, share, z_tangent: ...)"
        )
    layers, along = objective.layers(theta), objective.layers(direction)
    cache, delta = objective.forward_and_delta(theta, batch)
    tangent = forward_tangent(backend, layers, objective.activations, cache, along)
    delta_tangent = backend.bind(loss.delta_tangent)(cache.z[-1], batch.y, batch.share, tangent.z[-1])
    products = backward_tangent(
        backend, layers, objective.activations, cache, along, tangent, delta, delta_tangent
    )  # fmt: skip
    if objective.l2:
        rate = objective.l2 * batch.inverse
        products = [(dW + rate * V, db) for (dW, db), (V, _) in zip(products, along, strict=True)]
    return objective.flatten(products)


def input_gradient(objective: Objective, theta: Array, batch: Batch) -> Array:
    """Compute ∂C/∂X = δ_1 W_1ᵀ, (n, n_0)."""
    xp, layers = objective.backend.xp, objective.layers(theta)
    cache, delta = objective.forward_and_delta(theta, batch)
    for _, delta_l in deltas(objective.backend, layers, objective.activations, cache, delta):
        delta = delta_l
    return delta @ xp.matrix_transpose(layers[0][0])


def per_sample_gradients(objective: Objective, theta: Array, batch: Batch) -> list[tuple[Array, Array]]:
    """Compute ∂C_x/∂W_l (n, n_{l-1}, n_l) and ∂C_x/∂b_l (n, 1, n_l), l = 1 … L, of each sample's own cost C_x.

    C_x is unweighted and without penalty, so that ∂C/∂W_l = Σ_x share_x ∂C_x/∂W_l + α/n W_l. Each sample is a batch of
    one row, and `backward` runs through all of them at once.
    """
    layers = objective.layers(theta)
    cache, delta = _unshared(objective, theta, batch)
    z, f, h, masks = ([a[:, None, :] for a in arrays] for arrays in (cache.z, cache.f, cache.h, cache.masks))
    return backward(objective.backend, layers, objective.activations, Cache(z, f, h, masks), delta[:, None, :])


def per_sample_gradient_norms(objective: Objective, theta: Array, batch: Batch) -> Array:
    """Compute ‖∂C_x/∂θ‖ (n,) of each sample's own cost, without forming the gradients.

    ∂C_x/∂W_l = h_{l-1}ᵀ δ_l has rank one, so ‖∂C_x/∂W_l‖² + ‖∂C_x/∂b_l‖² = (‖h_{l-1}‖² + 1) ‖δ_l‖². Goodfellow,
    "Efficient per-example gradient computations", 2015.
    """
    xp, layers = objective.backend.xp, objective.layers(theta)
    cache, delta = _unshared(objective, theta, batch)

    def squares(rows: Array) -> Array:
        return xp.sum(rows * rows, axis=-1)

    total = xp.zeros(batch.X.shape[:1], dtype=theta.dtype, device=objective.backend.device)
    for l, delta_l in deltas(objective.backend, layers, objective.activations, cache, delta):
        total = total + (squares(cache.h[l - 1]) + 1.0) * squares(delta_l)
    return xp.sqrt(total)


def _unshared(objective: Objective, theta: Array, batch: Batch) -> tuple[Cache, Array]:
    """Run the forward pass, and compute δ_L of each sample's own cost."""
    return objective.forward_and_delta(theta, batch._replace(share=1.0))
