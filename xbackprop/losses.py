"""Losses on logits: C, the mean cost of a batch, and δ_L = ∂C/∂z_L, in one function each, and beside it δ̇_L.

The loss owns the output non-linearity, so that softmax and cross-entropy meet as log-sum-exp, nothing saturates and
no ε hides in a logarithm. Arguments: z (..., n, K) logits; y (n, K) targets, one-hot for classes; share, each
sample's part of the mean: 1/n, or the column (n, 1) of w_i / Σw. It stands here and in no other derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import array_api_compat

from xbackprop.backend import Array, Namespace
from xbackprop.special import real_part


@dataclass(frozen=True)
class Loss:
    """A cost on logits.

    Parameters
    ----------
    value_and_delta : ``(xp, z, y, share) -> C (...), δ_L (..., n, K)``.
    output : ``(xp, z) -> h_L``, what the network predicts.
    name : what messages and model files call it.
    delta_tangent : ``(xp, z, y, share, z_tangent) -> δ̇_L (..., n, K)``, how δ_L changes as z_L moves along ż_L; only
        Hessian-vector products need it.
    """

    value_and_delta: Callable[[Namespace, Array, Array, Array | float], tuple[Array, Array]]
    output: Callable[[Namespace, Array], Array]
    name: str = "custom"
    delta_tangent: Callable[[Namespace, Array, Array, Array | float, Array], Array] | None = None


def _row_max(xp: Namespace, z: Array) -> Array:
    """max_k z_k, or max_k Re z_k: a shift that cancels, so that no derivative need pass through it."""
    return xp.max(real_part(xp, z), axis=-1, keepdims=True)


def softmax(xp: Namespace, z: Array) -> Array:
    """h_j = exp z_j / Σ_k exp z_k (Section 2.1), shifted by max z, which cancels."""
    e = xp.exp(z - _row_max(xp, z))
    return e / xp.sum(e, axis=-1, keepdims=True)


def cross_entropy(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    """C = -Σ_x share_x Σ_k y_k log h_k,  δ_L = share (h - y),  h = softmax(z): eq. 1 to 5 of the paper, fused.

    log h = z - log Σ exp z is taken as it stands, never as the logarithm of an h that may be 0.
    """
    shifted = z - _row_max(xp, z)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=-1, keepdims=True)
    log_h = shifted - xp.log(total)
    return -xp.sum(share * (y * log_h), axis=(-2, -1)), share * (e / total - y)


def cross_entropy_tangent(xp: Namespace, z: Array, y: Array, share: Array | float, z_tangent: Array) -> Array:
    """δ̇_L = share ḣ,  ḣ = h ⊙ (ż - Σ_k h_k ż_k): the Jacobian of softmax times ż.

    What all ż_k have in common cancels. It is taken off first, as the ż of the largest h, so that no digits go with it
    where that h is nearly 1.
    """
    h = softmax(xp, z)
    top = xp.argmax(real_part(xp, z), axis=-1, keepdims=True)
    is_top = xp.arange(z.shape[-1], device=array_api_compat.device(z)) == top
    relative = z_tangent - xp.sum(xp.where(is_top, z_tangent, xp.zeros_like(z_tangent)), axis=-1, keepdims=True)
    return share * (h * (relative - xp.sum(h * relative, axis=-1, keepdims=True)))


def linear(xp: Namespace, z: Array) -> Array:
    """h = z: the output of a regression."""
    return z


def squared_error(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    """C = Σ_x share_x ‖z - y‖²,  δ_L = 2 share (z - y): eq. 6 to 10 of the paper, for any number of outputs."""
    residual = z - y
    return xp.sum(share * (residual * residual), axis=(-2, -1)), (2.0 * share) * residual


def squared_error_tangent(xp: Namespace, z: Array, y: Array, share: Array | float, z_tangent: Array) -> Array:
    """δ̇_L = 2 share ż."""
    return (2.0 * share) * z_tangent


LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(cross_entropy, softmax, "cross_entropy", cross_entropy_tangent),
    "mean_squared_error": Loss(squared_error, linear, "mean_squared_error", squared_error_tangent),
}
