"""Optimizers: update rules that take θ and g = ∂C/∂θ to a new θ. They know nothing of networks.

Each optimizer is a step, a function of arrays ``step(xp, theta, g, *moments, rate, *constants)`` that returns the new θ
and the new moments, and a class that holds the constants and calls the step. Steps are elementwise. A backend that
reuses buffers may update θ and the moments in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from xbackprop.arrays.backend import Array, Backend, Namespace


class State(NamedTuple):
    """Memory of an optimizer: t, the number of steps taken, and its moments, arrays like θ."""

    t: int
    moments: Sequence[Array]


def sgd_step(xp: Namespace, theta: Array, g: Array, rate: float) -> tuple[Array]:
    """θ ← θ - η g: Section 2.1.1."""
    return (theta - rate * g,)


def momentum_step(
    xp: Namespace, theta: Array, g: Array, velocity: Array, rate: float, momentum: float
) -> tuple[Array, Array]:
    """v ← μ v - η g,  θ ← θ + v. Polyak, 1964."""
    velocity = momentum * velocity - rate * g
    return theta + velocity, velocity


def nesterov_step(
    xp: Namespace, theta: Array, g: Array, velocity: Array, rate: float, momentum: float
) -> tuple[Array, Array]:
    """v ← μ v - η g,  θ ← θ + μ v - η g. Nesterov, 1983, in the form of Sutskever et al., 2013."""
    velocity = momentum * velocity - rate * g
    return theta + (momentum * velocity - rate * g), velocity


def adam_step(
    xp: Namespace, theta: Array, g: Array, m: Array, v: Array, rate: float, beta_1: float, beta_2: float, epsilon: float
) -> tuple[Array, Array, Array]:
    """m ← β₁ m + (1-β₁) g,  v ← β₂ v + (1-β₂) g²,  θ ← θ - η_t m / (√v + ε). Kingma and Ba, 2014."""
    m = beta_1 * m + (1.0 - beta_1) * g
    v = beta_2 * v + (1.0 - beta_2) * (g * g)
    return theta - rate * m / (xp.sqrt(v) + epsilon), m, v


def rmsprop_step(
    xp: Namespace, theta: Array, g: Array, v: Array, rate: float, rho: float, epsilon: float
) -> tuple[Array, Array]:
    """v ← ρ v + (1-ρ) g²,  θ ← θ - η g / (√v + ε). Tieleman and Hinton, 2012."""
    v = rho * v + (1.0 - rho) * (g * g)
    return theta - rate * g / (xp.sqrt(v) + epsilon), v


def adagrad_step(xp: Namespace, theta: Array, g: Array, v: Array, rate: float, epsilon: float) -> tuple[Array, Array]:
    """v ← v + g²,  θ ← θ - η g / (√v + ε). Duchi, Hazan and Singer, 2011."""
    v = v + g * g
    return theta - rate * g / (xp.sqrt(v) + epsilon), v


def clip_norm(xp: Namespace, gradients: Sequence[Array], limit: float) -> list[Array]:
    """g ← g min(1, c/‖g‖), ‖g‖ over the last axis of all the arrays. Pascanu, Mikolov and Bengio, 2013.

    The direction stays. Gradients (k, P) of a stack of networks have a norm each.
    """
    squares = sum(xp.sum(g * g, axis=-1, keepdims=True) for g in gradients)
    factor = limit / xp.maximum(xp.sqrt(squares), limit)
    return [g * factor for g in gradients]


def average_step(xp: Namespace, average: Array, theta: Array, decay: float) -> tuple[Array]:
    """θ̄ ← β θ̄ + (1-β) θ: an exponential moving average of θ, which begins as θ by β = 0 in the first step."""
    return (decay * average + (1.0 - decay) * theta,)


@dataclass(frozen=True)
class Optimizer:
    """Base class of optimizers: a step function with its constants. Subclasses define `n_moments` and `step`."""

    @property
    def n_moments(self) -> int:
        """Number of moments: arrays like θ that are kept from step to step."""
        raise NotImplementedError

    @property
    def step(self) -> tuple[Callable, tuple[float, ...]]:
        """The step function, and the constants to pass after the rate."""
        raise NotImplementedError

    def rate(self, t: Any, eta: Any) -> Any:  # noqa: ARG002, Adam alone needs t
        """Return the rate of step t = 1, 2 …, where the schedule gives `eta`; both may be arrays."""
        return eta

    def start(self, backend: Backend, theta: Array) -> State:
        """Return the state before the first step: moments of zero, like θ."""
        with backend.device_context():
            return State(0, tuple(backend.xp.zeros_like(theta) for _ in range(self.n_moments)))

    def update(
        self, backend: Backend, theta: Array, g: Array, moments: Sequence[Array], rate: Array | float
    ) -> tuple[Array, tuple[Array, ...]]:
        """Take one step with a rate from `rate`; return the new θ and moments."""
        step, constants = self.step
        theta, *moments = backend.bind(step)(theta, g, *moments, rate, *constants)
        return theta, tuple(moments)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: plain (μ = 0), with momentum, or with Nesterov's."""

    momentum: float = 0.9
    nesterovs_momentum: bool = True

    @property
    def n_moments(self) -> int:
        """1, the velocity, or 0 without momentum."""
        return 1 if self.momentum else 0

    @property
    def step(self) -> tuple[Callable, tuple[float, ...]]:
        """The step of Nesterov momentum, plain momentum (with μ), or none."""
        if not self.momentum:
            return sgd_step, ()
        return nesterov_step if self.nesterovs_momentum else momentum_step, (self.momentum,)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam as in scikit-learn: the rate contains the bias correction, and ε is added to the uncorrected √v."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    @property
    def n_moments(self) -> int:
        """2: the moving means of g and of g²."""
        return 2

    @property
    def step(self) -> tuple[Callable, tuple[float, ...]]:
        """`adam_step` with β₁, β₂ and ε."""
        return adam_step, (self.beta_1, self.beta_2, self.epsilon)

    def rate(self, t: Any, eta: Any) -> Any:
        """Return η_t = η √(1-β₂ᵗ) / (1-β₁ᵗ)."""
        return eta * (1.0 - self.beta_2**t) ** 0.5 / (1.0 - self.beta_1**t)


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """RMSProp: divide the gradient by the root of a moving mean of its square."""

    rho: float = 0.9
    epsilon: float = 1e-8

    @property
    def n_moments(self) -> int:
        """1: the moving mean of g²."""
        return 1

    @property
    def step(self) -> tuple[Callable, tuple[float, ...]]:
        """`rmsprop_step` with ρ and ε."""
        return rmsprop_step, (self.rho, self.epsilon)


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad: divide the gradient by the root of the sum of all its squares so far."""

    epsilon: float = 1e-8

    @property
    def n_moments(self) -> int:
        """1: the sum of g²."""
        return 1

    @property
    def step(self) -> tuple[Callable, tuple[float, ...]]:
        """`adagrad_step` with ε."""
        return adagrad_step, (self.epsilon,)


#: Optimizer classes by the name of the solver.
OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": Adam,
    "adamw": Adam,
    "sgd": SGD,
    "rmsprop": RMSProp,
    "adagrad": Adagrad,
}
