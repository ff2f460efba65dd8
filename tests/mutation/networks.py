"""The networks of the campaign: those that faults are planted in, and correct ones at random, many of them awkward."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from helpers import make_objective, one_hot
from numpy.random import RandomState

from xbackprop.arrays.discovery import backend_class
from xbackprop.mlp.setting_table import TASKS
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.nn.losses import LOSSES
from xbackprop.nn.objective import Batch, Objective, make_batch
from xbackprop.nn.parameters import Layout

#: λ = α/n, and what the weights are multiplied by.
REGIMES = {"λ=1e-3": (1e-3, 1.0), "λ=1e-5": (1e-5, 1.0), "W×0.05": (1e-3, 0.05)}
SIZES = (4, 5, 5, 3)  # square in the middle, and two layers of one width: what hides mistakes from shape checks
SAMPLES = 7
ALL = tuple(name for name in ACTIVATIONS if name != "identity")


class Setting(NamedTuple):
    """Where a fault is planted."""

    task: str
    activation: str
    regime: str
    weighted: bool = False

    def __str__(self) -> str:
        return ", ".join([self.task, self.activation, self.regime, *(["weighted"] if self.weighted else [])])


class Case(NamedTuple):
    """A network at a point: C(θ) on a batch. what : in words."""

    objective: Objective
    theta: np.ndarray
    batch: Batch
    what: str


def settings(activations=ALL, regimes=tuple(REGIMES), weighted: bool = False) -> Iterator[Setting]:
    """Every loss × activation × regime."""
    for task, activation, regime in itertools.product(TASKS, activations, regimes):
        yield Setting(task, activation, regime, weighted)


def case_of(setting: Setting) -> Case:
    """The network of a setting; the same weights and data for all of them."""
    rate, factor = REGIMES[setting.regime]
    rng = RandomState(0)
    X = rng.standard_normal((SAMPLES, SIZES[0]))
    y = one_hot(np.arange(SAMPLES) % 3, 3) if setting.task == "classification" else rng.standard_normal((SAMPLES, 3))
    weight = rng.uniform(0.5, 3.0, SAMPLES) if setting.weighted else None
    backend = backend_class("numpy")().generic()
    batch = make_batch(backend, X, y, weight)
    alpha = rate / float(batch.inverse)
    objective = make_objective(backend, SIZES, setting.activation, setting.task, alpha)
    rng = RandomState(1)
    theta = 0.6 * rng.standard_normal(objective.layout.n_parameters)
    theta[: objective.layout.n_weights] *= factor
    return Case(objective, theta, batch, str(setting))


def correct_network(seed: int) -> Case:
    """A network drawn at random, nothing wrong with it; what makes correct gradients look wrong is drawn often.

    Saturated and vanishing units, dead ones, units exactly at a kink, data that are fitted, one sample, weights of 0.
    """
    rng = RandomState(seed)

    def chance(p: float) -> bool:
        return bool(rng.random_sample() < p)

    task = ("classification", "regression")[rng.randint(2)]
    depth, n, outputs = rng.randint(4), rng.randint(1, 11), rng.randint(2 if task == "classification" else 1, 5)
    sizes = (rng.randint(1, 6), *rng.randint(1, 7, depth), outputs)
    one = ACTIVATIONS[str(rng.choice(list(ACTIVATIONS)))]
    mixed = [ACTIVATIONS[str(rng.choice(list(ACTIVATIONS)))] for _ in range(depth)]
    hidden = mixed if chance(0.3) else [one] * depth
    scale = 0.05 * 100 ** rng.random_sample()
    zero_biases, zero_rows, weighted, fitted = chance(0.4), chance(0.4), chance(0.4), chance(0.15)
    alpha = 0.0 if chance(0.3) else float(10 ** rng.uniform(-6, 0))

    backend = backend_class("numpy")()
    if chance(0.5):
        backend = backend.generic()
    objective = Objective(backend, Layout(sizes), hidden, LOSSES[TASKS[task]], alpha)
    theta = scale * rng.standard_normal(objective.layout.n_parameters)
    if zero_biases:
        theta[objective.layout.n_weights :] = 0.0
    X = rng.standard_normal((n, sizes[0])) * (30.0 if chance(0.15) else 1.0)
    if zero_rows:
        X[: rng.randint(1, n + 1)] = 0.0
    y = one_hot(rng.randint(outputs, size=n), outputs)
    if task == "regression":
        y = rng.standard_normal((n, outputs)) * (100.0 if chance(0.15) else 1.0)
    if fitted:
        y = objective.loss.output(np, objective.forward(theta, X).z[-1])
        y = y + 1e-9 * rng.standard_normal(y.shape) if task == "regression" else one_hot(np.argmax(y, axis=1), outputs)
    weight = rng.uniform(0.0, 3.0, n) * (rng.random_sample(n) < 0.8) if weighted else None
    if weight is not None:
        weight[0] = 1.0  # a batch that weighs nothing has no gradient
    words = [
        f"seed {seed}: {task}, {'-'.join(map(str, sizes))}, {'/'.join(f.name for f in hidden) or 'no hidden layer'}",
        f"n={n}, weights × {scale:.2g}, α={alpha:.1g}, {'reused' if backend.reuses_buffers else 'generic'}",
        *(word for word, true in (("zero biases", zero_biases), ("zero rows", zero_rows), ("weighted", weighted),
                                  ("fitted", fitted)) if true),
    ]  # fmt: skip
    return Case(objective, theta, make_batch(backend, X, y, weight), ", ".join(words))
