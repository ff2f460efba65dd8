"""Functions missing from the array API standard: erf, and |z|, max(z, 0), min(z, 0) for complex z.

A complex step z + ih, h = 1e-200, carries a derivative in its imaginary part. Here the real part alone chooses the
branch, as it does for real z, and the imaginary part follows; at Re z = 0 that is the left branch, as for every f′.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from xbackprop.arrays.backend import Array, Namespace

_TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)

# W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969) 631-637:
# erf(x) = x·P(x²)/Q(x²) for |x| ≤ 15/32, and erfc(x) = exp(-x²)·P(x)/Q(x) for 15/32 ≤ x ≤ 4. Highest power first.
_ERF_P = (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
          3.20937758913846947e3)  # fmt: skip
_ERF_Q = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_ERFC_P = (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
           2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
           1.23033935479799725e3)  # fmt: skip
_ERFC_Q = (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
           3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3)  # fmt: skip


def is_complex(xp: Namespace, z: Array) -> bool:
    """Return whether z has a complex dtype."""
    return _is_complex(xp, z.dtype)


@functools.cache
def _is_complex(xp: Namespace, dtype: Any) -> bool:
    return bool(xp.isdtype(dtype, "complex floating"))  # slow enough to be felt in every step of a small network


def real_part(xp: Namespace, z: Array) -> Array:
    """Return Re z; for a real array, z itself."""
    return xp.real(z) if is_complex(xp, z) else z


def absolute(xp: Namespace, z: Array) -> Array:
    """Return |z| for real z; for complex z, z where Re z > 0 and -z elsewhere."""
    return xp.where(xp.real(z) > 0, z, -z) if is_complex(xp, z) else xp.abs(z)


def positive_part(xp: Namespace, z: Array) -> Array:
    """Return max(z, 0); for complex z, z where Re z > 0 and 0 elsewhere."""
    return xp.where(xp.real(z) > 0, z, xp.zeros_like(z)) if is_complex(xp, z) else xp.maximum(z, 0.0)


def negative_part(xp: Namespace, z: Array) -> Array:
    """Return min(z, 0); for complex z, 0 where Re z > 0 and z elsewhere."""
    return xp.where(xp.real(z) > 0, xp.zeros_like(z), z) if is_complex(xp, z) else xp.minimum(z, 0.0)


def erf(xp: Namespace, x: Array) -> Array:
    """Compute the error function, erf(x) = 2/√π ∫₀ˣ exp(-t²) dt, elementwise.

    Uses the namespace's own ``erf`` if it has one, and otherwise Cody's rational approximations, within 1e-15 of the
    true value in float64. Beyond |x| = 4, where they were not fitted, exp(-x²) makes their error vanish. For complex
    x = a + ib the result is erf(a) + ib 2/√π exp(-a²), which is correct to first order in b, as complex steps need.
    """
    if is_complex(xp, x):
        a = xp.real(x)
        slope = _TWO_OVER_SQRT_PI * xp.exp(-a * a)
        return xp.astype(erf(xp, a), x.dtype) + 1j * xp.astype(xp.imag(x) * slope, x.dtype)
    own = getattr(xp, "erf", None)
    return erf_generic(xp, x) if own is None else own(x)


def erf_generic(xp: Namespace, x: Array) -> Array:
    """Compute `erf` with functions of the array API standard alone."""
    near = xp.minimum(xp.maximum(x, -0.46875), 0.46875)
    square = near * near
    inner = near * (_polynomial(_ERF_P, square) / _polynomial(_ERF_Q, square))

    far = xp.minimum(xp.abs(x), 6.0)  # erfc(6) = 2e-17
    outer = 1.0 - xp.exp(-far * far) * (_polynomial(_ERFC_P, far) / _polynomial(_ERFC_Q, far))
    return xp.where(xp.abs(x) <= 0.46875, inner, xp.sign(x) * outer)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """Evaluate a polynomial by Horner's rule, highest power first."""
    value = coefficients[0] * x + coefficients[1]
    for c in coefficients[2:]:
        value = value * x + c
    return value
