"""How a fault is planted in an objective, and whether it shows in the gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from unittest.mock import patch

import numpy as np

from xbackprop.arrays.discovery import backend_class
from xbackprop.nn.activations import Activation
from xbackprop.nn.backprop import backward, bias_gradient, hidden_delta, weight_gradient
from xbackprop.nn.objective import Batch, Objective
from xbackprop.nn.penalty import add_penalty_gradient

LIVE = 1e-10  # of the largest element of a tensor: a gradient that is less than this off is no mutant


@dataclass(frozen=True)
class Fault:
    """One mistake in the gradient, none in C: checkers evaluate C on ``backend.generic()``, which overrides nothing.

    number : in the list of seeded faults, 0 for one that is not there.
    overrides : functions of the backend, replaced.
    own_row : an activation, and the f′ that stands in a user's own row for it.
    backward : stands for `network.backward`.
    amend : ``(objective, theta, batch, g) -> g``, done to the finished gradient.
    buffered : it takes a backend that reuses its memory; the others run on the generic functions.
    weighted : it takes sample weights to show.
    """

    number: int
    name: str
    overrides: Mapping[Callable, Callable] = field(default_factory=dict)
    own_row: tuple[Activation, Callable] | None = None
    backward: Callable | None = None
    amend: Callable | None = None
    buffered: bool = False
    weighted: bool = False

    def __str__(self) -> str:
        return f"{self.number or 'own'}: {self.name}"

    def concerns(self, objective: Objective) -> bool:
        """Whether the objective runs anything that the fault replaces."""
        used = {weight_gradient, bias_gradient, hidden_delta, add_penalty_gradient, objective.loss.value_and_delta}
        used |= {function for f in objective.hidden for function in (f.f, f.df)}
        if self.own_row:
            return self.own_row[0] in objective.hidden
        return bool(self.backward or self.amend or used & set(self.overrides))


@dataclass(frozen=True)
class Amended(Objective):
    """An objective whose gradient is changed at the very end."""

    amend: Callable | None = None

    def value_and_gradient(self, theta, batch, workspace=None):
        cost, g = super().value_and_gradient(theta, batch, workspace)
        return cost, self.amend(self, theta, batch, g)


@contextmanager
def planted(fault: Fault, objective: Objective) -> Iterator[Objective]:
    """The objective with the fault in it, on NumPy."""
    backend = backend_class("numpy")() if fault.buffered else backend_class("numpy")().generic()
    backend.overrides = {**backend.overrides, **fault.overrides}
    parts = {f.name: getattr(objective, f.name) for f in fields(Objective)} | {"backend": backend}
    if fault.own_row:
        row, df = fault.own_row
        parts["hidden"] = [replace(f, name="own", df=df) if f is row else f for f in objective.hidden]
    made = Amended(**parts, amend=fault.amend) if fault.amend else Objective(**parts)
    wrong = fault.backward or backward
    with patch("xbackprop.nn.objective.backward", wrong), patch("xbackprop.nn.derivatives.backward", wrong):
        yield made


def two_steps(objective: Objective, theta: np.ndarray, batch: Batch) -> list[np.ndarray]:
    """The gradients of two steps from the same θ, as a trainer takes them: with one workspace for both."""
    workspace = objective.workspace(theta, batch.X.shape[0])
    return [np.array(objective.value_and_gradient(theta, batch, workspace)[1]) for _ in range(2)]


def deviation(wrong: np.ndarray, right: np.ndarray, objective: Objective) -> float:
    """max|Δ| / max|g| of the tensor where it is largest; infinite where the gradient is no number, or should be 0."""
    found = 0.0
    for where, _ in objective.layout.tensors().values():
        off, scale = np.max(np.abs(wrong[where] - right[where])), np.max(np.abs(right[where]))
        if off != 0:  # and NaN
            found = max(found, float(off / scale) if np.isfinite(off) and scale > 0 else np.inf)
    return found


def is_live(fault: Fault, objective: Objective, theta: np.ndarray, batch: Batch) -> bool:
    """Whether the fault shows in either of two steps; what it does not show in is equivalent."""
    right = two_steps(objective, theta, batch)[0]
    with planted(fault, objective) as faulty, np.errstate(all="ignore"):
        return any(deviation(g, right, objective) > LIVE for g in two_steps(faulty, theta, batch))
