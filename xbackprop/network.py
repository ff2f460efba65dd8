"""Algorithm 1 of the paper: the forward and the backward pass of a multi-layer perceptron.

Samples are rows, so the paper's z = Wᵀh + b reads z = hW + b, with W of shape (n_in, n_out); h[0] is X. Everything
works on the last two axes: a stack of networks, with a leading axis on every W and b, runs through the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from xbackprop.activations import Activation
from xbackprop.backend import Array, Backend, Namespace

Layers = Sequence[tuple[Array, Array]]  # (W_l, b_l) for l = 1 … L


class Cache(NamedTuple):
    """What the forward pass keeps for the backward pass.

    z[l-1] = z_l, f[l-1] = f_l(z_l) and h[l] = h_l, l = 1 … L, with h[0] = X.
    masks : with dropout h_l = f_l(z_l) ⊙ masks[l-1] in every hidden layer; without, it is empty and h_l = f_l(z_l).
    """

    z: list[Array]
    f: list[Array]
    h: list[Array]
    masks: Sequence[Array] = ()


class Buffers(NamedTuple):
    """Arrays that a backend may overwrite with results instead of making new ones.

    Where f may work in place, z_l makes room for h_l. A forward pass needs no more than z.
    """

    z: Sequence[Array]
    delta: Sequence[Array] = ()
    gradients: Layers = ()


def affine(xp: Namespace, h: Array, W: Array, b: Array, out: Array | None = None) -> Array:
    """z_l = h_{l-1} W_l + b_l."""
    return h @ W + b


def weight_gradient(xp: Namespace, h: Array, delta: Array, out: Array | None = None) -> Array:
    """∂C/∂W_l = h_{l-1}ᵀ δ_l: eq. 11 and 15."""
    return xp.matrix_transpose(h) @ delta


def bias_gradient(xp: Namespace, delta: Array, out: Array | None = None) -> Array:
    """∂C/∂b_l = Σ_x δ_l, a row like b: eq. 12 and 16."""
    return xp.sum(delta, axis=-2, keepdims=True)


def hidden_delta(xp: Namespace, delta: Array, W: Array, slope: Array, out: Array | None = None) -> Array:
    """δ_{l-1} = (δ_l W_lᵀ) ⊙ f′(z_{l-1}): eq. 13 and 14."""
    return (delta @ xp.matrix_transpose(W)) * slope


def forward(
    backend: Backend,
    layers: Layers,
    activations: Sequence[Activation],
    X: Array,
    masks: Sequence[Array] = (),
    buffers: Buffers | None = None,
) -> Cache:
    """z_l = h_{l-1} W_l + b_l and h_l = f_l(z_l), for l = 1 … L; with dropout h_l = f_l(z_l) ⊙ mask_l.

    X (n, n_0); `activations` one per layer, the last one the identity, since the loss takes logits; `masks` (n, n_l)
    one per hidden layer, or none.
    """
    cache = Cache([], [], [X], masks)
    outs = buffers.z if buffers else [None] * len(layers)
    for l, ((W, b), activation, out) in enumerate(zip(layers, activations, outs, strict=True)):
        cache.z.append(backend.bind(affine)(cache.h[-1], W, b, out))
        lent = (cache.z[-1],) if buffers and activation.in_place else ()
        cache.f.append(backend.bind(activation.f)(cache.z[-1], *lent))
        cache.h.append(cache.f[-1] * masks[l] if l < len(masks) else cache.f[-1])
    return cache


def slope(backend: Backend, derivative: Callable[..., Array], cache: Cache, l: int) -> Array:
    """f_l′(z_l), or another `derivative` of f_l there; with dropout f_l′(z_l) ⊙ mask_l."""
    result = backend.bind(derivative)(cache.z[l - 1], cache.f[l - 1])
    return result * cache.masks[l - 1] if l <= len(cache.masks) else result


def deltas(
    backend: Backend,
    layers: Layers,
    activations: Sequence[Activation],
    cache: Cache,
    delta: Array,
    buffers: Buffers | None = None,
) -> Iterator[tuple[int, Array]]:
    """(l, δ_l) for l = L … 1, layer by layer from the output, where δ_L = `delta`, to the input."""
    yield len(layers), delta
    for l in reversed(range(1, len(layers))):  # W_{l+1} is layers[l][0], and z_l is cache.z[l-1]
        df = slope(backend, activations[l - 1].df, cache, l)
        out = buffers.delta[l - 1] if buffers else None
        delta = backend.bind(hidden_delta)(delta, layers[l][0], df, out)
        yield l, delta


def backward(
    backend: Backend,
    layers: Layers,
    activations: Sequence[Activation],
    cache: Cache,
    delta: Array,
    buffers: Buffers | None = None,
) -> list[tuple[Array, Array]]:
    """(∂C/∂W_l, ∂C/∂b_l) for l = 1 … L, from `delta` = δ_L = ∂C/∂z_L."""
    gradients: list[tuple[Array, Array]] = []
    for l, delta_l in deltas(backend, layers, activations, cache, delta, buffers):
        out_W, out_b = buffers.gradients[l - 1] if buffers else (None, None)
        gradients.append((
            backend.bind(weight_gradient)(cache.h[l - 1], delta_l, out_W),
            backend.bind(bias_gradient)(delta_l, out_b),
        ))  # fmt: skip
    return gradients[::-1]


class Layout:
    """Where each W_l and b_l lies in θ, one flat vector: first all the weights, then all the biases.

    Parameters
    ----------
    sizes : (n_0, n_1, …, n_L), the width of the input, of every hidden layer and of the output.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self.shapes = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        self.n_weights = sum(n_in * n_out for n_in, n_out in self.shapes)
        self.n_parameters = self.n_weights + sum(self.sizes[1:])

    def slices(self) -> Iterator[tuple[slice, slice]]:
        """The ranges of W_l and b_l in θ, for l = 1 … L."""
        w, b = 0, self.n_weights
        for n_in, n_out in self.shapes:
            yield slice(w, w + n_in * n_out), slice(b, b + n_out)
            w, b = w + n_in * n_out, b + n_out

    def layers(self, xp: Namespace, theta: Array) -> list[tuple[Array, Array]]:
        """(W_l, b_l) of θ (..., P): W_l (..., n_in, n_out), b_l (..., 1, n_out); views where the library has views."""
        lead = theta.shape[:-1]
        return [
            (xp.reshape(theta[..., w], (*lead, *shape)), xp.reshape(theta[..., b], (*lead, 1, shape[1])))
            for shape, (w, b) in zip(self.shapes, self.slices(), strict=True)
        ]

    def flatten(self, xp: Namespace, layers: Layers) -> Array:
        """θ (P,) from its layers: the inverse of `layers`."""
        return xp.concat([xp.reshape(W, (-1,)) for W, _ in layers] + [xp.reshape(b, (-1,)) for _, b in layers])

    def tensors(self) -> dict[str, tuple[slice, tuple[int, ...]]]:
        """The range in θ and the shape of every W_l and b_l, under scikit-learn's names for them."""
        found: dict[str, tuple[slice, tuple[int, ...]]] = {}
        for l, (shape, (w, b)) in enumerate(zip(self.shapes, self.slices(), strict=True)):
            found[f"coefs_[{l}]"], found[f"intercepts_[{l}]"] = (w, shape), (b, shape[1:])
        return found
