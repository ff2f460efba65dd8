"""Numba: NumPy's arrays and matrix products, with one compiled pass between products where NumPy takes several.

Numba compiles each function when it is first called for a dtype, and keeps the result on the disk. The kernels do the
same operations in the same order as NumPy's versions, in the dtype of their arrays.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, Namespace
from xbackprop.errors import BackendError
from xbackprop.nn.activations import d_logistic, d_relu, d_tanh, logistic, relu
from xbackprop.nn.backprop import affine
from xbackprop.nn.dropout import threefry, uniform_bits
from xbackprop.nn.losses import binary_cross_entropy, cross_entropy
from xbackprop.nn.penalty import add_l1_gradient, add_penalty_gradient
from xbackprop.optim.optimizers import (
    adagrad_step,
    adam_step,
    average_step,
    momentum_step,
    nesterov_step,
    rmsprop_step,
    sgd_step,
)
from xbackprop_numpy import NumpyBackend, first_of, one_by_one

try:
    import numba
except ImportError as error:
    raise BackendError("backend 'numba' needs Numba, which is not installed: pip install numba") from error


def kernel(function: Callable) -> Callable:
    """Compile a function that runs without the interpreter's lock, so that other threads may train at the same time."""
    compiled = functools.partial(numba.njit, nogil=True, error_model="numpy")  # a division by zero is an infinity
    try:
        return compiled(cache=True)(function)
    except RuntimeError:  # nowhere to keep it
        return compiled()(function)


def inner(function: Callable) -> Callable:
    """Compile a function that only compiled functions call: in half the time, since nothing is made to call it by."""
    return numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


_threefry = kernel(threefry)  # the generic source, on numbers


# Layers.


@kernel
def _add_row(z: Array, b: Array) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += b[0, j]


def _affine(xp: Namespace, h: Array, W: Array, b: Array, out: Array | None = None) -> Array:
    z = np.matmul(h, W, out=out)
    if z.ndim == b.ndim == 2:
        _add_row(z, b)
    else:
        z += b
    return z


@kernel
def _keep_positive(z: Array) -> None:
    zero = z.dtype.type(0.0)
    for i in range(z.shape[0]):
        z[i] = zero if z[i] <= 0 else z[i]  # NaN stays NaN


def _relu(xp: Namespace, z: Array, out: Array | None = None) -> Array:
    if out is None or not out.flags.c_contiguous:
        out = np.array(z, order="C")
    elif out is not z:
        out[...] = z
    _keep_positive(out.reshape(-1))
    return out


@kernel
def _is_positive(z: Array, out: Array) -> None:
    one, zero = z.dtype.type(1.0), z.dtype.type(0.0)
    for i in range(z.shape[0]):
        out[i] = one if z[i] > 0 else zero


def _d_relu(xp: Namespace, z: Array, h: Array) -> Array:
    z = np.asarray(z, order="C")
    out = np.empty_like(z)
    _is_positive(z.reshape(-1), out.reshape(-1))
    return out


@kernel
def _minus_abs(z: Array, factor: float, out: Array) -> None:
    c = -z.dtype.type(factor)
    for i in range(z.shape[0]):
        out[i] = c * abs(z[i])


def _exponential(z: Array, factor: float) -> Array:
    """Compute exp(-factor |z|) for z in C order; NumPy has exp in vector instructions."""
    e = np.empty_like(z)
    _minus_abs(z.reshape(-1), factor, e.reshape(-1))
    return np.exp(e, out=e)


def _of_exponential(factor: float, kernel: Callable[[Array, Array], None]) -> Callable[..., Array]:
    """Return an activation that calls ``kernel(z, e)``, e = exp(-factor |z|), which writes h over e."""

    def apply(xp: Namespace, z: Array, h: Array | None = None) -> Array:
        z = np.asarray(z, order="C")
        e = _exponential(z, factor)
        kernel(z.reshape(-1), e.reshape(-1))
        return e

    return apply


@kernel
def _over_one_plus(z: Array, e: Array) -> None:
    one = z.dtype.type(1.0)
    for i in range(z.shape[0]):
        e[i] = (one if z[i] > 0 else e[i]) / (one + e[i])


@kernel
def _over_square(z: Array, e: Array) -> None:
    one = z.dtype.type(1.0)
    for i in range(z.shape[0]):
        e[i] = e[i] / ((one + e[i]) * (one + e[i]))


@kernel
def _four_over_square(z: Array, e: Array) -> None:
    one, four = z.dtype.type(1.0), z.dtype.type(4.0)
    for i in range(z.shape[0]):
        e[i] = four * e[i] / ((one + e[i]) * (one + e[i]))


# Losses of matrices whose samples weigh alike; others, such as a stack's, are left to NumPy's version. Costs are summed
# in float64.


@kernel
def _below_maximum(z: Array, out: Array) -> None:
    for i in range(z.shape[0]):
        top = z[i, 0]
        for k in range(1, z.shape[1]):
            top = max(top, z[i, k])
        for k in range(z.shape[1]):
            out[i, k] = z[i, k] - top


@kernel
def _from_exponentials(shifted: Array, e: Array, y: Array, share: float) -> float:
    """C, and δ_L in the place of e."""
    factor, cost = e.dtype.type(share), 0.0
    for i in range(e.shape[0]):
        total = e[i, 0]
        for k in range(1, e.shape[1]):
            total += e[i, k]
        log_total = math.log(total)
        for k in range(e.shape[1]):
            cost -= y[i, k] * (shifted[i, k] - log_total)
            e[i, k] = (e[i, k] / total - y[i, k]) * factor
    return share * cost


def _cross_entropy(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    if not isinstance(share, float) or z.ndim != 2:
        return NumpyBackend.overrides[cross_entropy](xp, z, y, share)
    shifted = np.empty_like(z)
    _below_maximum(z, shifted)
    e = np.exp(shifted)
    return z.dtype.type(_from_exponentials(shifted, e, y, share)), e


@kernel
def _yes_or_no(z: Array, y: Array, share: float, e: Array) -> float:
    """C, and δ_L in the place of e = exp(-|z|)."""
    zero, one, factor, cost = z.dtype.type(0.0), z.dtype.type(1.0), z.dtype.type(share), 0.0
    for i in range(z.shape[0]):
        for k in range(z.shape[1]):
            far = e[i, k] / (one + e[i, k])
            cost += math.log1p(e[i, k]) + ((z[i, k] if z[i, k] > 0 else zero) - y[i, k] * z[i, k])
            e[i, k] = (((one - y[i, k]) - far) if z[i, k] > 0 else (far - y[i, k])) * factor
    return share * cost


def _binary_cross_entropy(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    if not isinstance(share, float) or z.ndim != 2:
        return NumpyBackend.overrides[binary_cross_entropy](xp, z, y, share)
    z = np.asarray(z, order="C")
    e = _exponential(z, 1.0)
    return z.dtype.type(_yes_or_no(z, y, share, e)), e


# Updates, in place.


def _update(kernel: Callable[..., None], n_arrays: int) -> Callable[..., list[Array]]:
    """`kernel`, whose first arguments are that many vectors, in the signature of the generic steps.

    One thread: two are no faster where memory is the limit.
    """

    def run(xp: Namespace, *arguments: Any) -> list[Array]:
        arrays = arguments[:n_arrays]
        if arrays[0].ndim > 1:
            return one_by_one(run, n_arrays, xp, *arguments)
        kernel(*arrays, *map(float, arguments[n_arrays:]))
        return [arrays[0], *arrays[2:]]

    return run


@kernel
def _add_penalty_gradient(g: Array, w: Array, rate: float) -> None:
    c = g.dtype.type(rate)
    for i in range(g.shape[0]):
        g[i] += c * w[i]


@kernel
def _add_l1_gradient(g: Array, w: Array, rate: float) -> None:
    c = g.dtype.type(rate)
    for i in range(g.shape[0]):
        g[i] += c * np.sign(w[i])


@kernel
def _sgd_step(theta: Array, g: Array, rate: float) -> None:
    c = g.dtype.type(rate)
    for i in range(theta.shape[0]):
        theta[i] -= c * g[i]


@kernel
def _momentum_step(theta: Array, g: Array, velocity: Array, rate: float, momentum: float) -> None:
    c, mu = g.dtype.type(rate), g.dtype.type(momentum)
    for i in range(theta.shape[0]):
        change = mu * velocity[i] - c * g[i]
        velocity[i] = change
        theta[i] += change


@kernel
def _nesterov_step(theta: Array, g: Array, velocity: Array, rate: float, momentum: float) -> None:
    c, mu = g.dtype.type(rate), g.dtype.type(momentum)
    for i in range(theta.shape[0]):
        change = mu * velocity[i] - c * g[i]
        velocity[i] = change
        theta[i] = (theta[i] - c * g[i]) + mu * change


@kernel
def _adam_step(
    theta: Array, g: Array, m: Array, v: Array, rate: float, beta_1: float, beta_2: float, epsilon: float
) -> None:
    real = theta.dtype.type
    a, b, c, small = real(1.0 - beta_1), real(1.0 - beta_2), real(rate), real(epsilon)
    for i in range(theta.shape[0]):
        mean = m[i] + a * (g[i] - m[i])
        square = v[i] + b * (g[i] * g[i] - v[i])
        m[i], v[i] = mean, square
        theta[i] -= c * (mean / (math.sqrt(square) + small))


@kernel
def _rmsprop_step(theta: Array, g: Array, v: Array, rate: float, rho: float, epsilon: float) -> None:
    real = theta.dtype.type
    b, c, small = real(1.0 - rho), real(rate), real(epsilon)
    for i in range(theta.shape[0]):
        square = v[i] + b * (g[i] * g[i] - v[i])
        v[i] = square
        theta[i] -= c * (g[i] / (math.sqrt(square) + small))


@kernel
def _adagrad_step(theta: Array, g: Array, v: Array, rate: float, epsilon: float) -> None:
    c, small = theta.dtype.type(rate), theta.dtype.type(epsilon)
    for i in range(theta.shape[0]):
        square = v[i] + g[i] * g[i]
        v[i] = square
        theta[i] -= c * (g[i] / (math.sqrt(square) + small))


@kernel
def _average_step(average: Array, theta: Array, decay: float) -> None:
    kept, new = theta.dtype.type(decay), theta.dtype.type(1.0 - decay)
    for i in range(theta.shape[0]):
        average[i] = kept * average[i] + new * theta[i]


# Dropout.


@kernel
def threefry_words(seed: int, layer: int, step: int, first: int, last: int, words: Array) -> None:
    """Of the counters (0, step), (1, step) …: the halves of x, then of y, one after the other; from first to last."""
    n = words.shape[0] // 4
    for place in range(first, last):
        x, y = _threefry(np.int64(place), np.int64(step), (np.int64(seed), np.int64(layer)))
        words[place], words[n + place] = x & 0xFFFF, x >> 16
        words[2 * n + place], words[3 * n + place] = y & 0xFFFF, y >> 16


def _uniform_bits(xp: Namespace, key: tuple[Any, Any], step: Any, n: int, device: Any) -> Array:
    if np.ndim(key[0]) or np.ndim(step):  # of a stack
        seeds, steps = np.broadcast_arrays(key[0], step)
        return np.stack(
            [_uniform_bits(xp, (s, key[1]), t, n, device) for s, t in zip(seeds.flat, steps.flat, strict=True)]
        )
    words = np.empty((n + 3) // 4 * 4, np.uint32)
    threefry_words(int(key[0]), int(key[1]), int(step), 0, len(words) // 4, words)
    return words[:n]


#: What `NumbaBackend` puts in the place of generic functions.
OVERRIDES: dict[Callable, Callable] = {
    **NumpyBackend.overrides,
    affine: _affine,
    relu: _relu,
    d_relu: _d_relu,
    logistic: _of_exponential(1.0, _over_one_plus),
    d_logistic: _of_exponential(1.0, _over_square),
    d_tanh: _of_exponential(2.0, _four_over_square),
    cross_entropy: _cross_entropy,
    binary_cross_entropy: _binary_cross_entropy,
    add_penalty_gradient: first_of(_update(_add_penalty_gradient, 2)),
    add_l1_gradient: first_of(_update(_add_l1_gradient, 2)),
    sgd_step: _update(_sgd_step, 2),
    momentum_step: _update(_momentum_step, 3),
    nesterov_step: _update(_nesterov_step, 3),
    adam_step: _update(_adam_step, 4),
    rmsprop_step: _update(_rmsprop_step, 3),
    adagrad_step: _update(_adagrad_step, 3),
    average_step: _update(_average_step, 2),
    uniform_bits: _uniform_bits,
}
