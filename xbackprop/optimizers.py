"""Optimizers: θ from θ and g = ∂C/∂θ. They know nothing of networks.

Each is a step, a function of arrays ``step(xp, theta, g, *state, ...)`` that gives the new θ and the new state, and a
class that holds the hyperparameters and calls it. A backend that reuses buffers may update θ and the state in place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from xbackprop.backend import Array, Backend, Namespace


class State(NamedTuple):
    """What an optimizer remembers: t, the steps taken, and for every parameter array its moments."""

    t: int
    moments: list[tuple[Array, ...]]


class Optimizer(Protocol):
    """Anything that can start on, and then update, a list of parameter arrays."""

    def start(self, backend: Backend, parameters: Sequence[Array]) -> State:
        """The state before the first step."""
        ...

    def update(
        self,
        backend: Backend,
        parameters: Sequence[Array],
        gradients: Sequence[Array],
        state: State,
        rate: float | None = None,
    ) -> tuple[list[Array], State]:
        """The parameters and the state after one step of rate η, `learning_rate_init` where none is given."""
        ...

    @property
    def learning_rate_init(self) -> float:
        """η where no schedule changes it."""
        ...


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


def decay_step(xp: Namespace, theta: Array, n: int, factor: float) -> Array:
    """θ_p ← (1 - ηλ) θ_p for the first n parameters, the weights: decay apart from the gradient. Loshchilov and Hutter,
    2019.
    """
    return xp.concat([factor * theta[:n], theta[n:]])


def clip_norm(xp: Namespace, g: Array, limit: float) -> Array:
    """g ← g min(1, c/‖g‖): its direction stays. Pascanu, Mikolov and Bengio, 2013."""
    return g * (limit / xp.maximum(xp.sqrt(g @ g), limit))


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: plain (μ = 0), with momentum, or with Nesterov's."""

    learning_rate_init: float = 1e-3
    momentum: float = 0.9
    nesterovs_momentum: bool = True

    def start(self, backend: Backend, parameters: Sequence[Array]) -> State:
        """Velocities of zero."""
        return State(0, [(backend.xp.zeros_like(p),) if self.momentum else () for p in parameters])

    def update(
        self,
        backend: Backend,
        parameters: Sequence[Array],
        gradients: Sequence[Array],
        state: State,
        rate: float | None = None,
    ) -> tuple[list[Array], State]:
        """One step of size η."""
        rate, momentum = self.learning_rate_init if rate is None else rate, self.momentum
        if not momentum:
            return _apply(backend, sgd_step, parameters, gradients, state, (rate,))
        step = nesterov_step if self.nesterovs_momentum else momentum_step
        return _apply(backend, step, parameters, gradients, state, (rate, momentum))


@dataclass(frozen=True)
class Adam:
    """Adam as scikit-learn has it: the bias correction is in the rate, and ε is added to the uncorrected √v."""

    learning_rate_init: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def start(self, backend: Backend, parameters: Sequence[Array]) -> State:
        """Moments of zero."""
        return State(0, [(backend.xp.zeros_like(p), backend.xp.zeros_like(p)) for p in parameters])

    def update(
        self,
        backend: Backend,
        parameters: Sequence[Array],
        gradients: Sequence[Array],
        state: State,
        rate: float | None = None,
    ) -> tuple[list[Array], State]:
        """One step, of rate η_t = η √(1-β₂ᵗ) / (1-β₁ᵗ)."""
        t, rate = state.t + 1, self.learning_rate_init if rate is None else rate
        rate = rate * math.sqrt(1.0 - self.beta_2**t) / (1.0 - self.beta_1**t)
        return _apply(backend, adam_step, parameters, gradients, state, (rate, self.beta_1, self.beta_2, self.epsilon))


@dataclass(frozen=True)
class RMSProp:
    """The gradient over the root of a moving mean of its square."""

    learning_rate_init: float = 1e-3
    rho: float = 0.9
    epsilon: float = 1e-8

    def start(self, backend: Backend, parameters: Sequence[Array]) -> State:
        """Mean squares of zero."""
        return State(0, [(backend.xp.zeros_like(p),) for p in parameters])

    def update(
        self,
        backend: Backend,
        parameters: Sequence[Array],
        gradients: Sequence[Array],
        state: State,
        rate: float | None = None,
    ) -> tuple[list[Array], State]:
        """One step of rate η."""
        rate = self.learning_rate_init if rate is None else rate
        return _apply(backend, rmsprop_step, parameters, gradients, state, (rate, self.rho, self.epsilon))


@dataclass(frozen=True)
class Adagrad:
    """The gradient over the root of the sum of its squares so far."""

    learning_rate_init: float = 1e-3
    epsilon: float = 1e-8

    def start(self, backend: Backend, parameters: Sequence[Array]) -> State:
        """Sums of zero."""
        return State(0, [(backend.xp.zeros_like(p),) for p in parameters])

    def update(
        self,
        backend: Backend,
        parameters: Sequence[Array],
        gradients: Sequence[Array],
        state: State,
        rate: float | None = None,
    ) -> tuple[list[Array], State]:
        """One step of rate η."""
        rate = self.learning_rate_init if rate is None else rate
        return _apply(backend, adagrad_step, parameters, gradients, state, (rate, self.epsilon))


def _apply(backend, step, parameters, gradients, state, constants):  # type: ignore[no-untyped-def]
    """One step on every parameter array."""
    step = backend.bind(step)
    results = [
        step(theta, g, *moments, *constants)
        for theta, g, moments in zip(parameters, gradients, state.moments, strict=True)
    ]
    return [theta for theta, *_ in results], State(state.t + 1, [tuple(moments) for _, *moments in results])
