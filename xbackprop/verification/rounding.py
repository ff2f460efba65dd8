"""Bound the error that rounding alone makes in each ∂C/∂θ_p: a running error analysis of both passes, to first order.

Beside every quantity x, e_x is computed, a bound on its error in units of u:

    e_z(l) = e_h(l-1) |W| + s |h| |W| + |b| ,              e_h(l) = |f′| e_z + |h| + min(|z|, 1) + τ ,
    e_δ(L) = |∂δ/∂z| e_z + s (|δ| + |δ₀| + |δ - δ₀|) + τ ,   e_dW = |h|ᵀ e_δ + e_hᵀ |δ| + s |h|ᵀ |δ| + τ ,
    e_δ(l-1) = (e_δ |W|ᵀ + s |δ| |W|ᵀ) |f′| + |δ Wᵀ| e_f′ + τ ,   e_f′ = |f″| e_z + |f′| + 1 ,

and where both factors of a product have errors, u times the product of these. δ₀ is δ(L) for y = 0, and s = 1 + k/64 is
the loss of a sum of k terms: mostly one unit, but many units where many equal terms are all rounded the same way, as in
a saturated network. e_f′ is unbounded where z is so close to a kink that rounding may put it on the other
side. The 1 stands for functions that have lost their relative accuracy where they are near 0, such as gelu's z(1 +
erf), or torch's derivative s(1-s) of a sigmoid; τ = (smallest normal number)/u for what underflows. Without the bound a
correct gradient would be called wrong where its terms cancel: in networks that fit their data, and in saturated ones.
Wilkinson, "Error analysis revisited", 1986; Higham, "Accuracy and Stability of Numerical Algorithms", 2002, Sections
3.3 and 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import array_api_compat.numpy as xp
import numpy as np

from xbackprop.arrays.backend import Backend
from xbackprop.nn.activations import ACTIVATIONS, IDENTITY, Activation
from xbackprop.nn.backprop import Cache, deltas, forward
from xbackprop.verification.problem import Problem

UNITS = 16.0  # the largest error of an element, in multiples of its bound
CLOSE = 16.0  # units of u e_z within which z may be on either side of a kink
TERMS = 64  # this many terms of a sum lose one unit
STEP = 2.0**-20  # the step of differences in place of derivatives that a user has not given


def rounding_bound(problem: Problem, dtype: np.dtype) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return u e for every ∂C/∂W_l and ∂C/∂b_l, in the shapes of the layers; u is the spacing of `dtype` at 1."""
    u = float(np.finfo(dtype).eps)
    underflow = float(np.finfo(dtype).tiny) / u
    layers, hidden, loss, X, y, share, alpha_over_n, l1_over_n, masks = problem
    host, activations = Backend(xp), [*hidden, IDENTITY]
    cache = forward(host, layers, activations, X, masks)
    e_z, e_h = _forward_errors(layers, activations, cache, underflow)
    _, delta = loss.value_and_delta(xp, cache.z[-1], y, share)
    e_delta = _output_error(loss, cache.z[-1], y, share, delta, e_z[-1]) + underflow
    for kink in loss.kinks:
        e_delta = np.where(np.abs(cache.z[-1] - y - kink) < CLOSE * u * e_z[-1], 1 / u, e_delta)
    errors = []
    for l, delta_l in deltas(host, layers, activations, cache, delta):
        W, h = layers[l - 1][0], np.abs(cache.h[l - 1])
        size = np.abs(delta_l)
        summed = e_delta + _lost(len(X)) * size
        dW = (h + u * e_h[l - 1]).T @ summed + e_h[l - 1].T @ size + alpha_over_n * np.abs(W) + l1_over_n + underflow
        errors.append((u * dW, u * (np.sum(summed, axis=0, keepdims=True) + underflow)))
        if l > 1:
            f, z, e = activations[l - 2], cache.z[l - 2], e_z[l - 2]
            slope = np.abs(f.df(xp, z, cache.f[l - 2]))
            e_slope = slope + 1.0 + _curvature(f, z, cache.f[l - 2]) * e
            e_slope = np.where(_undecided(f, z, CLOSE * u * e), 1 / u, e_slope)
            if masks:
                slope, e_slope = slope * masks[l - 2], e_slope * masks[l - 2]
            carried = (e_delta + _lost(W.shape[1]) * size) @ np.abs(W).T
            e_delta = carried * (slope + u * e_slope) + np.abs(delta_l @ W.T) * e_slope + underflow
    return errors[::-1]


def _undecided(f: Activation, z: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Return whether z, known to within e, may be on either side of a kink.

    Exactly at a kink, xbackprop's own activations take the left side. For a user's max or abs, torch and complex
    numbers may take either side, and a kink at 0 may not have been declared.
    """
    own = ACTIVATIONS.get(f.name) is f
    undecided = np.zeros(z.shape, dtype=bool)
    for point in f.kinks if own else {0.0, *f.kinks, *f.corners}:
        undecided |= (np.abs(z - point) < e) | ((z == point) & (not own))
    return undecided


def tangent_scale(problem: Problem, cache: Cache, direction: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return Jv (n, n_L) with every term made positive: the scale of the rounding error of Jv."""
    moved = np.zeros_like(cache.h[0])
    masks = problem.masks
    activations = [*problem.activations, IDENTITY]
    for l, ((W, _), (V, v), f) in enumerate(zip(problem.layers, direction, activations, strict=True)):
        moved = np.abs(cache.h[l]) @ np.abs(V) + np.abs(v) + moved @ np.abs(W)
        moved *= np.abs(f.df(xp, cache.z[l], cache.f[l])) * (masks[l] if l < len(masks) else 1.0)
    return moved


def _forward_errors(layers, activations, cache, underflow):  # type: ignore[no-untyped-def]
    e_z, e_h = [], [np.zeros_like(cache.h[0])]
    for l, ((W, b), f) in enumerate(zip(layers, activations, strict=True)):
        e_z.append((e_h[-1] + _lost(len(W)) * np.abs(cache.h[l])) @ np.abs(W) + np.abs(b))
        size, slope = np.abs(cache.z[l]), np.abs(f.df(xp, cache.z[l], cache.f[l]))
        e_f = slope * e_z[-1] + np.abs(cache.f[l]) + np.minimum(size, 1.0) + underflow * (cache.f[l] != 0)
        e_h.append(e_f * cache.masks[l] if l < len(cache.masks) else e_f)
    return e_z, e_h


def _output_error(loss, z, y, share, delta, e_z):  # type: ignore[no-untyped-def]
    without = np.nan_to_num(loss.value_and_delta(xp, z, np.zeros_like(y), share)[1])  # y = 0 need not be a valid target
    error = _lost(z.shape[1]) * (np.abs(delta) + np.abs(without) + np.abs(delta - without))
    for k in range(z.shape[1]):  # |∂δ/∂z| e_z, a column of the Jacobian at a time
        along = np.zeros_like(z)
        along[:, k] = e_z[:, k]
        if loss.delta_tangent is not None:
            change = loss.delta_tangent(xp, z, y, share, along)
        else:
            step = STEP / max(1.0, float(np.max(along)))
            change = (loss.value_and_delta(xp, z + step * along, y, share)[1] - delta) / step
        error = error + np.abs(change)
    return error


def _curvature(f, z, h):  # type: ignore[no-untyped-def]
    """Return |f″|, by differences if the activation has no d2f."""
    if f.d2f is not None:
        return np.abs(f.d2f(xp, z, h))
    step = STEP * np.maximum(np.abs(z), 1.0)
    return np.abs(f.df(xp, z + step, f.f(xp, z + step)) - f.df(xp, z, h)) / step


def _lost(terms: int) -> float:
    """Return the error of a sum of this many terms, in units of u."""
    return 1.0 + terms / TERMS
