"""Activation functions: f, f′ and f″ side by side, ``f(xp, z)``, ``df(xp, z, h)`` and ``d2f(xp, z, h)``, h = f(z).

The derivatives are written so that they keep their relative accuracy where the function saturates: σ′(z) is
e/(1+e)² with e = exp(-|z|), and not h(1-h), which has lost every digit at z = 37. All carry complex z, for complex
steps; f″ serves Hessian-vector products.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from xbackprop.arrays.backend import Array, Namespace
from xbackprop.arrays.special import absolute, erf, is_complex, negative_part, positive_part, real_part

LEAKY_SLOPE = 0.01
SELU_SCALE, SELU_ALPHA = (
    1.0507009873554805,
    1.6732632423543772,
)  # λ, α: with them activations tend to mean 0, variance 1
_SELU_LEFT = SELU_SCALE * SELU_ALPHA
_SQRT_HALF = math.sqrt(0.5)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class Activation:
    """An activation function for hidden layers, with its derivatives. Pass one as ``activation=`` to `MLP`.

    Parameters
    ----------
    f : ``f(xp, z) -> h``, elementwise on arrays of any shape.
    df : ``df(xp, z, h) -> f′(z)``, elementwise, in the dtype of z.
    name : its name in messages and model files.
    kinks : the points z where f′ jumps, at which df gives the value from the left. Gradient checks take no difference
        across them.
    init : name of the initializer that suits it, used by ``init="auto"``.
    d2f : ``d2f(xp, z, h) -> f″(z)``, from the left at a kink. Only Hessian-vector products need it.
    corners : the points z where f′ is continuous but f″ jumps. Adaptive differences, which assume that f″ is smooth, do
        not cross these either.
    in_place : whether f takes a third argument, an array, such as z itself, that it may write h into; f′ and f″ must
        then be the same at h as at z.

    Examples
    --------
    >>> import xbackprop
    >>> softsign = xbackprop.Activation(
    ...     f=lambda xp, z: z / (1 + xp.abs(z)), df=lambda xp, z, h: 1 / (1 + xp.abs(z)) ** 2, name="softsign"
    ... )
    >>> net = xbackprop.MLP((10,), activation=softsign)
    """

    f: Callable[[Namespace, Array], Array]
    df: Callable[[Namespace, Array, Array], Array]
    name: str = "custom"
    kinks: tuple[float, ...] = ()
    init: str = "glorot_uniform"
    d2f: Callable[[Namespace, Array, Array], Array] | None = None
    corners: tuple[float, ...] = ()
    in_place: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy a row of `ACTIVATIONS` by its name, so that the copy is that same row."""
        if ACTIVATIONS.get(self.name) is self:
            return _row_of, (self.name,)
        return type(self), tuple(getattr(self, f.name) for f in fields(self))


def _step(xp: Namespace, z: Array) -> Array:
    """Return 1 where z > 0, else 0, in the dtype of z: integers would turn a float32 network into a float64 one."""
    return xp.astype(real_part(xp, z) > 0, z.dtype)


def identity(xp: Namespace, z: Array) -> Array:
    """h = z."""
    return z


def d_identity(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = 1."""
    return xp.ones_like(z)


def zero(xp: Namespace, z: Array, h: Array) -> Array:
    """f″(z) = 0, for piecewise linear f."""
    return xp.zeros_like(z)


def relu(xp: Namespace, z: Array, out: Array | None = None) -> Array:
    """h = max(z, 0). Nair and Hinton, 2010."""
    return positive_part(xp, z)


def d_relu(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = 1 for z > 0, else 0; f′(0) = 0, as in torch."""
    return _step(xp, z)


def leaky_relu(xp: Namespace, z: Array) -> Array:
    """h = max(z, 0.01 z). Maas, Hannun and Ng, 2013."""
    if is_complex(xp, z):
        return positive_part(xp, z) + LEAKY_SLOPE * negative_part(xp, z)
    return xp.maximum(z, LEAKY_SLOPE * z)


def d_leaky_relu(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = 1 for z > 0, else 0.01; f′(0) = 0.01, as in torch."""
    step = _step(xp, z)
    return step + LEAKY_SLOPE * (1.0 - step)


def tanh(xp: Namespace, z: Array) -> Array:
    """h = tanh z."""
    return xp.tanh(z)


def d_tanh(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = 1 - tanh² z = 4e/(1+e)², e = exp(-2|z|)."""
    e = xp.exp(-2.0 * absolute(xp, z))
    return 4.0 * e / ((1.0 + e) * (1.0 + e))


def d2_tanh(xp: Namespace, z: Array, h: Array) -> Array:
    """f″(z) = -2 tanh z f′(z)."""
    return -2.0 * h * d_tanh(xp, z, h)


def logistic(xp: Namespace, z: Array) -> Array:
    """h = σ(z) = 1/(1 + exp(-z)), without overflow for large -z."""
    e = xp.exp(-absolute(xp, z))
    return xp.where(real_part(xp, z) > 0, xp.ones_like(z), e) / (1.0 + e)


def d_logistic(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = σ(z) σ(-z) = e/(1+e)², e = exp(-|z|)."""
    e = xp.exp(-absolute(xp, z))
    return e / ((1.0 + e) * (1.0 + e))


def d2_logistic(xp: Namespace, z: Array, h: Array) -> Array:
    """f″(z) = σ′(z) (1 - 2σ(z)) = -σ′(z) tanh(z/2)."""
    return -d_logistic(xp, z, h) * xp.tanh(0.5 * z)


def softplus(xp: Namespace, z: Array) -> Array:
    """h = log(1 + exp z) = max(z, 0) + log(1 + exp(-|z|)). Dugas et al., 2000."""
    return positive_part(xp, z) + xp.log1p(xp.exp(-absolute(xp, z)))


def d_softplus(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = σ(z)."""
    return logistic(xp, z)


def elu(xp: Namespace, z: Array) -> Array:
    """h = z for z > 0, else exp z - 1. Clevert, Unterthiner and Hochreiter, 2015, with α = 1."""
    return positive_part(xp, z) + xp.expm1(negative_part(xp, z))


def d_elu(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = 1 for z > 0, else exp z."""
    return xp.exp(negative_part(xp, z))


def d2_elu(xp: Namespace, z: Array, h: Array) -> Array:
    """f″(z) = 0 for z > 0, else exp z."""
    return (1.0 - _step(xp, z)) * d_elu(xp, z, h)


def gelu(xp: Namespace, z: Array) -> Array:
    """h = z Φ(z), Φ(z) = ½(1 + erf(z/√2)). Hendrycks and Gimpel, 2016, the exact form."""
    return z * (0.5 + 0.5 * erf(xp, _SQRT_HALF * z))


def d_gelu(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = Φ(z) + z φ(z), φ(z) = exp(-z²/2)/√(2π)."""
    return (0.5 + 0.5 * erf(xp, _SQRT_HALF * z)) + z * (_INV_SQRT_2PI * xp.exp(-0.5 * z * z))


def d2_gelu(xp: Namespace, z: Array, h: Array) -> Array:
    """f″(z) = (2 - z²) φ(z)."""
    phi = _INV_SQRT_2PI * xp.exp(-0.5 * z * z)
    return 2.0 * phi - z * (z * phi)  # z² alone may overflow


def silu(xp: Namespace, z: Array) -> Array:
    """h = z σ(z). Elfwing, Uchibe and Doya, 2017."""
    return z * logistic(xp, z)


def d_silu(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = σ(z) + z σ′(z)."""
    return logistic(xp, z) + z * d_logistic(xp, z, h)


def d2_silu(xp: Namespace, z: Array, h: Array) -> Array:
    """f″(z) = 2σ′(z) + z σ″(z) = σ′(z) (2 - z tanh(z/2))."""
    return d_logistic(xp, z, h) * (2.0 - z * xp.tanh(0.5 * z))


def selu(xp: Namespace, z: Array) -> Array:
    """h = λz for z > 0, else λα(exp z - 1). Klambauer, Unterthiner, Mayr and Hochreiter, 2017, with their λ and α."""
    return SELU_SCALE * positive_part(xp, z) + _SELU_LEFT * xp.expm1(negative_part(xp, z))


def d_selu(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = λ for z > 0, else λα exp z; f′(0) = λα."""
    step = _step(xp, z)
    return SELU_SCALE * step + (1.0 - step) * (_SELU_LEFT * xp.exp(negative_part(xp, z)))


def d2_selu(xp: Namespace, z: Array, h: Array) -> Array:
    """f″(z) = 0 for z > 0, else λα exp z."""
    return (1.0 - _step(xp, z)) * d_selu(xp, z, h)


def _tanh_softplus(xp: Namespace, z: Array) -> tuple[Array, Array]:
    """t = tanh log(1 + n) = (n² + 2n)/(n² + 2n + 2) and t′ = 4n(1+n)/(n² + 2n + 2)², n = exp z, from e = exp(-|z|)."""
    e = xp.exp(-absolute(xp, z))
    right = real_part(xp, z) > 0
    top = xp.where(right, 1.0 + 2.0 * e, e * (e + 2.0))
    bottom = xp.where(right, 1.0 + 2.0 * e * (1.0 + e), e * (e + 2.0) + 2.0)
    return top / bottom, 4.0 * (1.0 + e) * xp.where(right, e * e, e) / (bottom * bottom)


def mish(xp: Namespace, z: Array) -> Array:
    """h = z tanh(softplus z). Misra, 2019."""
    return z * _tanh_softplus(xp, z)[0]


def d_mish(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = t + z t′, t = tanh(softplus z)."""
    t, dt = _tanh_softplus(xp, z)
    return t + z * dt


def d2_mish(xp: Namespace, z: Array, h: Array) -> Array:
    """f″(z) = 2t′ + z t″ = t′ (2 + z (σ(-z) - 2tσ(z)))."""
    t, dt = _tanh_softplus(xp, z)
    return dt * (2.0 + z * (logistic(xp, -z) - 2.0 * t * logistic(xp, z)))


_HE = "he_normal"
_ROWS = (
    Activation(identity, d_identity, "identity", d2f=zero),
    Activation(relu, d_relu, "relu", kinks=(0.0,), init=_HE, d2f=zero, in_place=True),
    Activation(leaky_relu, d_leaky_relu, "leaky_relu", kinks=(0.0,), init=_HE, d2f=zero),
    Activation(tanh, d_tanh, "tanh", d2f=d2_tanh),
    Activation(logistic, d_logistic, "logistic", d2f=d2_logistic),
    Activation(softplus, d_softplus, "softplus", init=_HE, d2f=d_logistic),
    Activation(elu, d_elu, "elu", init=_HE, d2f=d2_elu, corners=(0.0,)),
    Activation(gelu, d_gelu, "gelu", init=_HE, d2f=d2_gelu),
    Activation(silu, d_silu, "silu", init=_HE, d2f=d2_silu),
    Activation(selu, d_selu, "selu", kinks=(0.0,), init="lecun_normal", d2f=d2_selu),
    Activation(mish, d_mish, "mish", init=_HE, d2f=d2_mish),
)

ACTIVATIONS: dict[str, Activation] = {row.name: row for row in _ROWS}
IDENTITY = ACTIVATIONS["identity"]


def _row_of(name: str) -> Activation:
    return ACTIVATIONS[name]
