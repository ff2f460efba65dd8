"""C(θ) as a function for other libraries' gradient checkers, and a network in torch that shares none of our formulas.

torch and jax are imported when a function that needs them is called.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from helpers import make_objective, one_hot, problem
from numpy.random import RandomState

from xbackprop.arrays.backend import Array, Backend
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.nn.derivatives import hvp
from xbackprop.nn.objective import Batch, Objective, make_batch
from xbackprop.verification.methods.oracle import _torch_activation


class Case(NamedTuple):
    """A network, a batch and directions, all drawn from one seed. full : whether it has penalty and sample weights."""

    activation: str = "tanh"
    hidden: tuple[int, ...] = (5, 6)
    task: str = "classification"
    full: bool = True
    dtype: str = "float64"
    n: int = 7
    features: int = 4
    outputs: int = 3
    seed: int = 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths (n_0, …, n_L)."""
        return (self.features, *self.hidden, self.outputs)

    @property
    def alpha(self) -> float:
        """The penalty α, 0 without `full`."""
        return 0.5 if self.full else 0.0


class Numbers(NamedTuple):
    """The arrays of a case, in its dtype. v, u : directions in θ (P,); w (n, n_L) in z_L; X_tangent in X."""

    X: Array
    y: Array
    weight: Array
    theta: Array
    v: Array
    u: Array
    w: Array
    X_tangent: Array


class OnBackend(NamedTuple):
    """A case with its arrays on a backend."""

    objective: Objective
    batch: Batch
    numbers: Numbers

    def host(self, x: Array) -> np.ndarray:
        """Return `x` as a NumPy array."""
        return self.objective.backend.to_host(x)


@functools.cache
def numbers_of(case: Case) -> Numbers:
    """Draw the arrays of a case, on the host."""
    X, y = problem(case.task, case.n, case.features, case.outputs, case.seed)
    y = one_hot(y, case.outputs) if case.task == "classification" else y
    rng = RandomState(case.seed + 1)
    P = sum(n_in * n_out + n_out for n_in, n_out in itertools.pairwise(case.sizes))
    theta, v, u = 0.5 * rng.standard_normal(P), rng.standard_normal(P), rng.standard_normal(P)
    w, X_tangent = rng.standard_normal((case.n, case.outputs)), rng.standard_normal(X.shape)
    weight = np.linspace(0.5, 3, case.n)
    return Numbers(*(a.astype(case.dtype) for a in (X, y, weight, theta, v, u, w, X_tangent)))


def place(backend: Backend, case: Case) -> OnBackend:
    """Move a case to a backend."""
    objective = make_objective(backend, case.sizes, case.activation, case.task, case.alpha)
    numbers = Numbers(*(backend.asarray(a, case.dtype) for a in numbers_of(case)))
    return OnBackend(objective, make_batch(backend, *numbers[:2], numbers.weight if case.full else None), numbers)


def away_from_kinks(
    backend: Backend, activation: str = "tanh", task: str = "classification", full: bool = True
) -> tuple[Objective, Batch, np.ndarray]:
    """Return a small C, a batch, and a θ at which every z is farther from a kink than the steps of a checker."""
    kinks = ACTIVATIONS[activation].kinks
    for seed in itertools.count():
        case = Case(activation, (4, 3), task, full, n=5, features=3, outputs=2, seed=seed)
        objective, batch, numbers = place(backend, case)
        z = [backend.to_host(z_l) for z_l in objective.forward(numbers.theta, batch.X).z[:-1]]
        if all(np.min(np.abs(z_l - kink)) > 1e-2 for z_l in z for kink in kinks):
            return objective, batch, numbers_of(case).theta
    raise AssertionError


def with_wrong_sign(objective: Objective, gradient: Callable, tensor: str | None = None) -> Callable:
    """Return the gradient function with the sign of one tensor changed, or of all of them."""
    where = objective.layout.tensors()[tensor][0] if tensor else slice(None)

    def wrong(*arguments):
        g = np.array(gradient(*arguments))
        g[where] *= -1
        return g

    return wrong


class HostFunction(NamedTuple):
    """The functions θ ↦ C, θ ↦ ∂C/∂θ and (θ, v) ↦ Hv, on NumPy arrays (P,)."""

    cost: Callable[[np.ndarray], float]
    gradient: Callable[[np.ndarray], np.ndarray]
    product: Callable[[np.ndarray, np.ndarray], np.ndarray]


def host_function(objective: Objective, batch: Batch) -> HostFunction:
    """Return C on this batch and its derivatives, computed by the objective's backend, as functions of NumPy arrays."""
    backend = objective.backend

    def cost(theta):
        return float(backend.to_host(objective.value(backend.asarray(theta), batch)))

    def gradient(theta):
        _, g = objective.value_and_gradient(backend.asarray(theta), batch)
        return np.array(backend.to_host(g))

    def product(theta, v):
        return np.array(backend.to_host(hvp(objective, backend.asarray(theta), backend.asarray(v), batch)))

    return HostFunction(cost, gradient, product)


def torch_function(objective: Objective, batch: Batch):
    """Return C as a function of a float64 torch tensor θ; its backward is ours, and the backward of that is our Hv."""
    return torch_function_of(*host_function(objective, batch))


def torch_function_of(cost, gradient, product=None):
    """Return such a function for callables as in `HostFunction`; only gradgradcheck needs `product`."""
    torch = _torch()

    def tensor(a):
        return torch.tensor(a, dtype=torch.float64)

    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, theta):
            ctx.save_for_backward(theta)
            return tensor(gradient(theta.detach().numpy()))

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, v):
            (theta,) = ctx.saved_tensors
            return tensor(product(theta.detach().numpy(), v.numpy()))  # vᵀH is Hv

    class Cost(torch.autograd.Function):
        @staticmethod
        def forward(ctx, theta):
            ctx.save_for_backward(theta)
            return tensor(cost(theta.detach().numpy()))

        @staticmethod
        def backward(ctx, w):
            (theta,) = ctx.saved_tensors
            return w * Gradient.apply(theta)

    return Cost.apply


def jax_function_of(cost, gradient):
    """Return C as a function of a jax array θ whose reverse mode is ours; float64, so under ``jax.enable_x64``."""
    import jax

    @jax.custom_vjp
    def function(theta):
        return jax.numpy.asarray(cost(np.asarray(theta)))

    def forward(theta):
        return function(theta), theta

    def backward(theta, w):
        return (w * gradient(np.asarray(theta)),)

    function.defvjp(forward, backward)
    return function


class TorchNetwork:
    """z_L(X; θ) and C(θ), written a second time in torch's own functions and differentiated by torch, in float64.

    θ is flat: first all the weights, then all the biases. Arguments and results are NumPy arrays.

    Parameters
    ----------
    sizes : (n_0, …, n_L).
    activation : the name of the activation of every hidden layer.
    loss : "cross_entropy" or "mean_squared_error".
    X, y, share : (n, n_0), (n, n_L) and the weight of each sample in the mean, (n,).
    decay : α/n.
    """

    def __init__(self, sizes: Sequence[int], activation: str, loss: str, X, y, share, decay: float = 0.0) -> None:
        torch = _torch()
        self.sizes, self.loss, self.decay = tuple(sizes), loss, decay
        self.f = _torch_activation(activation)
        self.X, self.y, self.share = (torch.tensor(np.asarray(a), dtype=torch.float64) for a in (X, y, share))

    def jvp(self, theta: np.ndarray, v: np.ndarray, X_tangent: np.ndarray | None = None) -> np.ndarray:
        """Return d/dt z_L(X + t Ẋ; θ + t v) by torch's forward mode."""
        torch = _torch()
        X_tangent = torch.zeros_like(self.X) if X_tangent is None else _leaf(X_tangent)
        with warnings.catch_warnings():  # torch's forward mode runs torch.jit.script, of which torch warns
            warnings.filterwarnings("ignore", "`torch.jit.script`", DeprecationWarning)
            return torch.func.jvp(self._logits, (_leaf(theta), self.X), (_leaf(v), X_tangent))[1].numpy()

    def vjp(self, theta: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        """Return d/dθ ⟨z_L, w⟩."""
        return self._grad(lambda t: (self._logits(t, self.X) * _leaf(cotangent)).sum(), theta)

    def hvp(self, theta: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return d/dθ ⟨∂C/∂θ, v⟩ by backpropagation through the backward pass."""
        torch = _torch()
        with torch.enable_grad():
            return torch.autograd.functional.hvp(lambda t: self._cost(t, self.X), _leaf(theta), _leaf(v))[1].numpy()

    def input_gradient(self, theta: np.ndarray) -> np.ndarray:
        """Return ∂C/∂X."""
        return self._grad(lambda X: self._cost(_leaf(theta), X), self.X.numpy())

    def per_sample_gradients(self, theta: np.ndarray) -> np.ndarray:
        """Return ∂C_x/∂θ (n, P), of one sample at a time under vmap."""
        torch = _torch()
        one = torch.func.grad(lambda t, x, y: self._costs(self._logits(t, x), y))
        return torch.func.vmap(one, (None, 0, 0))(_leaf(theta), self.X, self.y).numpy()

    def _logits(self, theta: Array, X: Array) -> Array:
        torch = _torch()
        pairs = list(itertools.pairwise(self.sizes))
        parts = torch.split(theta, [n_in * n_out for n_in, n_out in pairs] + [n_out for _, n_out in pairs])
        h = z = X
        for l, (n_in, n_out) in enumerate(pairs):
            z = torch.nn.functional.linear(h, parts[l].reshape(n_in, n_out).T, parts[len(pairs) + l])
            h = self.f(z)
        return z

    def _costs(self, z: Array, y: Array) -> Array:
        functional = _torch().nn.functional
        if self.loss == "cross_entropy":
            return functional.cross_entropy(z, y, reduction="none")
        return functional.mse_loss(z, y, reduction="none").sum(-1)

    def _cost(self, theta: Array, X: Array) -> Array:
        n_weights = sum(n_in * n_out for n_in, n_out in itertools.pairwise(self.sizes))
        penalty = theta[:n_weights].square().sum()
        return (self.share * self._costs(self._logits(theta, X), self.y)).sum() + 0.5 * self.decay * penalty

    def _grad(self, function: Callable[[Array], Array], at: np.ndarray) -> np.ndarray:
        torch = _torch()
        with torch.enable_grad():
            leaf = _leaf(at).requires_grad_()
            return torch.autograd.grad(function(leaf), leaf)[0].numpy()


def _leaf(a: np.ndarray) -> Array:
    torch = _torch()
    return torch.tensor(np.asarray(a), dtype=torch.float64)


def _torch():
    """Import torch and set it to one thread, since on small nets threads only wait for each other."""
    import torch

    torch.set_num_threads(1)
    return torch
