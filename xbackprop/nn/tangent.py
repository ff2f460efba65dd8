"""Forward mode: derivatives of the passes of `backprop` as θ moves along a direction v = (V_l, v_l), and X along Ẋ.

A dot is the derivative along that direction: ḣ = d/dt h(θ + t v) at t = 0. Forward mode on the forward pass gives Jv;
forward mode on the backward pass, Pearlmutter's R-operator ("Fast exact multiplication by the Hessian", Neural
Computation 6, 1994), gives Hv.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xbackprop.arrays.backend import Array, Backend
from xbackprop.nn.activations import Activation
from xbackprop.nn.backprop import (
    Cache,
    activation_derivative,
    affine,
    bias_gradient,
    deltas,
    hidden_delta,
    weight_gradient,
)
from xbackprop.nn.parameters import Layers


class Tangent(NamedTuple):
    """z[l-1] = ż_l and h[l] = ḣ_l for l = 1 … L; h[0] = Ẋ, or None where X does not move."""

    z: list[Array]
    h: list[Array | None]


def forward_tangent(
    backend: Backend,
    layers: Layers,
    activations: Sequence[Activation],
    cache: Cache,
    direction: Layers,
    X_tangent: Array | None = None,
) -> Tangent:
    """ż_l = h_{l-1} V_l + v_l + ḣ_{l-1} W_l and ḣ_l = f′(z_l) ⊙ ż_l, for l = 1 … L, beside the pass in `cache`."""
    tangent = Tangent([], [X_tangent])
    for l, ((W, _), (V, v)) in enumerate(zip(layers, direction, strict=True)):
        z_tangent = backend.bind(affine)(cache.h[l], V, v)
        h_tangent = tangent.h[-1]
        if h_tangent is not None:
            z_tangent = z_tangent + h_tangent @ W
        tangent.z.append(z_tangent)
        tangent.h.append(activation_derivative(backend, activations[l].df, cache, l + 1) * z_tangent)
    return tangent


def backward_tangent(
    backend: Backend,
    layers: Layers,
    activations: Sequence[Activation],
    cache: Cache,
    direction: Layers,
    tangent: Tangent,
    delta: Array,
    delta_tangent: Array,
) -> list[tuple[Array, Array]]:
    """The tangents of (∂C/∂W_l, ∂C/∂b_l), l = 1 … L, from `delta` = δ_L and `delta_tangent` = δ̇_L:

        (∂C/∂W_l)˙ = ḣ_{l-1}ᵀ δ_l + h_{l-1}ᵀ δ̇_l ,    (∂C/∂b_l)˙ = Σ δ̇_l ,
        δ̇_{l-1} = (δ̇_l W_lᵀ + δ_l V_lᵀ) ⊙ f′(z_{l-1}) + (δ_l W_lᵀ) ⊙ f″(z_{l-1}) ⊙ ż_{l-1} .

    Raises
    ------
    ValueError : if an activation has no f″.
    """  # fmt: skip
    tangents: list[tuple[Array, Array]] = []
    weights, biases, back = (backend.bind(f) for f in (weight_gradient, bias_gradient, hidden_delta))
    for l, delta_l in deltas(backend, layers, activations, cache, delta):
        in_W = weights(cache.h[l - 1], delta_tangent)
        h_tangent = tangent.h[l - 1]
        if h_tangent is not None:
            in_W = in_W + weights(h_tangent, delta_l)
        tangents.append((in_W, biases(delta_tangent)))
        if l > 1:
            f = activations[l - 2]
            df, curvature = (
                activation_derivative(backend, f.df, cache, l - 1),
                activation_derivative(backend, _second(f), cache, l - 1),
            )
            W, V = layers[l - 1][0], direction[l - 1][0]
            delta_tangent = (
                back(delta_tangent, W, df) + back(delta_l, V, df) + back(delta_l, W, curvature * tangent.z[l - 2])
            )
    return tangents[::-1]


def _second(activation: Activation):  # type: ignore[no-untyped-def]
    if activation.d2f is None:
        raise ValueError(
            f"activation {activation.name!r}: a Hessian-vector product needs its second derivative; give it one: "
            f"xbackprop.Activation(f, df, d2f=lambda xp, z, h: ...)"
        )
    return activation.d2f
