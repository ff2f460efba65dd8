"""Activation functions: f and its derivative f′ side by side, ``f(xp, z)`` and ``df(xp, z, h)`` with h = f(z).

The derivatives are written so that they keep their relative accuracy where the function saturates: σ′(z) is
e/(1+e)² with e = exp(-|z|), and not h(1-h), which has lost every digit at z = 37.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from xbackprop.backend import Array, Namespace
from xbackprop.special import erf

LEAKY_SLOPE = 0.01
_SQRT_HALF = math.sqrt(0.5)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class Activation:
    """A hidden layer's non-linearity, with its derivative.

    Parameters
    ----------
    f : ``f(xp, z) -> h``, elementwise on arrays of any shape.
    df : ``df(xp, z, h) -> f′(z)``, elementwise, in the dtype of z.
    name : what messages and model files call it.
    kinks : the points z where f′ jumps; at such a point df takes the value from the left. A gradient check does not
        difference across them.
    init : the initializer that suits it, used by ``init="auto"``.
    """

    f: Callable[[Namespace, Array], Array]
    df: Callable[[Namespace, Array, Array], Array]
    name: str = "custom"
    kinks: tuple[float, ...] = ()
    init: str = "glorot_uniform"


def _step(xp: Namespace, z: Array) -> Array:
    """1 where z > 0, else 0, in the dtype of z: an integer 1 would turn a float32 network into a float64 one."""
    return xp.astype(z > 0, z.dtype)


def identity(xp: Namespace, z: Array) -> Array:
    """h = z."""
    return z


def d_identity(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = 1."""
    return xp.ones_like(z)


def relu(xp: Namespace, z: Array) -> Array:
    """h = max(z, 0). Nair and Hinton, 2010."""
    return xp.maximum(z, 0.0)


def d_relu(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = 1 for z > 0, else 0; f′(0) = 0, as in torch."""
    return _step(xp, z)


def leaky_relu(xp: Namespace, z: Array) -> Array:
    """h = max(z, 0.01 z). Maas, Hannun and Ng, 2013."""
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
    e = xp.exp(-2.0 * xp.abs(z))
    return 4.0 * e / ((1.0 + e) * (1.0 + e))


def logistic(xp: Namespace, z: Array) -> Array:
    """h = σ(z) = 1/(1 + exp(-z)), without overflow for large -z."""
    e = xp.exp(-xp.abs(z))
    return xp.where(z > 0, xp.ones_like(z), e) / (1.0 + e)


def d_logistic(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = σ(z) σ(-z) = e/(1+e)², e = exp(-|z|)."""
    e = xp.exp(-xp.abs(z))
    return e / ((1.0 + e) * (1.0 + e))


def softplus(xp: Namespace, z: Array) -> Array:
    """h = log(1 + exp z) = max(z, 0) + log(1 + exp(-|z|)). Dugas et al., 2000."""
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def d_softplus(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = σ(z)."""
    return logistic(xp, z)


def elu(xp: Namespace, z: Array) -> Array:
    """h = z for z > 0, else exp z - 1. Clevert, Unterthiner and Hochreiter, 2015, with α = 1."""
    return xp.maximum(z, 0.0) + xp.expm1(xp.minimum(z, 0.0))


def d_elu(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = 1 for z > 0, else exp z."""
    return xp.exp(xp.minimum(z, 0.0))


def gelu(xp: Namespace, z: Array) -> Array:
    """h = z Φ(z), Φ(z) = ½(1 + erf(z/√2)). Hendrycks and Gimpel, 2016, the exact form."""
    return z * (0.5 + 0.5 * erf(xp, _SQRT_HALF * z))


def d_gelu(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = Φ(z) + z φ(z), φ(z) = exp(-z²/2)/√(2π)."""
    return (0.5 + 0.5 * erf(xp, _SQRT_HALF * z)) + z * (_INV_SQRT_2PI * xp.exp(-0.5 * z * z))


def silu(xp: Namespace, z: Array) -> Array:
    """h = z σ(z). Elfwing, Uchibe and Doya, 2017."""
    return z * logistic(xp, z)


def d_silu(xp: Namespace, z: Array, h: Array) -> Array:
    """f′(z) = σ(z) + z σ′(z)."""
    return logistic(xp, z) + z * d_logistic(xp, z, h)


_ROWS = (
    Activation(identity, d_identity, "identity"),
    Activation(relu, d_relu, "relu", kinks=(0.0,), init="he_normal"),
    Activation(leaky_relu, d_leaky_relu, "leaky_relu", kinks=(0.0,), init="he_normal"),
    Activation(tanh, d_tanh, "tanh"),
    Activation(logistic, d_logistic, "logistic"),
    Activation(softplus, d_softplus, "softplus", init="he_normal"),
    Activation(elu, d_elu, "elu", init="he_normal"),
    Activation(gelu, d_gelu, "gelu", init="he_normal"),
    Activation(silu, d_silu, "silu", init="he_normal"),
)

ACTIVATIONS: dict[str, Activation] = {row.name: row for row in _ROWS}
IDENTITY = ACTIVATIONS["identity"]
