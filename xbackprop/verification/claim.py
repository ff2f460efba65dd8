"""A gradient g that is claimed for a function C at a point θ: the only input of difference methods.

Moved parameters are stacked along a leading axis, so that one call of C evaluates the whole stack; a budget of memory
bounds their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from xbackprop.arrays.backend import Array, Backend, Namespace
from xbackprop.verification.findings import Element, Finding, Method, Verdict

#: From stacked parameters θ (S, P) to C (S,) and the side of its kinks that each unit is on: boolean arrays (S, …).
CostAndBranches = Callable[[Array], tuple[Array, list[Array]]]


class ElementCosts(Protocol):
    """A function that gives C(θ + h e_p), and whether it crosses a kink, for less work than C of stacked θ takes."""

    floats_per_element: int

    def __call__(self, elements: np.ndarray, h: complex) -> tuple[np.ndarray, np.ndarray]:
        """Return costs (k,) and crossings (k,) on the host; h is a float, or complex."""


#: For every tensor, its range in θ and its shape.
Tensors = Mapping[str, tuple[slice, tuple[int, ...]]]

#: Bytes of a stack: a stack that stays in the cache is fastest.
STACK_BYTES = 2**22
#: So small that its square is zero: a real part exactly at a kink stays there.
COMPLEX_STEP = 1e-200
#: Distances between the points at which noise is measured: near points meet no kink, and over far ones C changes by
#: more than a digit.
SPACINGS = (1e-13, 1e-10, 1e-7)
EPS = float(np.finfo(np.float64).eps)
NONE = np.empty(0)


@dataclass(frozen=True)
class GradientClaim:
    """A point θ, C around it, and the gradient claimed at it.

    backend : the backend of θ, in whose library C is computed.
    cost_and_branches : C of stacked θ, real or complex, and the branches of its units; no branches if C has no kinks.
    theta : (P,), float64. gradient : (P,), on the host.
    tensors : the range in θ and the shape of every named tensor.
    sample : the elements of θ that are checked one by one, in order; None for all.
    allowance : (P,), the error that rounding alone may make in each element of the gradient; None if it is not known.
    at_kink : for some tensors, the number of units of their layer that are exactly at a kink.
    seed : the seed of random directions.
    floats_per_point : the numbers that C stores for one θ of a stack, beside θ.
    memory : the bytes that a stack may take.
    element_costs : a quicker function for C(θ + h e_p), or None.
    black_box : whether C is a function of which nothing is known: it may have kinks that are not declared, and work in
        few digits. A right gradient of it must not fail, nor may a small element hide behind a large one.
    """

    backend: Backend
    cost_and_branches: CostAndBranches
    theta: Array
    gradient: np.ndarray
    tensors: Tensors
    sample: np.ndarray | None = None
    allowance: np.ndarray | None = None
    at_kink: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    floats_per_point: int = 0
    memory: int = STACK_BYTES
    element_costs: ElementCosts | None = None
    black_box: bool = False

    @cached_property
    def elements(self) -> np.ndarray:
        """The elements of θ that are checked one by one."""
        return np.arange(len(self.gradient)) if self.sample is None else self.sample

    @cached_property
    def at_theta(self) -> tuple[float, list[Array]]:
        """C(θ), and the branches of the units at θ."""
        costs, branches = self.cost_and_branches(self.theta[None, :])
        return float(self.backend.to_host(costs)[0]), branches

    def noise(self, h: float | np.ndarray) -> np.ndarray:
        """Estimate the rounding noise of C at a distance h from θ: at least u|C|, plus a part that grows with h.

        C of a network that fits its data is smaller by orders at θ than next to it, and so is its noise.
        """
        near, far = self._noises
        return near + np.asarray(h) * far

    @cached_property
    def _noises(self) -> tuple[float, float]:
        """The noise at θ; and the largest noise at distance 1, along a random direction and an axis of every tensor."""
        axes = np.zeros((len(self.tensors), self.theta.shape[0]))
        rng = np.random.RandomState(0)
        for i, (where, _) in enumerate(self.tensors.values()):
            axes[i, rng.randint(where.start, where.stop)] = 1.0
        found = [self._noise_around(point) for point in (np.zeros(axes.shape[1]), *self.directions(0), *axes)]
        return max(found[0], self._smallest_change() if self.black_box else 0.0), max(found)

    def _smallest_change(self) -> float:
        """Return the smallest change of C near θ that is not 0: a function that rounds changes by jumps."""
        _, direction = line(self.backend.to_host(self.theta))
        steps = np.outer(2.0 ** -np.arange(53), [-1.0, 1.0]).ravel()
        parts = [self.evaluate(chosen, 1.0) for chosen in self.stacks(np.outer(steps, direction))]
        costs, crossed = (np.concatenate(part) for part in zip(*parts, strict=True))
        changes = np.abs(costs - self.at_theta[0])[~crossed]
        return float(np.min(changes[changes > 0])) if np.any(changes > 0) else 0.0

    def _noise_around(self, point: np.ndarray) -> float:
        """Measure the noise of C around θ + point: the largest over lines of different spacing that meet no kink."""
        steps, direction = line(self.backend.to_host(self.theta))
        parts = [self.evaluate(point + np.outer(chosen, direction), 1.0) for chosen in self.stacks(steps)]
        costs, crossed = (np.reshape(np.concatenate(part), (len(SPACINGS), -1)) for part in zip(*parts, strict=True))
        finite = np.isfinite(costs)
        smooth = np.all((crossed == crossed[:, :1]) & finite, axis=1)
        noise = np.where(smooth, difference_noise(costs.T), 0.0)
        return max(EPS * float(np.max(np.abs(costs), initial=0.0, where=finite)), float(np.max(noise)))

    def resolution(self, changes: np.ndarray) -> np.ndarray:
        """Return the smallest change that C can show, u or u|C|, where `changes` are 0 (at log 1, say); else 0."""
        return np.where(np.any(changes != 0, axis=0), 0.0, EPS * max(1.0, abs(self.at_theta[0])))

    def stacks(self, moves: np.ndarray, bytes_per_number: int = 8) -> Iterator[np.ndarray]:
        """Yield the moves in pieces, each as large as the memory budget allows."""
        floats = 2 * self.theta.shape[0] + self.floats_per_point
        if self.element_costs is not None and moves.ndim == 1:
            floats = self.element_costs.floats_per_element
        size = max(1, self.memory // (bytes_per_number * floats))
        for first in range(0, len(moves), size):
            yield moves[first : first + size]

    def evaluate(self, moves: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
        """Return C(θ + h m) for every move m, and whether it tells nothing of C at θ.

        It does not where some unit is on another branch than at θ, nor where C is not finite.

        moves : (k,) numbers of elements p, for m = e_p; or (k, P) directions.
        """
        costs, crossed = self._costs_and_crossings(moves, float(h))
        return costs, crossed | ~np.isfinite(costs)

    def _costs_and_crossings(self, moves: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
        if self.element_costs is not None and moves.ndim == 1:
            return self.element_costs(moves, h)
        xp, device = self.backend.xp, self.backend.device
        costs, branches = self.cost_and_branches(self._moved(self.theta, moves, h))
        crossed = xp.zeros(costs.shape, dtype=xp.bool, device=device)
        for there, here in zip(branches, self.at_theta[1], strict=True):
            crossed = crossed | xp.any(there != here, axis=tuple(range(1, there.ndim)))
        return self.backend.to_host(costs), self.backend.to_host(crossed)

    def complex_slopes(self, moves: np.ndarray, h: float = COMPLEX_STEP) -> np.ndarray:
        """Return Im C(θ + ih m) / h for every move m: the slope of C along m, without any difference."""
        costs = [self._complex_costs(chosen, complex(0.0, h)) for chosen in self.stacks(moves, 16)]
        return np.concatenate([np.imag(c) / h for c in costs]) if costs else np.empty(0)

    def _complex_costs(self, moves: np.ndarray, h: complex) -> np.ndarray:
        if self.element_costs is not None and moves.ndim == 1:
            return self.element_costs(moves, h)[0]
        theta = self.backend.xp.astype(self.theta, self.backend.xp.complex128)
        return self.backend.to_host(self.cost_and_branches(self._moved(theta, moves, h))[0])

    def _moved(self, theta: Array, moves: np.ndarray, h: complex) -> Array:
        """Return θ + h m for every move m, stacked."""
        xp, device = self.backend.xp, self.backend.device
        if moves.ndim == 2:
            return theta[None, :] + h * xp.asarray(moves, dtype=theta.dtype, device=device)
        place = xp.arange(theta.shape[0], device=device)
        return self.backend.bind(_move_elements)(theta, place, xp.asarray(moves, device=device), h)

    def directions(self, seed: int) -> np.ndarray:
        """Return, for every tensor, a random direction of length 1 that moves it alone: (tensors, P)."""
        found = np.zeros((len(self.tensors), self.theta.shape[0]))
        for i, (where, _) in enumerate(self.tensors.values()):
            found[i, where] = _random_unit(where.stop - where.start, seed + i)
        return found


def _move_elements(xp: Namespace, theta: Array, place: Array, elements: Array, h: complex) -> Array:
    """Return θ + h e_p (k, P) for every p in `elements` (k,); `place` is 0 … P-1."""
    return xp.where(elements[:, None] == place[None, :], (theta + h)[None, :], theta[None, :])


def element_of(tensors: Tensors, p: int, analytic: float, numeric: float) -> Element:
    """Return element p of θ with its derivative, as claimed and as measured."""
    name, (where, shape) = next((n, t) for n, t in tensors.items() if t[0].start <= p < t[0].stop)
    return Element(name, tuple(int(i) for i in np.unravel_index(p - where.start, shape)), analytic, numeric)


class Judgement(NamedTuple):
    """The verdict of a method on one tensor, from which `judge_tensors` makes a finding.

    bound, checked : in place of the method's bound and the number of elements, if they differ.
    off : the error of each element, to find the worst one; or `worst`, that element itself.
    """

    verdict: Verdict
    error: float
    reason: str = ""
    counts: Mapping[str, int] = {}
    bound: float | None = None
    checked: int | None = None
    off: np.ndarray | None = None
    worst: Element | None = None


def judge_tensors(
    method: Method,
    tensors: Tensors,
    judge: Callable[[str, np.ndarray], Judgement],
    elements: np.ndarray,
    analytic: np.ndarray = NONE,
    numeric: np.ndarray = NONE,
) -> list[Finding]:
    """Return the findings of a method, one per tensor.

    judge : the function ``judge(name, mine)``, where ``elements[mine]`` are the elements that lie in the tensor.
    elements : the elements of θ that the method has checked.
    analytic, numeric : (len(elements),), their derivatives as claimed and as measured.
    """
    findings = []
    for name, (where, _) in tensors.items():
        mine = np.flatnonzero((elements >= where.start) & (elements < where.stop))
        told = judge(name, mine)
        worst = told.worst
        if told.off is not None and len(mine):
            i = mine[np.argmax(told.off)]
            worst = element_of(tensors, int(elements[i]), float(analytic[i]), float(numeric[i]))
        bound = method.bound if told.bound is None else told.bound
        checked = len(mine) if told.checked is None else told.checked
        findings.append(
            Finding(method, name, told.verdict, told.error, bound, checked, told.counts, worst, told.reason)
        )
    return findings


def line(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return steps, ten for each of SPACINGS, and a direction; a smooth function does not curve so near to θ."""
    spacings = np.array(SPACINGS) * max(1.0, float(np.linalg.norm(theta)))
    return np.outer(spacings, np.arange(1, 11)).ravel(), _random_unit(len(theta), 0)


def difference_noise(values: np.ndarray) -> np.ndarray:
    """Return the noise of values (10, ...) at the points of `line`, from the size of their fifth differences.

    A smooth function vanishes in these differences; independent errors remain, with binom(10, 5) times their variance.
    Moré and Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33, 2011.
    """
    exponent = np.max(np.frexp(values)[1], axis=0)  # so that no square overflows
    differences = np.diff(np.ldexp(values, -exponent), 5, axis=0)
    return np.ldexp(np.sqrt(np.mean(differences**2, axis=0) / math.comb(10, 5)), exponent)


def _random_unit(n: int, seed: int) -> np.ndarray:
    v = np.random.RandomState(seed).standard_normal(n)
    return v / np.linalg.norm(v)
