"""Helpers that the tests share: the backends under test, small problems, and conversions to NumPy."""

from __future__ import annotations

import os
from contextlib import contextmanager

import array_api_compat.numpy
import numpy as np
import pytest
from numpy.random import RandomState
from threadpoolctl import threadpool_info

from xbackprop.arrays.backend import Backend
from xbackprop.arrays.discovery import backend_class
from xbackprop.mlp.setting_table import TASKS
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.nn.losses import LOSSES
from xbackprop.nn.objective import Objective
from xbackprop.nn.parameters import Layout

BACKENDS = ("numpy", "numpy-readonly", "numba", "strict", "strict-device1", "torch", "jax", "cupy", "torch-cuda",
            "dpnp")  # fmt: skip
DTYPES = ("float32", "float64")


class ReadOnlyNumPy(Backend):
    """A backend that overrides nothing, on NumPy arrays that cannot be written to."""

    name = "numpy-readonly"

    def __init__(self):
        super().__init__(array_api_compat.numpy)

    def asarray(self, x, dtype=None):
        return _read_only(super().asarray(x, dtype))

    def copy(self, x):
        return _read_only(super().copy(x))


def _read_only(x):
    x = x.view()
    x.flags.writeable = False
    return x


def listed(variable: str) -> list[str]:
    """Return the backends named in an environment variable, separated by commas."""
    names = [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]
    unknown = set(names) - set(BACKENDS)
    assert not unknown, f"{variable}: unknown backends {sorted(unknown)}; expected some of {', '.join(BACKENDS)}"
    return names


def selected_backends() -> list[str]:
    """Return the backends to run the tests on: XBACKPROP_TEST_BACKENDS, or all of them."""
    return listed("XBACKPROP_TEST_BACKENDS") or list(BACKENDS)


def make_backend(name: str) -> Backend:
    """Return a backend by its name in the tests; without it, skip, or fail if XBACKPROP_REQUIRE names it."""
    try:
        return _make_backend(name)
    except pytest.skip.Exception as reason:
        if name in listed("XBACKPROP_REQUIRE"):
            pytest.fail(f"XBACKPROP_REQUIRE asks for {name}, but: {reason}")
        raise


def _make_backend(name: str) -> Backend:
    if name == "numpy":
        return backend_class("numpy")()
    if name == "numpy-readonly":
        return ReadOnlyNumPy()
    if name.startswith("strict"):
        strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
        return Backend(strict, strict.Device("device1") if name == "strict-device1" else None)
    if name == "dpnp":  # no backend of its own: any library of the standard
        dpnp = pytest.importorskip("dpnp", reason="dpnp is not installed")
        try:
            return Backend(dpnp)
        except Exception as error:  # dpctl's own, when it finds no SYCL device
            pytest.skip(f"dpnp has no device here: {error}")
    if name in ("jax", "numba"):
        pytest.importorskip(name, reason=f"{name} is not installed")
        return backend_class(name)()
    if name == "cupy":
        cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
        if not cupy.cuda.is_available():
            pytest.skip("CuPy finds no GPU")
        return backend_class("cupy")()
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.set_num_threads(1)  # on small nets, threads only wait for each other
    if name == "torch-cuda":
        if not torch.cuda.is_available():
            pytest.skip("torch finds no CUDA device")
        return backend_class("torch")(device="cuda")
    return backend_class("torch")(device="cpu")


def problem(task: str, n: int = 12, features: int = 4, outputs: int = 3, seed: int = 0):
    """Draw X and y for a network with `outputs` outputs: labels 0 … outputs-1, or as many targets."""
    rng = RandomState(seed)
    X = rng.standard_normal((n, features))
    y = rng.permutation(np.arange(n) % outputs) if task == "classification" else rng.standard_normal((n, outputs))
    return X, y


def make_objective(backend: Backend, sizes, activation: str = "tanh", task: str = "classification", alpha: float = 0.1):
    """Return C(θ) of a network with the same activation in every hidden layer."""
    hidden = (ACTIVATIONS[activation],) * (len(sizes) - 2)
    return Objective(backend, Layout(sizes), hidden, LOSSES[TASKS[task]], alpha)


def random_theta(objective, seed: int = 0, stack: tuple[int, ...] = (), scale: float = 0.5) -> np.ndarray:
    """Draw θ, with biases that are not zero."""
    return scale * RandomState(seed).standard_normal((*stack, objective.layout.n_parameters))


def one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    return np.eye(n_classes)[labels]


def relative(a, b) -> float:
    """Return ‖a - b‖ / max(‖a‖, ‖b‖), and zero for two zeros."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    assert a.shape == b.shape
    scale = max(np.linalg.norm(a), np.linalg.norm(b))
    return float(np.linalg.norm(a - b) / scale) if scale else 0.0


def least(backend, dtype: str = "float64") -> float:
    """Return the smallest positive number of a library: XLA, which JAX uses, takes subnormal numbers for zero."""
    finfo = np.finfo(dtype)
    half = backend.asarray(np.array([finfo.tiny / 2]), dtype) * 1.0
    return float(finfo.smallest_subnormal if backend.to_host(half)[0] else finfo.tiny)


def blas_threads() -> set[int]:
    """The threads of each BLAS that is loaded."""
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@contextmanager
def workers_of_a_step(number: int):
    """Let every compiled step be taken by so many workers, however small it is and however few cores there are."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("xbackprop_numba.backend.workers_for", lambda *_: number)
        yield


def weights_of(net) -> list[np.ndarray]:
    """Return W_1 … W_L, b_1 … b_L of an MLP, as NumPy arrays."""
    backend = net._model.objective.backend
    return [np.array(backend.to_host(a)) for a in (*net.coefs_, *net.intercepts_)]
