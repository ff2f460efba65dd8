"""NumPy on the host, with passes that write into reused buffers and updates that run block by block."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import array_api_compat.numpy
import numpy as np

from xbackprop.arrays.backend import Array, Backend, Namespace
from xbackprop.arrays.threads import CORES
from xbackprop.data.batches import take_rows
from xbackprop.errors import BackendError
from xbackprop.nn.activations import d_relu, relu
from xbackprop.nn.backprop import affine, bias_gradient, hidden_delta, weight_gradient
from xbackprop.nn.dropout import threefry, uniform_bits
from xbackprop.nn.losses import binary_cross_entropy, cross_entropy, squared_error
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

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # joblib sets them for its workers, others by hand
    if os.environ.get(_variable, "").isdigit():
        CORES = max(1, min(CORES, int(os.environ[_variable])))
# An update runs over its arrays block by block, so that all its passes over a block find it in the cache.
BLOCK_BYTES = 2**19
# Elements from which on an update is shared among threads; below it they wait for each other more than they gain.
THREADED_SIZE = 2**21

# Multiplications in the forward pass of a stack up to which it is faster than one network after the other: at 2.4e6
# 3.3 times (32 of 64-32-10, 32 rows), at 1e7 1.2 to 1.5 times, at 5e7 0.85 (32 of 64-100-10, 200 rows).
STACKED_PRODUCTS = 1e7


def _take_rows(xp: Namespace, x: Array, rows: Array) -> Array:
    return x.take(rows, 0)


def _d_relu(xp: Namespace, z: Array, h: Array) -> Array:
    return np.greater(z, 0.0).astype(z.dtype)


def _relu(xp: Namespace, z: Array, out: Array | None = None) -> Array:
    return np.maximum(z, _zeros(z), out=out)


def _affine(xp: Namespace, h: Array, W: Array, b: Array, out: Array | None = None) -> Array:
    z = np.matmul(h, W, out=out)
    z += b
    return z


def _weight_gradient(xp: Namespace, h: Array, delta: Array, out: Array | None = None) -> Array:
    return np.matmul(h.mT, delta, out=out)


def _bias_gradient(xp: Namespace, delta: Array, out: Array | None = None) -> Array:
    return np.matmul(
        _row(1.0, delta.shape[-2], delta.dtype)[None, :], delta, out=out
    )  # BLAS sums columns faster than np.sum


def _hidden_delta(xp: Namespace, delta: Array, W: Array, slope: Array, out: Array | None = None) -> Array:
    if delta.shape[-1] == 1:  # an outer product, for which BLAS takes five times as long
        result = np.multiply(delta, W.mT, out=out)
    else:  # a narrow W is worth a copy: BLAS likes rows
        result = np.matmul(delta, np.ascontiguousarray(W.mT) if W.shape[-1] <= 64 else W.mT, out=out)
    result *= slope
    return result


def _cross_entropy(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    log_h = z - _row_max(z)
    h = np.exp(log_h)
    total = np.matmul(h, _row(1.0, h.shape[-1], h.dtype)[:, None])
    log_h -= np.log(total)
    h /= total
    h -= y
    h *= share
    if isinstance(share, float) and z.ndim == 2:  # Σ y log h is a dot product, one pass for three
        return -share * np.vdot(y, log_h), h
    log_h *= y
    log_h *= share
    return -np.add.reduce(log_h, axis=(-2, -1)), h


def _binary_cross_entropy(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    e = np.copysign(z, -1.0)  # -|z|
    np.exp(e, out=e)
    costs = np.log1p(e)
    costs += np.maximum(z, _zeros(z))
    far = e / (1.0 + e)
    delta = np.where(z > 0, (1.0 - y) - far, far - y)
    delta *= share
    if isinstance(share, float) and z.ndim == 2:
        return share * (np.add.reduce(costs, axis=None) - np.vdot(y, z)), delta
    costs -= y * z
    costs *= share
    return np.add.reduce(costs, axis=(-2, -1)), delta


def _squared_error(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    if not isinstance(share, float) or z.ndim != 2:
        return squared_error(xp, z, y, share)
    residual = z - y
    cost = 0.5 * share * np.vdot(residual, residual)
    residual *= share
    return cost, residual


def _row_max(z: Array) -> Array:
    """Take the max over the last axis; of short rows by columns of the transpose, where NumPy's loops are long."""
    if z.ndim == 2 and z.shape[1] <= 64:
        return np.maximum.reduce(np.ascontiguousarray(z.T), axis=0)[:, None]
    return np.maximum.reduce(z, axis=-1, keepdims=True)


def _zeros(z: Array) -> Array:
    """Return zeros to compare z with: a scalar takes four times as long as zeros of its shape, a short row twice."""
    if z.shape[-1] <= 256 and z.nbytes <= BLOCK_BYTES:
        return _row(0.0, BLOCK_BYTES // z.itemsize, z.dtype)[: z.size].reshape(z.shape)
    return _row(0.0, z.shape[-1], z.dtype)


@functools.cache
def _row(value: float, n: int, dtype: np.dtype) -> Array:
    """Return a read-only array (n,) of one value."""
    row = np.full(n, value, dtype)
    row.flags.writeable = False
    return row


def _add_penalty_gradient(work: Array, g: Array, w: Array, rate: Array | float) -> None:
    np.multiply(w, rate, out=work)
    g += work


def _add_l1_gradient(work: Array, g: Array, w: Array, rate: Array | float) -> None:
    np.sign(w, out=work)
    work *= rate
    g += work


# Optimizer steps in place, with one array to work in; `_in_blocks` gives them the signature of the generic ones.


def _sgd_step(work: Array, theta: Array, g: Array, rate: float) -> None:
    np.multiply(g, rate, out=work)
    theta -= work


def _momentum_step(work: Array, theta: Array, g: Array, velocity: Array, rate: float, momentum: float) -> None:
    np.multiply(g, rate, out=work)
    velocity *= momentum
    velocity -= work
    theta += velocity


def _nesterov_step(work: Array, theta: Array, g: Array, velocity: Array, rate: float, momentum: float) -> None:
    np.multiply(g, rate, out=work)
    velocity *= momentum
    velocity -= work
    theta -= work
    np.multiply(velocity, momentum, out=work)
    theta += work


def _adam_step(
    work: Array, theta: Array, g: Array, m: Array, v: Array, rate: float, beta_1: float, beta_2: float, epsilon: float
) -> None:
    np.subtract(g, m, out=work)  # m += (1-β₁)(g - m)
    work *= 1.0 - beta_1
    m += work
    np.multiply(g, g, out=work)  # v += (1-β₂)(g² - v)
    work -= v
    work *= 1.0 - beta_2
    v += work
    np.sqrt(v, out=work)
    work += epsilon
    np.divide(m, work, out=work)
    work *= rate
    theta -= work


def _rmsprop_step(work: Array, theta: Array, g: Array, v: Array, rate: float, rho: float, epsilon: float) -> None:
    np.multiply(g, g, out=work)  # v += (1-ρ)(g² - v)
    work -= v
    work *= 1.0 - rho
    v += work
    _scaled_by_root(work, theta, g, v, rate, epsilon)


def _adagrad_step(work: Array, theta: Array, g: Array, v: Array, rate: float, epsilon: float) -> None:
    np.multiply(g, g, out=work)
    v += work
    _scaled_by_root(work, theta, g, v, rate, epsilon)


def _scaled_by_root(work: Array, theta: Array, g: Array, v: Array, rate: float, epsilon: float) -> None:
    np.sqrt(v, out=work)
    work += epsilon
    np.divide(g, work, out=work)
    work *= rate
    theta -= work


def _average_step(work: Array, average: Array, theta: Array, decay: float) -> None:
    np.multiply(theta, 1.0 - decay, out=work)
    average *= decay
    average += work


def _uniform_bits(xp: Namespace, key: tuple[Any, Any], step: Any, n: int, device: Any) -> Array:
    """Draw in unsigned words of 32 bits, which wrap by themselves and are half as wide."""
    x = np.arange((n + 3) // 4, dtype=np.uint32)
    y, seed, layer = (np.asarray(number, np.uint32) for number in (step, *key))
    with np.errstate(over="ignore"):
        x, y = threefry(x, y + np.zeros_like(x), (seed, layer))
    return np.concatenate([a for w in (x, y) for a in (w & 0xFFFF, w >> 16)], axis=-1)[..., :n]


def _in_blocks(step: Callable[..., None], n_arrays: int) -> Callable[..., list[Array]]:
    """Return a function that calls `step`, whose first `n_arrays` arguments after `work` are arrays, block by block.

    Large updates are divided among all cores.
    """

    def blocked(xp: Namespace, *arguments: Any) -> list[Array]:
        arrays, constants = arguments[:n_arrays], arguments[n_arrays:]
        size, block = arrays[0].size, BLOCK_BYTES // arrays[0].itemsize
        if size <= block:
            step(_work(size, arrays[0].dtype)[:size].reshape(arrays[0].shape), *arrays, *constants)
            return [arrays[0], *arrays[2:]]
        if arrays[0].ndim > 1:
            return one_by_one(blocked, n_arrays, xp, *arguments)

        def run(first: int, last: int) -> None:
            work = _work(min(block, last - first), arrays[0].dtype)
            for start in range(first, last, block):
                views = [a[start : min(start + block, last)] for a in arrays]
                step(work[: views[0].shape[0]], *views, *constants)

        def run_in_thread(first: int, last: int) -> None:
            with np.errstate(all="ignore"):  # a thread does not inherit device_context()
                run(first, last)

        n_threads = thread_limit()
        if size < THREADED_SIZE or n_threads == 1:
            run(0, size)
        else:
            edges = [size * i // n_threads for i in range(n_threads + 1)]
            list(_threads().map(run_in_thread, edges[:-1], edges[1:]))
        return [arrays[0], *arrays[2:]]

    return blocked


def one_by_one(update: Callable, n_arrays: int, xp: Namespace, *arguments: Any) -> list[Array]:
    """Update the networks of a stack, whose constants may be columns (k, 1), one after the other."""
    arrays, constants = arguments[:n_arrays], arguments[n_arrays:]
    for i in range(len(arrays[0])):
        update(xp, *(a[i] for a in arrays), *(c[i, 0] if np.ndim(c) else c for c in constants))
    return [arrays[0], *arrays[2:]]


def first_of(blocked: Callable[..., list[Array]]) -> Callable[..., Array]:
    """Return a function that returns the first array of `blocked` alone."""
    return lambda *arguments: blocked(*arguments)[0]


class _Scratch(threading.local):
    """A thread's own scratch memory, kept from call to call: fresh memory costs a page fault every 4 KiB."""

    def __init__(self) -> None:
        self.kept: dict[np.dtype, Array] = {}


_scratch = _Scratch()


def _work(n: int, dtype: np.dtype) -> Array:
    kept = _scratch.kept.get(dtype)
    if kept is None or kept.shape[0] < n:
        kept = _scratch.kept[dtype] = np.empty(n, dtype)
    return kept


_limit: ContextVar[int] = ContextVar("threads of an update", default=CORES)


def thread_limit() -> int:
    """Return how many threads work on NumPy's arrays may take here."""
    return min(CORES, _limit.get())


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(CORES, thread_name_prefix="xbackprop")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads, and would wait for them for ever
    os.register_at_fork(after_in_child=_threads.cache_clear)


class NumpyBackend(Backend):
    """NumPy on the host."""

    name = "numpy"
    reuses_buffers = True
    prediction_chunk = 2**17
    overrides: ClassVar = {
        take_rows: _take_rows,
        relu: _relu,
        d_relu: _d_relu,
        affine: _affine,
        weight_gradient: _weight_gradient,
        bias_gradient: _bias_gradient,
        hidden_delta: _hidden_delta,
        add_penalty_gradient: first_of(_in_blocks(_add_penalty_gradient, 2)),
        add_l1_gradient: first_of(_in_blocks(_add_l1_gradient, 2)),
        uniform_bits: _uniform_bits,
        cross_entropy: _cross_entropy,
        binary_cross_entropy: _binary_cross_entropy,
        squared_error: _squared_error,
        sgd_step: _in_blocks(_sgd_step, 2),
        momentum_step: _in_blocks(_momentum_step, 3),
        nesterov_step: _in_blocks(_nesterov_step, 3),
        adam_step: _in_blocks(_adam_step, 4),
        rmsprop_step: _in_blocks(_rmsprop_step, 3),
        adagrad_step: _in_blocks(_adagrad_step, 3),
        average_step: _in_blocks(_average_step, 2),
    }

    def __init__(self, device: Any = None) -> None:
        if device not in (None, "cpu"):
            raise BackendError(f"device: NumPy has no device but 'cpu', got {device!r}")
        super().__init__(array_api_compat.numpy)

    def together(self, products: float) -> tuple[str, int]:
        """Return "processes", and stacks as long as a step is bound by calls."""
        return "processes", max(1, int(STACKED_PRODUCTS / products))

    @contextmanager
    def threads(self, n: int) -> Iterator[None]:
        """Limit the threads of BLAS and of large updates."""
        before = _limit.set(n)
        try:
            with super().threads(n):
                yield
        finally:
            _limit.reset(before)

    def read(self, numbers: list[Array]) -> np.ndarray:
        """Return the numbers as one array, without stacking them first."""
        return np.array(numbers, dtype=np.float64)

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """Return `x` as an array in the machine's byte order; it shares memory with `x` if it can."""
        x = np.asarray(x, dtype)
        return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))

    def to_host(self, x: Array) -> np.ndarray:
        """Return `x` itself."""
        return np.asarray(x)
