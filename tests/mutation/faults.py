"""Seeded faults: backward passes with one mistake each, for the checkers to find.

The numbers are those of the list in shared/VERIFICATION.md, which goes on without numbers: 21 weights ignored, 22
doubled accumulation, 23 aliasing. Faults numbered 0 are further ones. The list's dropout scale is not here: there is no
dropout in this library. Its class weights are sample weights here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from planting import Fault

from xbackprop.nn import activations as act
from xbackprop.nn.activations import ACTIVATIONS, IDENTITY
from xbackprop.nn.backprop import backward, bias_gradient, deltas, hidden_delta, weight_gradient
from xbackprop.nn.losses import cross_entropy, mean_squared_error, softmax
from xbackprop.nn.penalty import add_penalty_gradient

# --- δ_L, from the loss -------------------------------------------------------------------------------------------


class Output(NamedTuple):
    """What a faulty δ_L may be made of."""

    delta: np.ndarray
    z: np.ndarray
    y: np.ndarray
    share: np.ndarray | float
    n: int


def in_loss(
    number: int, name: str, change: Callable, losses=(cross_entropy, mean_squared_error), weighted=False
) -> Fault:
    """The right C with a changed δ_L: ``change(Output) -> δ_L``."""

    def faulty(right):
        def value_and_delta(xp, z, y, share):
            cost, delta = right(xp, z, y, share)
            return cost, change(Output(delta, z, y, share, z.shape[-2]))

        return value_and_delta

    return Fault(number, name, {loss: faulty(loss) for loss in losses}, weighted=weighted)


def through_softmax(o: Output):
    """The Jacobian of softmax once more: h ⊙ (δ - Σ h δ)."""
    h = softmax(np, o.z)
    return h * (o.delta - np.sum(h * o.delta, axis=-1, keepdims=True))


def single(a):
    """Through float32 and back."""
    return a.astype(np.float32).astype(np.float64)


def without_last_row(a):
    a = a.copy()
    a[-1] = 0.0
    return a


CE, MSE = (cross_entropy,), (mean_squared_error,)
IN_LOSS = [
    in_loss(1, "sign of the output delta", lambda o: -o.delta),
    in_loss(2, "1/n missing", lambda o: o.n * o.delta),
    in_loss(3, "1/n twice", lambda o: o.delta / o.n),
    in_loss(4, "n - 1 for n", lambda o: o.n / (o.n - 1) * o.delta),
    in_loss(5, "the 2 of the squared error missing", lambda o: o.delta / 2, MSE),
    in_loss(6, "squared error averaged over outputs too", lambda o: o.delta / o.z.shape[-1], MSE),
    in_loss(6, "squared error averaged over outputs for samples", lambda o: o.n / o.z.shape[-1] * o.delta, MSE),
    in_loss(7, "softmax Jacobian once more", through_softmax, CE),
    in_loss(8, "diagonal of the softmax Jacobian only", lambda o: -o.share * o.y * (1 - softmax(np, o.z)), CE),
    in_loss(20, "output delta in float32", lambda o: single(o.delta)),
    in_loss(21, "sample weights ignored", lambda o: o.delta / o.share / o.n, weighted=True),
    in_loss(21, "sample weights twice", lambda o: o.delta * o.share * o.n, weighted=True),
    in_loss(0, "last sample's output delta dropped", lambda o: without_last_row(o.delta)),
    in_loss(0, "logits for probabilities", lambda o: o.share * (o.z - o.y), CE),
    in_loss(0, "labels smoothed by 1e-6 in the backward pass only", lambda o: o.delta + 1e-6 * o.share * (o.y - 1 / 3)),
    in_loss(0, "targets of the next sample", lambda o: o.delta + o.share * (o.y - np.roll(o.y, 1, axis=0))),
]

# --- the three products of the backward pass, and the penalty -----------------------------------------------------


def dW(number: int, name: str, change: Callable) -> Fault:
    """A changed ∂C/∂W_l: ``change(right, h, delta)``."""

    def faulty(xp, h, delta, out=None):
        return change(weight_gradient(xp, h, delta), h, delta)

    return Fault(number, name, {weight_gradient: faulty})


def db(number: int, name: str, change: Callable) -> Fault:
    """A changed ∂C/∂b_l: ``change(delta)``."""
    return Fault(number, name, {bias_gradient: lambda xp, delta, out=None: change(delta)})


def back(number: int, name: str, change: Callable) -> Fault:
    """A changed δ_{l-1}: ``change(delta, W, slope)``."""
    return Fault(number, name, {hidden_delta: lambda xp, delta, W, slope, out=None: change(delta, W, slope)})


def decay(number: int, name: str, change: Callable) -> Fault:
    """A changed penalty: ``change(g, w, rate)``."""
    return Fault(number, name, {add_penalty_gradient: lambda xp, g, w, rate: change(g, w, rate)})


def without_decay_of(number: int, name: str, layers: slice) -> Fault:
    """A penalty whose gradient some layers lack."""

    def amend(objective, theta, batch, g):
        g = g.copy()
        for w, _ in list(objective.layout.slices())[layers]:
            g[w] -= objective.l2 * batch.inverse * theta[w]
        return g

    return Fault(number, name, amend=amend)


def square(W) -> bool:
    return W.shape[-1] == W.shape[-2]


def without_last_column(right, h, delta):
    return np.concatenate([right[:, :-1], np.zeros_like(right[:, -1:])], axis=1)


def transposed_weights(delta, W, slope):
    return (delta @ (W if square(W) else W.T)) * slope


def slope_first(delta, W, slope):
    return (delta * slope) @ W.T if square(W) else (delta @ W.T) * slope


IN_PRODUCTS = [
    dW(9, "dW transposed where it is square", lambda right, h, delta: right.T if square(right) else right),
    back(10, "W for its transpose where it is square", transposed_weights),
    db(17, "bias: mean for sum", lambda delta: np.mean(delta, axis=-2, keepdims=True)),
    db(17, "bias: last row dropped", lambda delta: np.sum(delta[:-1], axis=-2, keepdims=True)),
    decay(18, "penalty missing", lambda g, w, rate: g),
    decay(18, "penalty halved: its 2 missing", lambda g, w, rate: g + 0.5 * rate * w),
    decay(18, "penalty doubled", lambda g, w, rate: g + 2.0 * rate * w),
    without_decay_of(18, "penalty on the last layer only", slice(None, -1)),
    without_decay_of(0, "penalty on all but the last layer", slice(-1, None)),
    decay(0, "penalty with the wrong sign", lambda g, w, rate: g - rate * w),
    decay(0, "penalty of |W| for W²", lambda g, w, rate: g + rate * np.sign(w)),
    back(20, "hidden deltas in float32", lambda delta, W, slope: single((delta @ W.T) * slope)),
    back(20, "f' in float32", lambda delta, W, slope: (delta @ W.T) * single(slope)),
    dW(20, "dW in float32", lambda right, h, delta: single(right)),
    dW(22, "dW accumulated twice", lambda right, h, delta: right + right),
    dW(22, "the last sample accumulated twice in dW", lambda right, h, delta: right + h[-1:].T @ delta[-1:]),
    dW(0, "last column of dW dropped", without_last_column),
    dW(0, "dW of the square layer only from all but the last sample",
       lambda right, h, delta: right - h[-1:].T @ delta[-1:] if square(right) else right),
    db(0, "bias: the first row for the sum", lambda delta: delta[:1]),
    back(0, "f' before W instead of after it", slope_first),
    back(0, "no f' anywhere", lambda delta, W, slope: delta @ W.T),
    back(0, "no delta below the last layer", lambda delta, W, slope: 0.0 * (delta @ W.T)),
]  # fmt: skip

# --- f′ -----------------------------------------------------------------------------------------------------------


def slope(number: int, name: str, right: Callable, faulty: Callable) -> Fault:
    """A changed f′: ``faulty(z, h)``."""
    return Fault(number, name, {right: lambda xp, z, h: faulty(z, h)})


def phi(z):
    return np.exp(-0.5 * z * z)


def tanh_gelu(z, h):
    """f′ of the other gelu, ½z(1 + tanh(√(2/π)(z + 0.044715 z³)))."""
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (z + 0.044715 * z**3))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * c * (1 + 3 * 0.044715 * z * z)


def own_row(name: str, of: str, faulty: Callable) -> Fault:
    """A user's own activation with a wrong f′, which is all that the checker's error analysis can know of it."""
    return Fault(0, name, own_row=(ACTIVATIONS[of], lambda xp, z, h: faulty(z, h)))


IN_SLOPES = [
    own_row("a user's own tanh: the square missing", "tanh", lambda z, h: 1 - h),
    own_row("a user's own relu: f' 1e6 too large", "relu", lambda z, h: (z > 0) * 1e6),
    own_row("a user's own logistic: f' infinite", "logistic", lambda z, h: np.full_like(z, np.inf)),
    slope(16, "leaky relu's slope 0", act.d_leaky_relu, lambda z, h: (z > 0) * 1.0),
    slope(0, "leaky relu's slope 0.02 for 0.01", act.d_leaky_relu, lambda z, h: np.where(z > 0, 1.0, 0.02)),
    slope(0, "relu's f' >= 0 for > 0: differs at the kink alone", act.d_relu, lambda z, h: (z >= 0) * 1.0),
    slope(0, "relu's f' 1 for z < 0 too", act.d_relu, lambda z, h: np.ones_like(z)),
    slope(0, "tanh: the square missing", act.d_tanh, lambda z, h: 1 - h),
    slope(0, "logistic: h for h(1 - h)", act.d_logistic, lambda z, h: h),
    slope(0, "softplus: sigma(-z)", act.d_softplus, lambda z, h: 1 / (1 + np.exp(z))),
    slope(0, "softplus: sigma(z) from a table of 1e-7", act.d_softplus, lambda z, h: np.round(1 / (1 + np.exp(-z)), 7)),
    slope(0, "elu: exp z - 1", act.d_elu, lambda z, h: np.where(z > 0, 1.0, np.expm1(np.minimum(z, 0)))),
    slope(0, "gelu: the other gelu's f'", act.d_gelu, tanh_gelu),
    slope(0, "gelu: 0.3989 for 1/sqrt(2 pi)", act.d_gelu,
          lambda z, h: act.d_gelu(np, z, h) + z * phi(z) * (0.3989 - 1 / math.sqrt(2 * math.pi))),
    slope(0, "gelu: z phi(z) missing", act.d_gelu,
          lambda z, h: act.d_gelu(np, z, h) - z * phi(z) / math.sqrt(2 * math.pi)),
    slope(0, "silu: z sigma'(z) missing", act.d_silu, lambda z, h: 1 / (1 + np.exp(-z))),
]  # fmt: skip

# --- the order of the pass, its cache and its memory --------------------------------------------------------------


def with_cache(number: int, name: str, change: Callable) -> Fault:
    """The right pass on a wrong cache: ``change(z, h) -> z, h``, lists that it may alter."""

    def faulty(backend, layers, activations, cache, delta, buffers=None):
        z, h = change(list(cache.z), list(cache.h))
        return backward(backend, layers, activations, cache._replace(z=z, h=h), delta, buffers)

    return Fault(number, name, backward=faulty)


def no_slope_in(index: int) -> Callable:
    """The pass without f′ in one layer."""

    def faulty(backend, layers, activations, cache, delta, buffers=None):
        activations = list(activations)
        activations[index] = IDENTITY
        return backward(backend, layers, activations, cache, delta, buffers)

    return faulty


def through_updated_weights(backend, layers, activations, cache, delta, buffers=None):
    """Each W_l takes its step as soon as its gradient is there, and δ_{l-1} is carried back through the new one."""
    layers, gradients = list(layers), []
    for l, delta_l in deltas(backend, layers, activations, cache, delta):  # reads W_l after it has yielded δ_l
        (W, b), dW = layers[l - 1], weight_gradient(backend.xp, cache.h[l - 1], delta_l)
        gradients.append((dW, bias_gradient(backend.xp, delta_l)))
        layers[l - 1] = (W - 0.01 * dW, b)
    return gradients[::-1]


def deltas_in_one_buffer(backend, layers, activations, cache, delta, buffers=None):
    """Hidden deltas of one width share their memory, and the gradients are taken when all of them are there."""
    if buffers is not None:
        buffers = buffers._replace(delta=[buffers.delta[-1]] * len(buffers.delta))
    found = list(deltas(backend, layers, activations, cache, delta, buffers))
    outs = buffers.gradients if buffers is not None else [(None, None)] * len(layers)
    return [
        (backend.bind(weight_gradient)(cache.h[l - 1], delta_l, outs[l - 1][0]),
         backend.bind(bias_gradient)(delta_l, outs[l - 1][1]))
        for l, delta_l in reversed(found)
    ]  # fmt: skip


def in_place(f: Callable) -> Callable:
    """f whose result takes the place of z, which f′ still needs."""

    def faulty(xp, z, out=None):
        z[...] = f(xp, z)
        return z

    return faulty


def not_cleared(xp, h, delta, out=None):
    """∂C/∂W_l added to what the buffer holds: right the first time, when it holds zeros."""
    if out is None:
        return weight_gradient(xp, h, delta)
    out += weight_gradient(xp, h, delta)
    return out


IN_ORDER = [
    with_cache(11, "h of the layer above in dW", lambda z, h: (z, [h[0], h[2], *h[2:]])),
    with_cache(11, "h of the layer below in dW", lambda z, h: (z, [*h[:2], h[1], h[3]])),
    with_cache(12, "z for h in dW", lambda z, h: (z, [h[0], *z])),
    with_cache(12, "z for h in dW of the last layer", lambda z, h: (z, [*h[:2], z[1], h[3]])),
    Fault(13, "no f' in the first layer", backward=no_slope_in(0)),
    Fault(13, "no f' in the last hidden layer", backward=no_slope_in(1)),
    with_cache(14, "f' at h for z", lambda z, h: (h[1:], h)),
    with_cache(15, "f' of the layer above", lambda z, h: ([z[1], *z[1:]], h)),
    with_cache(15, "f' of the layer below", lambda z, h: ([z[0], z[0], *z[2:]], h)),
    with_cache(20, "one h in float32", lambda z, h: (z, [h[0], single(h[1]), *h[2:]])),
    Fault(19, "backward through updated weights", backward=through_updated_weights),
    Fault(22, "gradients added to those of the step before", {weight_gradient: not_cleared}, buffered=True),
    Fault(23, "hidden deltas share a buffer", backward=deltas_in_one_buffer, buffered=True),
    Fault(
        23, "f in place of z", {f.f: in_place(f.f) for f in ACTIVATIONS.values() if f is not IDENTITY}, buffered=True
    ),
    with_cache(0, "X of the sample before", lambda z, h: (z, [np.roll(h[0], 1, axis=0), *h[1:]])),
]

# --- the finished gradient ----------------------------------------------------------------------------------------


def amended(number: int, name: str, change: Callable, **flags: bool) -> Fault:
    """A changed gradient: ``change(g, tensors)``, tensors by their names, as views of the copy g."""

    def amend(objective, theta, batch, g):
        g = g.copy()
        changed = change(g, {name: g[where] for name, (where, _) in objective.layout.tensors().items()})
        return g if changed is None else changed

    return Fault(number, name, amend=amend, **flags)


def penalty_on_biases(objective, theta, batch, g):
    return np.concatenate(
        [g[: objective.layout.n_weights], (g + objective.alpha * batch.inverse * theta)[objective.layout.n_weights :]]
    )


def penalty_not_per_sample(objective, theta, batch, g):
    """α W for α/n W."""
    w = slice(0, objective.layout.n_weights)
    g = g.copy()
    g[w] += objective.alpha * (1 - batch.inverse) * theta[w]
    return g


def column_major(objective, theta, batch, g):
    layers = objective.layout.layers(np, g)
    return np.concatenate([dW.ravel(order="F") for dW, _ in layers] + [db.ravel() for _, db in layers])


def multiply_largest(a, factor: float) -> None:
    a[np.argmax(np.abs(a))] *= factor


def times(name: str, factor: float) -> Callable:
    def change(g, t):
        t[name][:] *= factor

    return change


def exchange(a, b) -> None:
    a[:], b[:] = b.copy(), a.copy()


def replace_by(value: float, name: str, index: int | slice) -> Callable:
    def change(g, t):
        t[name][index] = value

    return change


def another_each_time(g, t):
    """What an unseeded dropout mask, or threads that race for one sum, leave."""
    g *= 1 + 0.1 * NOISE.standard_normal(len(g))


NOISE = np.random.RandomState(0)
IN_RESULT = [
    Fault(18, "penalty on the biases too", amend=penalty_on_biases),
    Fault(0, "penalty without its 1/n", amend=penalty_not_per_sample),
    Fault(0, "column-major dW in a row-major vector", amend=column_major),
    amended(0, "one element off by 1e-6 of itself", lambda g, t: multiply_largest(t["coefs_[1]"], 1 + 1e-6)),
    amended(0, "everything off by 1e-8 of itself", lambda g, t: g * (1 + 1e-8)),
    amended(0, "the first layer's weights off by 1e-9 of themselves", times("coefs_[0]", 1 + 1e-9)),
    amended(0, "the first bias zero", replace_by(0.0, "intercepts_[0]", slice(None))),
    amended(0, "the first layer frozen", replace_by(0.0, "coefs_[0]", slice(None))),
    amended(0, "the biases of two layers exchanged", lambda g, t: exchange(t["intercepts_[0]"], t["intercepts_[1]"])),
    amended(0, "clipped at 0.01", lambda g, t: np.clip(g, -0.01, 0.01)),
    amended(0, "zero", lambda g, t: 0.0 * g),
    amended(0, "another one each time", another_each_time),
    amended(0, "one NaN", replace_by(math.nan, "intercepts_[1]", 2)),
    amended(0, "one infinity", replace_by(math.inf, "coefs_[2]", 4)),
]  # fmt: skip

FAULTS: list[Fault] = [*IN_LOSS, *IN_PRODUCTS, *IN_SLOPES, *IN_ORDER, *IN_RESULT]

#: Why a fault gives the right gradient in some of the networks that it concerns.
EQUIVALENT = {
    "f' in float32": "relu's f′, 0 and 1, are float32 numbers",
    "relu's f' >= 0 for > 0: differs at the kink alone": "no z is exactly 0 in these networks",
    "f' at h for z": "h has the sign of z in relu and leaky relu, and their f′ depend on nothing else",
    "f in place of z": "h has the sign of z in relu and leaky relu, and their f′ depend on nothing else",
}
