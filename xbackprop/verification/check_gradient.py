"""`check_gradient`: check a user's hand-written gradient of a function f, on any array library."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from xbackprop import validation
from xbackprop.arrays.backend import Array
from xbackprop.arrays.special import is_complex
from xbackprop.arrays.threads import one_thread
from xbackprop.verification.claim import STACK_BYTES, CostAndBranches, GradientClaim, difference_noise, line
from xbackprop.verification.findings import Curves
from xbackprop.verification.methods import METHODS as RECORDS
from xbackprop.verification.point import Point, on_host
from xbackprop.verification.report.report import Report
from xbackprop.verification.run import make_header, make_run, measure_curves, run_each

METHODS = ("differences", "complex step", "taylor")
NOISE = 16.0  # the largest error of a gradient, in multiples of its own rounding noise


def check_gradient(
    f: Callable[..., Any],
    grad: Callable[..., Any],
    theta: Any,
    *,
    branches: Callable[..., Any] | None = None,
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
    grad : the function ``grad(theta)``, ∂f/∂θ in the form of θ.
    theta : the point: an array of any library and any shape, float64; or a tuple of arrays, with which f and grad are
        called as ``f(*theta)``; or a dict of arrays.
    branches : a function like f that returns on which side of each of its kinks θ lies, a boolean array or a list of
        them: ``lambda t: t > 0`` for a relu. Differences across a kink are then left out. Without it, a gradient at a
        kink is right if it lies between the slopes from the left and from the right.
    methods : names out of "differences", "complex step", "taylor". The complex step counts only if f takes complex θ
        and its slopes agree with differences; otherwise the report gives the reason.
    seed : the seed of random directions. memory : the bytes that a stack of moved θ may take.
    pictures : whether to measure the curves that a report draws.

    Returns
    -------
    A `Report`, which is true if it has passed: ``assert check_gradient(...)``. A wrong gradient is a FAIL in it and
    raises nothing. If f or grad give another result when called again, or θ is float32, the verdict is INCONCLUSIVE.
    Steps to where f is not finite, or raises an ArithmeticError or a ValueError, are left out.

    Raises
    ------
    ValueError : if θ is not of real floating type, f does not return a number, or the gradient has another form.
    """
    point = Point("check_gradient", "theta", theta)
    name = getattr(f, "__qualname__", type(f).__name__)
    shapes = ", ".join(f"{name} {shape}" for name, shape in zip(point.names, point.shapes, strict=True))
    return check_at_point(
        f"{name}, {shapes}",
        f,
        grad,
        point,
        branches=branches,
        vectorized=vectorized,
        methods=methods,
        seed=seed,
        memory=memory,
        pictures=pictures,
    )


def check_at_point(
    described: str,
    f: Callable[..., Any],
    grad: Callable[..., Any],
    point: Point,
    *,
    branches: Callable[..., Any] | None = None,
    vectorized: bool = False,
    methods: Iterable[str] = METHODS,
    seed: int = 0,
    memory: int = STACK_BYTES,
    pictures: bool = True,
) -> Report:
    """Do what `check_gradient` does, at a `Point`; `described` is how the report names the function."""
    where, backend, theta = point.where, point.backend, point.theta
    began = time.perf_counter()
    asked = [
        validation.one_of(where, "methods", m, METHODS) for m in ([methods] if isinstance(methods, str) else methods)
    ]

    def gradient_at(theta: Array) -> np.ndarray:
        return point.join(point.call(grad, theta))

    # NaN and infinity are part of the result; no warning is needed.
    with backend.device_context(), one_thread(), np.errstate(all="ignore"):
        gradient, doubt = gradient_at(theta), point.doubt
        first = _finite_number(point, f, vectorized)
        claim = GradientClaim(
            backend,
            _cost(point, f, branches, vectorized),
            theta,
            gradient,
            point.tensors,
            seed=seed,
            memory=memory,
            black_box=True,
        )
        if first != claim.at_theta[0]:
            doubt = f"f is not deterministic: it gave {first!r} and then {claim.at_theta[0]!r} at the same theta"
        elif not np.array_equal(gradient, gradient_at(theta), equal_nan=True):
            doubt = "grad is not deterministic: it gave another gradient at the same theta"
        if "complex step" in asked:
            steps, direction = line(backend.to_host(theta))
            nearby = [gradient_at(backend.asarray(backend.to_host(theta) + h * direction)) for h in steps[:10]]
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
    return Report(make_header({"function": described}, seed), [run])


def _finite_number(point: Point, f: Callable, vectorized: bool) -> float:
    """Return f(θ); ValueError if it is not finite, or if f takes the dtype of θ and not the float64 of a check."""
    theta = point.theta[None, :] if vectorized else point.theta
    try:
        value = point.call(f, theta)
    except Exception as error:
        if not point.doubt:
            raise
        raise ValueError(
            f"{point.where}: {point.doubt}, but f raises {type(error).__name__} at theta in float64: {error}; let f "
            f"work in float64 (a torch module: module.double())"
        ) from error
    first = float(_number(point, value))
    if not np.isfinite(first):
        raise ValueError(f"{point.where}: f(theta) must be finite, got {first}")
    return first


def _number(point: Point, value: Any) -> Any:
    found = on_host(value)
    if found.size != 1:
        raise ValueError(f"{point.where}: f(theta) must be one number, got shape {found.shape}")
    return found.reshape(())[()]


def _cost(point: Point, f: Callable, branches: Callable | None, vectorized: bool) -> CostAndBranches:
    """Return the function of stacked θ (S, P) that gives the costs (S,), and the branches if the user declares them."""
    backend, xp = point.backend, point.backend.xp

    def number(theta: Array) -> Any:
        try:
            return _number(point, point.call(f, theta))
        except (ArithmeticError, ValueError):  # math.log outside its domain raises
            if is_complex(xp, theta):
                raise
            return float("nan")

    def sides(theta: Array) -> list[np.ndarray]:
        found = point.call(branches, theta)  # type: ignore[arg-type]
        return [on_host(side) for side in (found if isinstance(found, (list, tuple)) else [found])]

    def cost_and_branches(stack: Array) -> tuple[Array, list[Array]]:
        apart = [stack[i, ...] for i in range(stack.shape[0])]
        declared: list[Array] = []
        if branches is not None and not is_complex(xp, stack):
            each = sides(stack) if vectorized else [np.stack(s) for s in zip(*map(sides, apart), strict=True)]
            declared = [backend.asarray(np.reshape(side, (len(apart), -1))) for side in each]
        if not vectorized:
            return backend.asarray(np.asarray([number(theta) for theta in apart])), declared
        costs = point.call(f, stack)
        if tuple(costs.shape) != (len(apart),):
            raise ValueError(
                f"{point.where}: f of {len(apart)} stacked theta must have shape ({len(apart)},), got "
                f"{tuple(costs.shape)}; is it vectorized?"
            )
        return costs, declared

    return cost_and_branches
