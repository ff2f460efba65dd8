"""NumPy: the host."""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy
import numpy as np

from xbackprop.backend import Array, Backend, Namespace
from xbackprop.errors import BackendError
from xbackprop.network import affine, bias_gradient, hidden_delta, weight_gradient
from xbackprop.objective import add_penalty_gradient
from xbackprop.optimizers import adam_step, momentum_step, nesterov_step, sgd_step

BLOCK = 8192  # elements; a block of every array of an update stays in the cache until the update is done with it


def _affine(xp: Namespace, h: Array, W: Array, b: Array, out: Array | None = None) -> Array:
    z = np.matmul(h, W, out=out)
    z += b
    return z


def _weight_gradient(xp: Namespace, h: Array, delta: Array, out: Array | None = None) -> Array:
    return np.matmul(h.mT, delta, out=out)


def _bias_gradient(xp: Namespace, delta: Array, out: Array | None = None) -> Array:
    return np.sum(delta, axis=-2, keepdims=True, out=out)


def _hidden_delta(xp: Namespace, delta: Array, W: Array, slope: Array, out: Array | None = None) -> Array:
    result = np.matmul(delta, W.mT, out=out)
    result *= slope
    return result


def _add_penalty_gradient(xp: Namespace, dW: Array, W: Array, rate: Array | float) -> Array:
    dW += rate * W
    return dW


def _in_blocks(step):  # type: ignore[no-untyped-def]
    """The same step, block by block and in place: all its passes over a block find it in the cache."""

    def blocked(xp, theta, g, *rest):  # type: ignore[no-untyped-def]
        n_moments = sum(isinstance(r, np.ndarray) for r in rest)
        arrays, constants = (theta, *rest[:n_moments]), rest[n_moments:]
        for start in range(0, theta.shape[0], BLOCK):
            block = slice(start, start + BLOCK)
            values = step(np, theta[block], g[block], *(a[block] for a in arrays[1:]), *constants)
            for array, value in zip(arrays, values, strict=True):
                array[block] = value
        return arrays

    return blocked


class NumpyBackend(Backend):
    """NumPy on the host."""

    name = "numpy"
    reuses_buffers = True
    overrides = {
        affine: _affine,
        weight_gradient: _weight_gradient,
        bias_gradient: _bias_gradient,
        hidden_delta: _hidden_delta,
        add_penalty_gradient: _add_penalty_gradient,
        **{step: _in_blocks(step) for step in (sgd_step, momentum_step, nesterov_step, adam_step)},
    }

    def __init__(self, device: Any = None) -> None:
        if device not in (None, "cpu"):
            raise BackendError(f"device: NumPy has no device but 'cpu', got {device!r}")
        super().__init__(array_api_compat.numpy)

    def to_host(self, x: Array) -> np.ndarray:
        """`x` itself."""
        return np.asarray(x)
