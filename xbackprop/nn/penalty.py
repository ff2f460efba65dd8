"""The penalty on the weights, α/n Σ_l [(1-ρ)/2 ‖W_l‖² + ρ Σ|W_l|], and its gradient."""

from __future__ import annotations

from xbackprop.arrays.backend import Array, Namespace
from xbackprop.arrays.special import absolute


def penalty(xp: Namespace, w: Array, l2: Array | float, l1: Array | float | None) -> Array:
    """Compute ½ l2 ‖w‖² + l1 Σ|w| (...) of weights w (..., n); l1 is None for 0."""
    squares = w @ w if w.ndim == 1 else (w[..., None, :] @ w[..., :, None])[..., 0, 0]
    total = 0.5 * l2 * squares
    return total if l1 is None else total + l1 * xp.sum(absolute(xp, w), axis=-1)


def add_penalty_gradient(xp: Namespace, g: Array, w: Array, rate: Array | float) -> Array:
    """Return g + rate w, with rate = (1-ρ)α/n for the L2 part. With reused buffers, g itself is updated."""
    return g + rate * w


def add_l1_gradient(xp: Namespace, g: Array, w: Array, rate: Array | float) -> Array:
    """Return g + rate sign(w), with rate = ρα/n for the L1 part. With reused buffers, g itself is updated."""
    return g + rate * xp.sign(w)
