"""Losses on logits: C, the mean cost of a batch, and δ_L = ∂C/∂z_L, in one function each.

The loss owns the output non-linearity, so that softmax and cross-entropy meet as log-sum-exp, nothing saturates and
no ε hides in a logarithm. Arguments: z (..., n, K) logits; y (n, K) targets, one-hot for classes; share, each
sample's part of the mean: 1/n, or the column (n, 1) of w_i / Σw. It stands here and in no other derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xbackprop.backend import Array, Namespace


@dataclass(frozen=True)
class Loss:
    """A cost on logits.

    Parameters
    ----------
    value_and_delta : ``(xp, z, y, share) -> C (...), δ_L (..., n, K)``.
    output : ``(xp, z) -> h_L``, what the network predicts.
    name : what messages and model files call it.
    """

    value_and_delta: Callable[[Namespace, Array, Array, Array | float], tuple[Array, Array]]
    output: Callable[[Namespace, Array], Array]
    name: str


def softmax(xp: Namespace, z: Array) -> Array:
    """h_j = exp z_j / Σ_k exp z_k (Section 2.1), shifted by max z, which cancels."""
    e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def cross_entropy(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    """C = -Σ_x share_x Σ_k y_k log h_k,  δ_L = share (h - y),  h = softmax(z): eq. 1 to 5 of the paper, fused.

    log h = z - log Σ exp z is taken as it stands, never as the logarithm of an h that may be 0.
    """
    shifted = z - xp.max(z, axis=-1, keepdims=True)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=-1, keepdims=True)
    log_h = shifted - xp.log(total)
    return -xp.sum(share * (y * log_h), axis=(-2, -1)), share * (e / total - y)


def linear(xp: Namespace, z: Array) -> Array:
    """h = z: the output of a regression."""
    return z


def squared_error(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    """C = Σ_x share_x ‖z - y‖²,  δ_L = 2 share (z - y): eq. 6 to 10 of the paper, for any number of outputs."""
    residual = z - y
    return xp.sum(share * (residual * residual), axis=(-2, -1)), (2.0 * share) * residual


LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(cross_entropy, softmax, "cross_entropy"),
    "mean_squared_error": Loss(squared_error, linear, "mean_squared_error"),
}
