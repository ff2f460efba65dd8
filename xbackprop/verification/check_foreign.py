"""`check_torch`, `check_jax`, `check_scipy`: derivatives that people write for other libraries, by `check_gradient`.

The other library's function is seen from outside, as f and ∂f/∂θ of NumPy arrays in float64: f(θ) = Σ w ⊙ output for
random w, and the gradient that the library makes of the user's backward pass. Slopes are measured of f alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

import numpy as np

from xbackprop.validation import needed
from xbackprop.verification.check_gradient import check_at_point
from xbackprop.verification.point import Point
from xbackprop.verification.report.report import Report

#: By default: a complex step needs functions that take complex numbers, which these libraries' rarely do.
METHODS = ("differences", "taylor")


def check_torch(function: Any, *inputs: Any, parameters: bool = True, **options: Any) -> Report:
    """Check the backward pass of a ``torch.autograd.Function``, a module, or a function of tensors.

    >>> import torch, xbackprop
    >>> class Cube(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**3
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return 3 * x**2 * g
    >>> xbackprop.check_torch(Cube, torch.tensor([1.0, -2.0])).passed
    True

    Parameters
    ----------
    function : a class of `torch.autograd.Function`, whose `apply` is called; a `torch.nn.Module`, of which a copy in
        float64 is checked; or a function of tensors.
    inputs : its arguments. Derivatives by all tensors of real floating type are checked, in float64, which the report
        says where they were of another type; everything else is passed on.
    parameters : of a module, whether the derivatives by its parameters are checked too.
    options : as in `check_gradient`, except `vectorized` and `branches`.

    Raises
    ------
    ValueError : if there is no tensor to differentiate by. BackendError : without torch.
    """
    where = "check_torch"
    torch = needed(where, "torch")
    named: dict[str, Any] = {}
    call: Any = getattr(function, "apply", function) if isinstance(function, type) else function
    module = None
    if isinstance(function, torch.nn.Module):
        module = copy.deepcopy(function).double()
        named |= dict(function.named_parameters()) if parameters else {}
    numbers = {i: x for i, x in enumerate(inputs) if isinstance(x, torch.Tensor) and x.is_floating_point()}
    inside = _names(numbers)
    named |= {inside[i]: x for i, x in numbers.items()}
    devices = [x.device for x in named.values()]
    names = list(named)

    def outputs(*tensors: Any) -> Any:
        known = dict(zip(names, tensors, strict=True))
        given = [known[inside[i]] if i in inside else x for i, x in enumerate(inputs)]
        if module is None:
            return call(*given)
        mine = {name: known[name] for name in names[: len(names) - len(numbers)]}
        return torch.func.functional_call(module, mine, tuple(given))

    def tensors_of(arrays: Sequence[np.ndarray], grad: bool) -> list[Any]:
        made = [torch.tensor(a, dtype=torch.float64, device=d) for a, d in zip(arrays, devices, strict=True)]
        return [x.requires_grad_(grad) for x in made]

    def value(*arrays: np.ndarray) -> float:
        with torch.no_grad():
            return weighted(outputs(*tensors_of(arrays, False)))

    def gradient(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.enable_grad():
            tensors = tensors_of(arrays, True)
            found = torch.autograd.grad(total(outputs(*tensors)), tensors, allow_unused=True)
        return tuple(
            np.zeros_like(a) if g is None else g.detach().cpu().numpy() for a, g in zip(arrays, found, strict=True)
        )

    def total(result: Any) -> Any:
        parts = result if isinstance(result, tuple | list) else (result,)
        return sum((torch.as_tensor(w, device=x.device) * x).sum() for w, x in zip(_weights(parts), parts, strict=True))

    def weighted(result: Any) -> float:
        return float(total(result))

    theta = {name: x.detach().cpu().double().numpy() for name, x in named.items()}
    return _check(where, _named(function), value, gradient, theta, [str(x.dtype) for x in named.values()], options)


def check_jax(function: Callable[..., Any], *inputs: Any, **options: Any) -> Report:
    """Check a function with ``jax.custom_vjp`` or ``jax.custom_jvp``, or any other, against its own values.

    Parameters
    ----------
    function : a function of arrays, which returns an array or a tuple of arrays.
    inputs : its arguments. Derivatives by all arrays of real floating type are checked, in float64, for which JAX's
        64-bit types are switched on meanwhile; everything else is passed on.
    options : as in `check_gradient`, except `vectorized` and `branches`.

    Raises
    ------
    ValueError : if there is no array to differentiate by. BackendError : without JAX.
    """
    where = "check_jax"
    jax = needed(where, "jax")
    numbers = {
        i: np.asarray(x) for i, x in enumerate(inputs) if hasattr(x, "dtype") and np.issubdtype(x.dtype, np.floating)
    }
    names = _names(numbers)

    def total(*arrays: Any) -> Any:
        known = dict(zip(numbers, arrays, strict=True))
        result = function(*(known.get(i, x) for i, x in enumerate(inputs)))
        parts = result if isinstance(result, tuple | list) else (result,)
        return sum((w * x).sum() for w, x in zip(_weights(parts), parts, strict=True))

    def value(*arrays: np.ndarray) -> float:
        with _in_64_bits(jax):
            return float(total(*(jax.numpy.asarray(a) for a in arrays)))

    def gradient(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        with _in_64_bits(jax):
            found = jax.grad(total, argnums=tuple(range(len(arrays))))(*(jax.numpy.asarray(a) for a in arrays))
            return tuple(np.asarray(g, dtype=np.float64) for g in found)

    theta = {names[i]: x.astype(np.float64) for i, x in numbers.items()}
    return _check(where, _named(function), value, gradient, theta, [str(x.dtype) for x in numbers.values()], options)


def check_scipy(
    fun: Callable[..., Any], x0: Any, *, jac: Any = True, args: tuple[Any, ...] = (), **options: Any
) -> Report:
    """Check the derivative that ``scipy.optimize.minimize(fun, x0, args, jac=jac)`` would use.

    >>> import numpy as np, xbackprop
    >>> xbackprop.check_scipy(lambda x: (np.sum(x**4), 4 * x**3), np.array([1.0, 2.0])).passed
    True

    Parameters
    ----------
    fun : ``fun(x, *args)``, a number, or with ``jac=True`` the pair of it and its gradient.
    jac : True, or ``jac(x, *args)``. args : as in SciPy. options : as in `check_gradient`, except `vectorized`.
    """
    where = "check_scipy"
    if jac is not True and not callable(jac):
        raise ValueError(f"{where}: jac must be True, where fun returns its gradient too, or a function, got {jac!r}")
    x0 = np.asarray(x0, dtype=np.float64)

    def value(x: np.ndarray) -> Any:
        return fun(x, *args)[0] if jac is True else fun(x, *args)

    def gradient(x: np.ndarray) -> np.ndarray:
        return np.asarray(fun(x, *args)[1] if jac is True else jac(x, *args))

    return check_at_point(_named(fun), value, gradient, Point(where, "x0", x0), **options)


def _check(
    where: str,
    name: str,
    value: Callable[..., float],
    gradient: Callable[..., tuple[np.ndarray, ...]],
    theta: Mapping[str, np.ndarray],
    dtypes: Sequence[str],
    options: dict[str, Any],
) -> Report:
    if not theta:
        raise ValueError(f"{where}: there must be an input of real floating type to differentiate by, got none")
    for unknown in {"vectorized", "branches"} & set(options):
        raise ValueError(f"{where}: {unknown} is of check_gradient alone")
    options.setdefault("methods", METHODS)
    others = sorted({dtype.removeprefix("torch.") for dtype in dtypes} - {"float64"})
    described = f"{name}, in float64 where it was given {' and '.join(others)}" if others else name

    def by_name(**arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(arrays[key] for key in theta)

    def f(given: dict[str, np.ndarray]) -> float:
        return value(*by_name(**given))

    def grad(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(theta, gradient(*by_name(**given)), strict=True))

    return check_at_point(described, f, grad, Point(where, "inputs", dict(theta)), **options)


def _names(numbers: Collection[int]) -> dict[int, str]:
    """Return the names of the inputs with these places."""
    return {i: f"input {i}" if len(numbers) > 1 else "input" for i in numbers}


def _weights(parts: Sequence[Any]) -> list[np.ndarray]:
    """Return random weights w, the same at every call, so that a sum has no gradient that cancels."""
    rng = np.random.RandomState(0)
    return [rng.uniform(0.5, 1.5, tuple(x.shape)) for x in parts]


def _named(function: Any) -> str:
    return str(
        getattr(function, "__qualname__", None) or getattr(function, "__name__", None) or type(function).__name__
    )


def _in_64_bits(jax: Any) -> AbstractContextManager:
    if jax.config.jax_enable_x64:
        return nullcontext()
    home = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")
    return home.enable_x64(True)  # type: ignore[no-any-return]
