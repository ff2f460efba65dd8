"""Algorithm 1 of the paper: the forward and the backward pass of a multi-layer perceptron.

Samples are rows, so the paper's z = Wᵀh + b reads z = hW + b, with W of shape (n_in, n_out); h[0] is X. Everything
works on the last two axes: a stack of networks, with a leading axis on every W and b, runs through the same lines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from xbackprop.activations import Activation
from xbackprop.backend import Array, Backend, Namespace

Layers = Sequence[tuple[Array, Array]]  # (W_l, b_l) for l = 1 … L


class Cache(NamedTuple):
    """What the forward pass keeps for the backward pass; None for what it does not keep, to be computed again.

    z[l-1] = z_l, f[l-1] = f_l(z_l) and h[l] = h_l, l = 1 … L, with h[0] = X.
    masks : with dropout h_l = f_l(z_l) ⊙ masks[l-1] in every hidden layer; without, it is empty and h_l = f_l(z_l).
    drawn : where the masks come from.
    every : k, if only every k-th h_l is kept, and what lies above the last of them; 0 if all is.
    """

    z: list[Array]
    f: list[Array]
    h: list[Array]
    masks: list[Array]
    drawn: Sequence[Array] = ()
    every: int = 0


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
    every: int = 0,
) -> Cache:
    """z_l = h_{l-1} W_l + b_l and h_l = f_l(z_l), for l = 1 … L; with dropout h_l = f_l(z_l) ⊙ mask_l.

    X (n, n_0); `activations` one per layer, the last one the identity, since the loss takes logits; `masks` (n, n_l)
    one per hidden layer, or none; with `every` = k > 0 they must be the same when they are asked for again.
    """
    L = len(layers)
    cache = Cache([None] * L, [None] * L, [X] + [None] * L, [None] * len(masks), masks, every)
    top = last_kept(L, every)
    for l in range(1, L + 1):
        advance(backend, layers, activations, cache, l, buffers)
        if l <= top:
            _forget(cache, l)
    return cache


def advance(
    backend: Backend,
    layers: Layers,
    activations: Sequence[Activation],
    cache: Cache,
    l: int,
    buffers: Buffers | None = None,
) -> None:
    """z_l, f_l(z_l) and h_l from h_{l-1}, into the cache."""
    (W, b), activation, out = layers[l - 1], activations[l - 1], buffers.z[l - 1] if buffers else None
    z = backend.bind(affine)(cache.h[l - 1], W, b, out)
    f = backend.bind(activation.f)(z, z) if buffers and activation.in_place else backend.bind(activation.f)(z)
    cache.z[l - 1] = z
    cache.f[l - 1] = cache.h[l] = f
    if l <= len(cache.masks):
        cache.masks[l - 1] = cache.drawn[l - 1]
        cache.h[l] = f * cache.masks[l - 1]


def _forget(cache: Cache, l: int) -> None:
    """Keep of layer l only h_l, for the next one, and h_{l-1} only if it is a k-th."""
    cache.z[l - 1] = cache.f[l - 1] = None
    if cache.masks:
        cache.masks[l - 1] = None
    if (l - 1) % cache.every:
        cache.h[l - 1] = None


def last_kept(n_layers: int, every: int) -> int:
    """The last l whose h_l is kept for itself; all that lies above it is kept, too. 0 without checkpointing."""
    return (n_layers - 1) // every * every if every else 0


def sqrt_layers(n_layers: int) -> int:
    """k ≈ √L, with which about 2√L layers are held at a time."""
    return max(1, round(math.sqrt(n_layers)))


def recompute(
    backend: Backend,
    layers: Layers,
    activations: Sequence[Activation],
    cache: Cache,
    l: int,
    buffers: Buffers | None = None,
) -> None:
    """What is missing of layers l-k+1 … l, from h_{l-k}, in place of all that lies above: checkpointing, in time of
    less than one more forward pass and memory of L/k + k layers. Griewank and Walther, 2000; Chen et al., 2016.
    """
    above = len(layers) - l
    cache.z[l:], cache.f[l:], cache.h[l + 1 :] = [None] * above, [None] * above, [None] * above
    cache.masks[l:] = [None] * len(cache.masks[l:])
    for m in range(l - cache.every + 1, l + 1):
        advance(backend, layers, activations, cache, m, buffers)


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
        if cache.z[l - 1] is None:
            recompute(backend, layers, activations, cache, l, buffers)
        out = buffers.delta[l - 1] if buffers else None
        W, df = layers[l][0], activations[l - 1].df
        delta = backend.bind(hidden_delta)(delta, W, slope(backend, df, cache, l), out)
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

    Parameters and gradients come as a list of arrays: [θ], or for compilers that prefer leaves to one vector
    [W_1 … W_L, b_1 … b_L].
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self.shapes = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        self.n_weights = sum(n_in * n_out for n_in, n_out in self.shapes)
        self.n_parameters = self.n_weights + sum(self.sizes[1:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.sizes == other.sizes

    def __hash__(self) -> int:
        return hash(self.sizes)

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
        return self.join(xp, self.apart(layers))

    def leaves(self, xp: Namespace, theta: Array) -> list[Array]:
        """[W_1 … W_L, b_1 … b_L] of θ."""
        return self.apart(self.layers(xp, theta))

    def join(self, xp: Namespace, leaves: Sequence[Array]) -> Array:
        """θ (P,) from its leaves."""
        return xp.concat([xp.reshape(leaf, (-1,)) for leaf in leaves])

    @staticmethod
    def apart(layers: Layers) -> list[Array]:
        """The leaves of the layers: first all the weights, then all the biases, as they lie in θ."""
        return [W for W, _ in layers] + [b for _, b in layers]

    def split(self, parameters: list[Array]) -> tuple[list[Array], list[Array]]:
        """The weights and the biases of parameters in either form: [θ_w], [θ_b], or [W_1 …], [b_1 …]."""
        if len(parameters) == 1:
            return [parameters[0][..., : self.n_weights]], [parameters[0][..., self.n_weights :]]
        return parameters[: len(self.shapes)], parameters[len(self.shapes) :]

    def merge(self, xp: Namespace, weights: list[Array], biases: list[Array]) -> list[Array]:
        """The inverse of `split`."""
        return [xp.concat([*weights, *biases])] if len(weights) == 1 and weights[0].ndim == 1 else [*weights, *biases]

    def tensors(self) -> dict[str, tuple[slice, tuple[int, ...]]]:
        """The range in θ and the shape of every W_l and b_l, under scikit-learn's names for them."""
        found: dict[str, tuple[slice, tuple[int, ...]]] = {}
        for l, (shape, (w, b)) in enumerate(zip(self.shapes, self.slices(), strict=True)):
            found[f"coefs_[{l}]"], found[f"intercepts_[{l}]"] = (w, shape), (b, shape[1:])
        return found


def cut(xp: Namespace, theta: Array, layout: Layout) -> list[tuple[Array, Array]]:
    """`Layout.layers`, as a function that a backend can bind: a compiler makes one call of all the cuts."""
    return layout.layers(xp, theta)


def flatten(xp: Namespace, layers: Layers, layout: Layout) -> Array:
    """`Layout.flatten`, in the same way."""
    return layout.flatten(xp, layers)
