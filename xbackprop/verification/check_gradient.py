"""`check_gradient`: check a user's hand-written gradient of a function f of one θ, on any array library."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from xbackprop import validation
from xbackprop.arrays.backend import Array, Backend
from xbackprop.arrays.discovery import backend_of
from xbackprop.arrays.threads import one_thread
from xbackprop.verification.claim import STACK_BYTES, CostAndBranches, GradientClaim, difference_noise, line
from xbackprop.verification.findings import Curves
from xbackprop.verification.methods import METHODS as RECORDS
from xbackprop.verification.report.report import Report
from xbackprop.verification.run import make_header, make_run, measure_curves, run_each

METHODS = ("differences", "complex step", "taylor")
NOISE = 16.0  # the largest error of a gradient, in multiples of its own rounding noise


def check_gradient(
    f: Callable[[Array], Any],
    grad: Callable[[Array], Array],
    theta: Array,
    *,
    vectorized: bool = False,
    methods: Iterable[str] = METHODS,
    seed: int = 0,
    memory: int = STACK_BYTES,
    pictures: bool = True,
) -> Report:
    """Compare a hand-written gradient with values that are computed from the function alone.

    >>> import numpy as np, xbackprop
    >>> xbackprop.check_gradient(lambda x: np.sum(x**3), lambda x: 3 * x**2, np.array([1.0, 2.0])).passed
    True

    Parameters
    ----------
    f : the function ``f(theta)``, a number; with `vectorized`, (S,) numbers for S stacked θ of shape (S, ...).
    grad : the function ``grad(theta)``, ∂f/∂θ in the shape of θ.
    theta : the point, an array of any library and any shape, float64.
    methods : names out of "differences", "complex step", "taylor". The complex step counts only if f takes complex θ
        and its slopes agree with differences; otherwise the report gives the reason.
    seed : the seed of random directions. memory : the bytes that a stack of moved θ may take.

    Returns
    -------
    A `Report`. A wrong gradient is a FAIL in it and raises nothing. If f or grad give another result when called again,
    or θ is float32, the verdict is INCONCLUSIVE.

    Raises
    ------
    ValueError : if θ is not of real floating type, f does not return a number, or the gradient has another shape.
    """
    where = "check_gradient"
    began = time.perf_counter()
    asked = [
        validation.one_of(where, "methods", m, METHODS) for m in ([methods] if isinstance(methods, str) else methods)
    ]
    backend = backend_of(theta).generic()
    theta = float_array(where, "theta", backend, theta)
    shape = tuple(theta.shape)
    doubt = ""
    if str(theta.dtype).split(".")[-1] != "float64":
        doubt = f"theta is {theta.dtype}: differences need float64"
        theta = backend.asarray(theta, "float64")

    def gradient_at(flat: Array) -> np.ndarray:
        g = grad(backend.copy(backend.xp.reshape(flat, shape)))
        found = np.asarray(backend_of(g).to_host(g))
        if found.shape != shape:
            raise ValueError(f"{where}: grad(theta) must have shape {shape}, got {found.shape}")
        if found.dtype.kind not in "fiu":
            raise ValueError(f"{where}: grad(theta) must be real numbers, got {found.dtype}")
        return found.astype(np.float64).ravel()

    flat = backend.xp.reshape(theta, (-1,))
    gradient = gradient_at(flat)
    claim = GradientClaim(
        backend,
        _cost(where, backend, f, shape, vectorized),
        flat,
        gradient,
        {"theta": (slice(0, len(gradient)), shape)},
        seed=seed,
        memory=memory,
    )
    first, second = claim.at_theta[0], float(backend.to_host(claim.cost_and_branches(flat[None, :])[0])[0])
    if not np.isfinite(first):
        raise ValueError(f"{where}: f(theta) must be finite, got {first}")
    if first != second:
        doubt = f"f is not deterministic: it gave {first!r} and then {second!r} at the same theta"
    elif not np.array_equal(gradient, gradient_at(flat), equal_nan=True):
        doubt = "grad is not deterministic: it gave another gradient at the same theta"
    with (
        one_thread(),
        np.errstate(all="ignore"),
    ):  # NaN and infinity are part of the result; no warning is needed
        if "complex step" in asked:
            steps, direction = line(backend.to_host(flat))
            nearby = [gradient_at(backend.asarray(backend.to_host(flat) + h * direction)) for h in steps[:10]]
            claim = replace(claim, allowance=NOISE * difference_noise(np.stack(nearby)))
        results, notes = run_each([RECORDS[name] for name in METHODS], asked, claim)
        curves = measure_curves(claim, results) if pictures and not doubt else Curves()
    run = make_run(
        claim,
        results,
        place={
            "backend": backend.library,
            "version": backend.version,
            "device": str(backend.device or "cpu"),
            "dtype": "float64",
            "point": "given",
        },
        notes=notes,
        curves=curves,
        seconds=time.perf_counter() - began,
        doubt=doubt,
    )
    name = getattr(f, "__qualname__", type(f).__name__)
    return Report(make_header({"function": f"{name}, theta {shape}"}, seed), [run])


def float_array(where: str, name: str, home: Backend, x: Any) -> Array:
    """Return `x` as an array if it is of real floating type, not empty and finite; raise ValueError otherwise."""
    array = home.asarray(np.asarray(x) if home.library == "numpy" else x)
    if not home.xp.isdtype(array.dtype, "real floating"):
        raise ValueError(f"{where}: {name} must be an array of real floating type, got {array.dtype}")
    if array.ndim and 0 in array.shape:
        raise ValueError(f"{where}: {name} must have elements, got shape {tuple(array.shape)}")
    if not bool(home.xp.all(home.xp.isfinite(array))):
        raise ValueError(f"{where}: {name} must be finite")
    return array


def _cost(where: str, backend: Backend, f: Callable, shape: tuple[int, ...], vectorized: bool) -> CostAndBranches:
    """Return a function of stacked θ (S, P) that calls f for each of them, and gives costs (S,) and no branches."""
    xp = backend.xp

    def number(value: Any) -> Any:
        found = np.asarray(backend_of(value).to_host(value))
        if found.size != 1:
            raise ValueError(f"{where}: f(theta) must be one number, got shape {found.shape}")
        return found.reshape(())[()]

    def cost_and_branches(stack: Array) -> tuple[Array, list[Array]]:
        points = xp.reshape(stack, (stack.shape[0], *shape))
        if not vectorized:
            each = [number(f(backend.copy(points[i, ...]))) for i in range(stack.shape[0])]
            return backend.asarray(np.asarray(each)), []
        costs = f(backend.copy(points))
        if tuple(costs.shape) != (stack.shape[0],):
            raise ValueError(f"{where}: f of {stack.shape[0]} stacked theta must have shape ({stack.shape[0]},), "
                             f"got {tuple(costs.shape)}; is it vectorized?")  # fmt: skip
        return costs, []

    return cost_and_branches
