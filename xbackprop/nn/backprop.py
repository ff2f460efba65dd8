"""Algorithm 1 of the paper: the forward and the backward pass of a multi-layer perceptron.

Samples are rows, so the paper's z = Wᵀh + b reads z = hW + b, with W of shape (n_in, n_out); h[0] is X. Everything
works on the last two axes: a stack of networks, with a leading axis on every W and b, runs through the same lines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from xbackprop.arrays.backend import Array, Backend, Namespace
from xbackprop.nn.activations import Activation
from xbackprop.nn.parameters import Layers
from xbackprop.validation import integer


class Cache(NamedTuple):
    """Arrays that the forward pass keeps for the backward pass. With checkpointing some are None, and computed again.

    z[l-1] = z_l, f[l-1] = f_l(z_l) and h[l] = h_l, l = 1 … L, with h[0] = X.
    masks : with dropout h_l = f_l(z_l) ⊙ masks[l-1] in every hidden layer; empty without, when h_l = f_l(z_l).
    drawn : the sequence that makes the masks when they are asked for.
    checkpoint_every : k, if only every k-th h_l is kept, and all that lies above the last of them; 0 if all are.
    """

    z: list[Array]
    f: list[Array]
    h: list[Array]
    masks: list[Array]
    drawn: Sequence[Array] = ()
    checkpoint_every: int = 0


class Buffers(NamedTuple):
    """Arrays for the results of the passes, to overwrite instead of making new ones: z_l, δ_l, and the gradients.

    If f may work in place, h_l overwrites z_l. A forward pass alone needs z only.
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
    checkpoint_every: int = 0,
) -> Cache:
    """z_l = h_{l-1} W_l + b_l and h_l = f_l(z_l), for l = 1 … L; with dropout h_l = f_l(z_l) ⊙ mask_l.

    X (n, n_0); `activations` one per layer, the last one the identity, since the loss takes logits; `masks` (n, n_l)
    one per hidden layer, or none; with `checkpoint_every` = k > 0 they must be the same when they are asked for again.
    """
    L = len(layers)
    cache = Cache([None] * L, [None] * L, [X] + [None] * L, [None] * len(masks), masks, checkpoint_every)
    top = last_kept(L, checkpoint_every)
    for l in range(1, L + 1):
        forward_layer(backend, layers, activations, cache, l, buffers)
        if l <= top:
            _forget(cache, l)
    return cache


def forward_layer(
    backend: Backend,
    layers: Layers,
    activations: Sequence[Activation],
    cache: Cache,
    l: int,
    buffers: Buffers | None = None,
) -> None:
    """Compute z_l, f_l(z_l) and h_l from h_{l-1} and put them into the cache."""
    (W, b), activation, out = layers[l - 1], activations[l - 1], buffers.z[l - 1] if buffers else None
    z = backend.bind(affine)(cache.h[l - 1], W, b, out)
    f = backend.bind(activation.f)(z, z) if buffers and activation.in_place else backend.bind(activation.f)(z)
    cache.z[l - 1] = z
    cache.f[l - 1] = cache.h[l] = f
    if l <= len(cache.masks):
        cache.masks[l - 1] = cache.drawn[l - 1]
        cache.h[l] = f * cache.masks[l - 1]


def _forget(cache: Cache, l: int) -> None:
    """Drop all of layer l but h_l, which the next layer needs, and h_{l-1} unless it is a k-th one."""
    cache.z[l - 1] = cache.f[l - 1] = None
    if cache.masks:
        cache.masks[l - 1] = None
    if (l - 1) % cache.checkpoint_every:
        cache.h[l - 1] = None


def last_kept(n_layers: int, checkpoint_every: int) -> int:
    """Return the last l whose h_l is a checkpoint, above which everything is kept; 0 without checkpointing."""
    return (n_layers - 1) // checkpoint_every * checkpoint_every if checkpoint_every else 0


def sqrt_layers(n_layers: int) -> int:
    """Return k ≈ √L, with which about 2√L layers are held at a time."""
    return max(1, round(math.sqrt(n_layers)))


def recompute(
    backend: Backend,
    layers: Layers,
    activations: Sequence[Activation],
    cache: Cache,
    l: int,
    buffers: Buffers | None = None,
) -> None:
    """Compute layers l-k+1 … l again from h_{l-k}, and drop all layers above l.

    This is checkpointing: it costs less than one more forward pass, and memory for L/k + k layers. Griewank and
    Walther, 2000; Chen et al., 2016.
    """
    above = len(layers) - l
    cache.z[l:], cache.f[l:], cache.h[l + 1 :] = [None] * above, [None] * above, [None] * above
    cache.masks[l:] = [None] * len(cache.masks[l:])
    for m in range(l - cache.checkpoint_every + 1, l + 1):
        forward_layer(backend, layers, activations, cache, m, buffers)


def activation_derivative(backend: Backend, derivative: Callable[..., Array], cache: Cache, l: int) -> Array:
    """Compute f_l′(z_l), or another `derivative` of f_l there; with dropout f_l′(z_l) ⊙ mask_l."""
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
    """Yield (l, δ_l) for l = L … 1, from the output, where δ_L = `delta`, to the first layer."""
    yield len(layers), delta
    for l in reversed(range(1, len(layers))):  # W_{l+1} is layers[l][0], and z_l is cache.z[l-1]
        if cache.z[l - 1] is None:
            recompute(backend, layers, activations, cache, l, buffers)
        out = buffers.delta[l - 1] if buffers else None
        W, df = layers[l][0], activations[l - 1].df
        delta = backend.bind(hidden_delta)(delta, W, activation_derivative(backend, df, cache, l), out)
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


def checkpoint_interval(where: str, value: Any, n_layers: int) -> int:
    """Read `checkpoint_activations`: return k, to keep the activations of one layer in k, or 0 to keep all."""
    if value is None:
        return 0
    if isinstance(value, str):
        if value != "sqrt":
            raise ValueError(f"{where}: checkpoint_activations must be a whole number, 'sqrt' or None, got {value!r}")
        return sqrt_layers(n_layers)
    return integer(where, "checkpoint_activations", value, 1)
