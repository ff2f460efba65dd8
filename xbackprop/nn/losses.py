"""Losses on logits: C, the mean cost of a batch, and δ_L = ∂C/∂z_L, in one function each, with its tangent δ̇_L.

The loss owns the output non-linearity, so that softmax and cross-entropy meet as log-sum-exp, nothing saturates and
no ε hides in a logarithm. Arguments: z (..., n, K) logits; y (n, K) targets, one-hot for classes; share, each
sample's part of the mean: 1/n, the column (n, 1) of w_i / Σw, or where targets are missing (n, K), with parts of the
mean for each output. It stands here and in no other derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import array_api_compat

from xbackprop.arrays.backend import Array, Namespace
from xbackprop.arrays.special import absolute, positive_part, real_part
from xbackprop.nn.activations import d_logistic, logistic


@dataclass(frozen=True)
class Loss:
    """A loss on logits, with its derivative. Pass one as ``loss=`` to `MLP`.

    Parameters
    ----------
    value_and_delta : ``(xp, z, y, share) -> C (...), δ_L (..., n, K)``.
    output : ``(xp, z) -> h_L``, the prediction of the network from its logits.
    name : its name in messages and model files.
    delta_tangent : ``(xp, z, y, share, z_tangent) -> δ̇_L (..., n, K)``, the derivative of δ_L as z_L moves along ż_L.
        Only Hessian-vector products need it.
    kinks : the values of z - y where δ_L jumps. Gradient checks take no difference across them.
    corners : the values of z - y where δ_L is continuous but its slope jumps. Adaptive differences do not cross these
        either.
    per_target : the outputs that each target has: those of a loss of several quantiles are for one target.

    Examples
    --------
    C = Σ_x share_x Σ_k log cosh(z_k - y_k), whose δ_L is share tanh(z - y):

    >>> import xbackprop
    >>> def value_and_delta(xp, z, y, share):
    ...     return xp.sum(share * xp.log(xp.cosh(z - y)), axis=(-2, -1)), share * xp.tanh(z - y)
    >>> log_cosh = xbackprop.Loss(value_and_delta, output=lambda xp, z: z, name="log_cosh")
    >>> net = xbackprop.MLP((10,), task="regression", loss=log_cosh)
    """

    value_and_delta: Callable[[Namespace, Array, Array, Array | float], tuple[Array, Array]]
    output: Callable[[Namespace, Array], Array]
    name: str = "custom"
    delta_tangent: Callable[[Namespace, Array, Array, Array | float, Array], Array] | None = None
    kinks: tuple[float, ...] = ()
    corners: tuple[float, ...] = ()
    per_target: int = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy a row of `LOSSES` by its name, so that the copy is that same row."""
        if LOSSES.get(self.name) is self:
            return _row_of, (self.name,)
        return type(self), tuple(getattr(self, f.name) for f in fields(self))


def _row_max(xp: Namespace, z: Array) -> Array:
    """max_k z_k, or max_k Re z_k: a shift that cancels, so that no derivative need pass through it."""
    return xp.max(real_part(xp, z), axis=-1, keepdims=True)


def softmax(xp: Namespace, z: Array) -> Array:
    """h_j = exp z_j / Σ_k exp z_k (Section 2.1), shifted by max z, which cancels."""
    e = xp.exp(z - _row_max(xp, z))
    return e / xp.sum(e, axis=-1, keepdims=True)


def log_softmax(xp: Namespace, z: Array) -> Array:
    """log h_j = z_j - log Σ_k exp z_k."""
    shifted = z - _row_max(xp, z)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


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
    """h = z: the output of most regressions."""
    return z


def ascending(xp: Namespace, z: Array) -> Array:
    """h: z in ascending order, so that quantiles never cross. Chernozhukov, Fernández-Val and Galichon, 2010."""
    return xp.sort(z, axis=-1)


def exponential(xp: Namespace, z: Array) -> Array:
    """h = exp z: the output of a Poisson regression."""
    return xp.exp(z)


def binary_cross_entropy(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    """C = -Σ_x share_x Σ_k [y log σ(z) + (1-y) log σ(-z)],  δ_L = share (σ(z) - y): every output a yes or no.

    The cost is log(1 + exp(-|z|)) + max(z, 0) - y z, in which no logarithm meets a zero; and for z > 0 the
    slope σ(z) - y is taken as (1-y) - σ(-z), which keeps its digits where σ(z) is nearly 1.
    """
    e = xp.exp(-absolute(xp, z))
    far = e / (1.0 + e)  # σ(-|z|)
    cost = xp.log1p(e) + (positive_part(xp, z) - y * z)
    delta = xp.where(real_part(xp, z) > 0, (1.0 - y) - far, far - y)
    return xp.sum(share * cost, axis=(-2, -1)), share * delta


def binary_cross_entropy_tangent(xp: Namespace, z: Array, y: Array, share: Array | float, z_tangent: Array) -> Array:
    """δ̇_L = share σ′(z) ż."""
    return share * (d_logistic(xp, z, z) * z_tangent)


def mean_squared_error(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    """C = Σ_x share_x ‖z - y‖²,  δ_L = 2 share (z - y): eq. 6 to 10 of the paper, for any number of outputs."""
    residual = z - y
    return xp.sum(share * (residual * residual), axis=(-2, -1)), (2.0 * share) * residual


def mean_squared_error_tangent(xp: Namespace, z: Array, y: Array, share: Array | float, z_tangent: Array) -> Array:
    """δ̇_L = 2 share ż."""
    return (2.0 * share) * z_tangent


def squared_error(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    """C = ½ Σ_x share_x ‖z - y‖²,  δ_L = share (z - y): scikit-learn's, half the paper's."""
    residual = z - y
    return 0.5 * xp.sum(share * (residual * residual), axis=(-2, -1)), share * residual


def squared_error_tangent(xp: Namespace, z: Array, y: Array, share: Array | float, z_tangent: Array) -> Array:
    """δ̇_L = share ż."""
    return share * z_tangent


def poisson(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    """C = Σ_x share_x Σ_k [y log(y/h) - y + h],  h = exp z,  δ_L = share (h - y): half the Poisson deviance, y ≥ 0."""
    h = xp.exp(z)
    some = real_part(xp, y) > 0
    log_y = xp.log(xp.where(some, y, xp.ones_like(y)))
    return xp.sum(share * (y * (log_y - z) - y + h), axis=(-2, -1)), share * (h - y)


def poisson_tangent(xp: Namespace, z: Array, y: Array, share: Array | float, z_tangent: Array) -> Array:
    """δ̇_L = share exp(z) ż."""
    return share * (xp.exp(z) * z_tangent)


def flat_tangent(xp: Namespace, z: Array, y: Array, share: Array | float, z_tangent: Array) -> Array:
    """δ̇_L = 0: δ_L is constant on either side of its kink."""
    return xp.zeros_like(z_tangent)


def quantile_loss(quantile: float | Sequence[float] = 0.5, name: str | None = None, scale: float = 1.0) -> Loss:
    """C = Σ_x share_x Σ_k r (1-q) for r > 0, else -r q,  r = z - y: its minimum is the q-quantile. Koenker and Bassett,
    1978.

    Of several quantiles q_1 … q_K output k estimates the k-th, all of one target; sorted, they never cross. At r = 0,
    where the slope jumps from -q to 1-q, δ_L is 0.
    """
    if isinstance(quantile, int | float):
        of_each = partial(_two_slopes, below=scale * quantile, above=scale * (1.0 - quantile))
        name = name or ("quantile" if quantile == 0.5 else f"quantile({quantile:g})")
        return Loss(of_each, linear, name, flat_tangent, kinks=(0.0,))
    below = tuple(scale * q for q in quantile)
    of_all = partial(_two_slopes_of_each, below=below, above=tuple(scale - q for q in below))
    name = name or f"quantile({','.join(f'{q:g}' for q in quantile)})"
    return Loss(of_all, ascending, name, flat_tangent, kinks=(0.0,), per_target=len(below))


def _two_slopes_of_each(
    xp: Namespace, z: Array, y: Array, share: Array | float, below: Sequence[float], above: Sequence[float]
) -> tuple[Array, Array]:
    """Do the same with the slopes of each output, rows (K,) that are made on the device: no step waits for the host."""
    columns = xp.arange(z.shape[-1], device=array_api_compat.device(z))
    places = [xp.astype(columns == k, z.dtype) for k in range(len(below))]
    rows = (sum(slope * place for slope, place in zip(of, places, strict=True)) for of in (below, above))
    return _two_slopes(xp, z, y, share, *rows)


def _two_slopes(
    xp: Namespace, z: Array, y: Array, share: Array | float, below: Array | float, above: Array | float
) -> tuple[Array, Array]:
    residual = z - y
    real = real_part(xp, residual)
    slope = above * xp.astype(real > 0, z.dtype) - below * xp.astype(real < 0, z.dtype)
    return xp.sum(share * (slope * residual), axis=(-2, -1)), share * slope


def huber_loss(width: float = 1.0) -> Loss:
    """C = Σ_x share_x Σ_k r²/2 for |r| ≤ w, else w(|r| - w/2),  r = z - y;  δ_L = share r, cut at ±w. Huber, 1964."""
    value_and_delta, tangent = partial(_huber, width=width), partial(_huber_tangent, width=width)
    name = "huber" if width == 1.0 else f"huber({width:g})"
    return Loss(value_and_delta, linear, name, tangent, corners=(-width, width))


def _huber(xp: Namespace, z: Array, y: Array, share: Array | float, width: float) -> tuple[Array, Array]:
    residual = z - y
    real, limit = real_part(xp, residual), width * xp.ones_like(residual)
    clipped = xp.where(real < -width, -limit, xp.where(real > width, limit, residual))
    return xp.sum(share * (clipped * (residual - 0.5 * clipped)), axis=(-2, -1)), share * clipped


def _huber_tangent(xp: Namespace, z: Array, y: Array, share: Array | float, z_tangent: Array, width: float) -> Array:
    return share * (xp.astype(xp.abs(z - y) <= width, z.dtype) * z_tangent)


_ROWS = (
    Loss(cross_entropy, softmax, "cross_entropy", cross_entropy_tangent),
    Loss(binary_cross_entropy, logistic, "binary_cross_entropy", binary_cross_entropy_tangent),
    Loss(mean_squared_error, linear, "mean_squared_error", mean_squared_error_tangent),
    Loss(squared_error, linear, "squared_error", squared_error_tangent),
    quantile_loss(0.5, "absolute_error", scale=2.0),
    huber_loss(),
    Loss(poisson, exponential, "poisson", poisson_tangent),
    quantile_loss(),
)

LOSSES: dict[str, Loss] = {row.name: row for row in _ROWS}


def _row_of(name: str) -> Loss:
    return LOSSES[name]
