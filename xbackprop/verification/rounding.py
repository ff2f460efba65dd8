"""By how much rounding alone may put each ∂C/∂θ_p off: a running error analysis of both passes, to first order.

Every quantity x is followed by e_x, a bound in units of u on its error:

    e_z(l) = e_h(l-1) |W| + s |h| |W| + |b| ,                  e_h(l) = |f′| e_z + |h| + min(|z|, 1) + τ ,
    e_δ(L) = |∂δ/∂z| e_z + s (|δ| + share (|h_L| + |y|)) + τ ,   e_dW = |h|ᵀ e_δ + e_hᵀ |δ| + s |h|ᵀ |δ| ,
    e_δ(l-1) = (e_δ |W|ᵀ + s |δ| |W|ᵀ) |f′| + |δ Wᵀ| e_f′ + τ ,   e_f′ = |f″| e_z + |f′| + 1 .

s = 1 + k/64 is what a sum of k terms loses: mostly a unit, but units without end where many equal terms are all rounded
the same way, as in a saturated network. e_f′ is unbounded where z is so close to a kink that rounding may put it on the
other side. The 1 stands for functions that have lost their relative accuracy where they are near 0, such as gelu's
z(1 + erf), or torch's derivative s(1-s) of a sigmoid; τ = (smallest normal number)/u for what underflows. Without the
bound a correct gradient would be called wrong where its terms cancel: in networks that fit their data, and in saturated
ones. Wilkinson, "Error analysis revisited", 1986; Higham, "Accuracy and Stability of Numerical Algorithms", 2002,
Sections 3.3 and 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import array_api_compat.numpy as xp
import numpy as np

from xbackprop.activations import IDENTITY
from xbackprop.backend import Backend
from xbackprop.network import Cache, deltas, forward
from xbackprop.verification.problem import Problem

CLOSE = 16.0  # units of u e_z within which z may be on either side of a kink
TERMS = 64  # of a sum, that lose a unit


def rounding_bound(problem: Problem, dtype: np.dtype) -> list[tuple[np.ndarray, np.ndarray]]:
    """u e for every ∂C/∂W_l and ∂C/∂b_l, in the shapes of the layers; dtype is the gradient's, u its spacing at 1."""
    u = float(np.finfo(dtype).eps)
    underflow = float(np.finfo(dtype).tiny) / u
    layers, hidden, loss, X, y, share, alpha_over_n = problem
    host, activations = Backend(xp), [*hidden, IDENTITY]
    cache = forward(host, layers, activations, X)
    e_z, e_h = _forward_errors(layers, activations, cache, underflow)
    _, delta = loss.value_and_delta(xp, cache.z[-1], y, share)
    e_delta = _output_error(loss, cache.z[-1], y, share, delta, e_z[-1]) + underflow
    errors = []
    for l, delta_l in deltas(host, layers, activations, cache, delta):
        W, h = layers[l - 1][0], np.abs(cache.h[l - 1])
        size = np.abs(delta_l)
        summed = e_delta + _lost(len(X)) * size
        dW = h.T @ summed + e_h[l - 1].T @ size + alpha_over_n * np.abs(W)
        errors.append((u * dW, u * np.sum(summed, axis=0, keepdims=True)))
        if l > 1:
            f, z, e = activations[l - 2], cache.z[l - 2], e_z[l - 2]
            slope = np.abs(f.df(xp, z, cache.h[l - 1]))
            e_slope = slope + 1.0 + (0.0 if f.d2f is None else np.abs(f.d2f(xp, z, cache.h[l - 1])) * e)
            for kink in f.kinks:
                e_slope = np.where(np.abs(z - kink) < CLOSE * u * e, 1 / u, e_slope)
            e_delta = ((e_delta + _lost(W.shape[1]) * size) @ np.abs(W).T) * slope + np.abs(delta_l @ W.T) * e_slope + underflow
    return errors[::-1]


def tangent_scale(
    problem: Problem, cache: Cache, direction: Sequence[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Jv (n, n_L) with every term of it made positive: what the rounding of Jv is relative to."""
    moved = np.zeros_like(cache.h[0])
    activations = [*problem.activations, IDENTITY]
    for l, ((W, _), (V, v), f) in enumerate(zip(problem.layers, direction, activations, strict=True)):
        moved = np.abs(cache.h[l]) @ np.abs(V) + np.abs(v) + moved @ np.abs(W)
        moved *= np.abs(f.df(xp, cache.z[l], cache.h[l + 1]))
    return moved


def _forward_errors(layers, activations, cache, underflow):  # type: ignore[no-untyped-def]
    e_z, e_h = [], [np.zeros_like(cache.h[0])]
    for l, ((W, b), f) in enumerate(zip(layers, activations, strict=True)):
        e_z.append((e_h[-1] + _lost(len(W)) * np.abs(cache.h[l])) @ np.abs(W) + np.abs(b))
        size, slope = np.abs(cache.z[l]), np.abs(f.df(xp, cache.z[l], cache.h[l + 1]))
        e_h.append(slope * e_z[-1] + np.abs(cache.h[l + 1]) + np.minimum(size, 1.0) + underflow)
    return e_z, e_h


def _output_error(loss, z, y, share, delta, e_z):  # type: ignore[no-untyped-def]
    error = _lost(z.shape[1]) * (np.abs(delta) + share * (np.abs(loss.output(xp, z)) + np.abs(y)))
    if loss.delta_tangent is None:
        return error + share * e_z  # taking the loss to be no more curved than 1
    for k in range(z.shape[1]):  # |∂δ/∂z| e_z, a column of the Jacobian at a time
        along = np.zeros_like(z)
        along[:, k] = e_z[:, k]
        error = error + np.abs(loss.delta_tangent(xp, z, y, share, along))
    return error


def _lost(terms: int) -> float:
    """How many units a sum of so many terms loses."""
    return 1.0 + terms / TERMS
