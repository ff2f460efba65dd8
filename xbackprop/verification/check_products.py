"""`check_jvp` and `check_vjp`: check hand-written products with a Jacobian by `check_gradient`.

Along random v_k and w_k, the slope of Σ_k ⟨w_k, f(x + t_k v_k)⟩ at t = 0 is ⟨w_k, J v_k⟩ = ⟨Jᵀ w_k, v_k⟩ in t_k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.arrays.discovery import backend_of
from xbackprop.verification.check_gradient import check_at_point
from xbackprop.verification.point import Point, float_array, on_host
from xbackprop.verification.report.report import Report

DRAWS = 12


def check_jvp(f: Callable[[Array], Array], jvp: Callable[[Array, Array], Array], x: Array, **options: Any) -> Report:
    """Compare a hand-written Jacobian-vector product ``jvp(x, v)`` = Jv, in the shape of f(x), with ``f``.

    >>> import numpy as np, xbackprop
    >>> xbackprop.check_jvp(np.sin, lambda x, v: np.cos(x) * v, np.array([0.5, 2.0])).passed
    True

    Parameters
    ----------
    f : the function of x, which returns an array of any shape.
    x : the point, an array of any library and shape, float64.
    options : as in `check_gradient`, except `vectorized`.

    Returns
    -------
    A `Report` over random pairs v, w; its one tensor holds ⟨w, Jv⟩ for each of them.

    Raises
    ------
    ValueError : if x is not of real floating type, or a product has another shape.
    """

    def slope(at: Array, v: Array, w: np.ndarray) -> float:
        return float(np.sum(_shaped("check_jvp: jvp(x, v)", jvp(at, v), w.shape) * w))

    return _check("check_jvp", f, slope, x, options)


def check_vjp(f: Callable[[Array], Array], vjp: Callable[[Array, Array], Array], x: Array, **options: Any) -> Report:
    """Compare a hand-written vector-Jacobian product ``vjp(x, w)`` = Jᵀw, in the shape of x, with ``f``.

    >>> import numpy as np, xbackprop
    >>> xbackprop.check_vjp(np.sin, lambda x, w: np.cos(x) * w, np.array([0.5, 2.0])).passed
    True

    Parameters, result and errors are those of `check_jvp`.
    """

    def slope(at: Array, v: Array, w: np.ndarray) -> float:
        home = backend_of(at)
        product = _shaped("check_vjp: vjp(x, w)", vjp(at, home.asarray(w)), tuple(at.shape))
        return float(np.sum(product * home.to_host(v)))

    return _check("check_vjp", f, slope, x, options)


def _check(
    where: str, f: Callable[[Array], Array], slope: Callable[[Array, Array, np.ndarray], float], x: Array, options: Any
) -> Report:
    home = backend_of(x).generic()
    xp = home.xp
    x = home.asarray(float_array(where, "x", home, x), "float64")
    shape = tuple(f(home.copy(x)).shape)
    rng = np.random.RandomState(options.get("seed", 0))
    vs = [home.asarray(rng.standard_normal(tuple(x.shape))) for _ in range(DRAWS)]
    ws = [rng.standard_normal(shape) for _ in range(DRAWS)]

    def term(at: Array, w: np.ndarray) -> complex:
        return complex(np.sum(_shaped(f"{where}: f(x)", f(at), shape) * w))

    still = [term(home.copy(x), w) for w in ws]

    def total(t: np.ndarray) -> complex:
        terms = still.copy()
        for k in np.flatnonzero(t):
            if np.iscomplexobj(t):
                at = xp.astype(x, xp.complex128) + complex(t[k]) * xp.astype(vs[k], xp.complex128)
            else:
                at = x + float(t[k]) * vs[k]
            terms[k] = term(at, ws[k])
        value = np.sum(terms)
        return complex(value) if np.iscomplexobj(t) else float(value.real)

    def slopes(t: np.ndarray) -> np.ndarray:
        return np.array([slope(home.copy(x), v, w) for v, w in zip(vs, ws, strict=True)])

    described = f"{getattr(f, '__qualname__', type(f).__name__)}, x {tuple(x.shape)}"
    return check_at_point(described, total, slopes, Point(where, "products", np.zeros(DRAWS)), **options)


def _shaped(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return `value` on the host; raise ValueError if it has another shape."""
    found = on_host(value)
    if found.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {found.shape}")
    return found
