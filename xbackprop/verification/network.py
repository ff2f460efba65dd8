"""A network's gradient at one point, laid out as the methods need it: in float64 as a function of θ alone, and on the
host as arrays for the oracles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.nn.objective import Batch, Objective
from xbackprop.verification.claim import Subject
from xbackprop.verification.network_subject import cast_batch, make_subject, on_host, trained_gradient
from xbackprop.verification.problem import Problem, problem_on_host
from xbackprop.verification.rounding import rounding_bound

WORK = 2e11  # multiplications and additions that element-by-element methods may take before they sample
FEWEST = 16  # elements of a tensor that are looked at in any case


@dataclass(frozen=True)
class Point:
    """Where a gradient is looked at.

    objective, theta, batch : in the dtype that trains. problem : the same on the host, in float64.
    gradient : as trained, (P,), on the host; `rounding` by how much rounding alone may put it off, in its own dtype.
    subject : C and the gradient in float64. rounding64 : the bound there.
    rows : the elements that element-by-element methods look at. repeatable : whether computing it twice gave the same.
    """

    objective: Objective
    theta: Array
    batch: Batch
    problem: Problem
    gradient: np.ndarray
    rounding: np.ndarray
    subject: Subject
    rounding64: np.ndarray
    rows: np.ndarray
    repeatable: bool
    seed: int

    @property
    def sampled(self) -> bool:
        """Whether some elements are not looked at one by one."""
        return len(self.rows) < len(self.gradient)


def make_point(objective: Objective, theta: Array, batch: Batch, seed: int, memory: int) -> Point:
    """Take the gradient, by the path that training takes, and what else the methods need."""
    backend, layout = objective.backend, objective.layout
    xp = backend.xp
    gradient = trained_gradient(objective, theta, batch)
    fresh = objective.workspace(theta, batch.X.shape[0])
    once = on_host(objective, objective.value_and_gradient([theta], batch, fresh))
    repeatable = bool(np.array_equal(gradient, once, equal_nan=True))
    wide_theta, wide_batch, wide = theta, batch, gradient
    if gradient.dtype != np.float64:
        wide_theta, wide_batch = xp.astype(theta, xp.float64), cast_batch(objective, batch, xp.float64)
        wide = trained_gradient(objective, wide_theta, wide_batch)
    problem = problem_on_host(objective, theta, batch)
    bounds = {dtype: _flat(rounding_bound(problem, dtype)) for dtype in {gradient.dtype, np.dtype(np.float64)}}
    subject = make_subject(objective, wide_theta, wide_batch, wide, memory)
    return Point(
        objective=objective,
        theta=theta,
        batch=batch,
        problem=problem,
        gradient=gradient,
        rounding=bounds[gradient.dtype],
        subject=subject,
        rounding64=bounds[np.dtype(np.float64)],
        rows=_sample(subject, 8 * batch.X.shape[0] * layout.n_weights, seed),
        repeatable=repeatable,
        seed=seed,
    )


def _sample(subject: Subject, work: float, seed: int) -> np.ndarray:
    """All elements of θ if C can be afforded that often; otherwise as many of every tensor, and its largest."""
    sizes = [where.stop - where.start for where, _ in subject.tensors.values()]
    each = max(FEWEST, int(WORK / max(work, 1)) // len(sizes))
    rng = np.random.RandomState(seed)
    chosen = []
    for where, _ in subject.tensors.values():
        inside = np.arange(where.start, where.stop)
        if len(inside) > each and sum(sizes) * work > WORK:
            largest = where.start + int(np.argmax(np.abs(subject.gradient[where])))
            inside = np.union1d(rng.choice(inside, each, replace=False), [largest])
        chosen.append(inside)
    return np.concatenate(chosen)


def _flat(layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.concatenate([W.ravel() for W, _ in layers] + [b.ravel() for _, b in layers])
