"""What the difference methods see: θ, a function C around it, and the gradient that is claimed there. No network.

Moved parameters are stacked along a leading axis, and one call of C serves the whole stack; a budget bounds how many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.verification.findings import Element

#: C (S,) of stacked parameters θ (S, P), and on which side of its kinks each unit is: a list of boolean arrays (S, …).
Observed = Callable[[Array], tuple[Array, list[Array]]]

#: Bytes of a stack: what stays in the cache is fastest.
STACK_BYTES = 2**22
#: So small that its square is zero: a real part exactly at a kink stays there.
COMPLEX_STEP = 1e-200
#: Between points in which noise is looked for: near ones meet no kink, and in far ones C changes by more than a digit.
SPACINGS = (1e-13, 1e-10, 1e-7)
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Subject:
    """A point θ, C around it, and the gradient claimed at it.

    backend : where θ lives, and in whose library C calculates.
    observe : C of stacked θ, real or complex, and the branches of its units; none where C has no kinks.
    theta : (P,), float64. gradient : (P,), on the host.
    tensors : the range in θ and the shape of every named tensor.
    floats_per_point : what one θ of a stack takes beside itself, in numbers.
    memory : the bytes that a stack may take.
    """

    backend: Backend
    observe: Observed
    theta: Array
    gradient: np.ndarray
    tensors: Mapping[str, tuple[slice, tuple[int, ...]]]
    floats_per_point: int = 0
    memory: int = STACK_BYTES

    @cached_property
    def at_theta(self) -> tuple[float, list[Array]]:
        """C(θ), and the branches there."""
        costs, branches = self.observe(self.theta[None, :])
        return float(self.backend.to_host(costs)[0]), branches

    def noise(self, h: float | np.ndarray) -> np.ndarray:
        """The rounding noise of C at a distance h from θ: at least u|C|, and growing with h as far as it does.

        C of a network that fits its data is smaller by orders at θ than next to it, and so is its noise.
        """
        near, far = self._noises
        return near + np.asarray(h) * far

    @cached_property
    def _noises(self) -> tuple[float, float]:
        """The noise at θ; and the largest at distance 1, along every tensor's random direction and one of its axes."""
        axes = np.zeros((len(self.tensors), self.theta.shape[0]))
        rng = np.random.RandomState(0)
        for i, (where, _) in enumerate(self.tensors.values()):
            axes[i, rng.randint(where.start, where.stop)] = 1.0
        found = [self._noise_around(point) for point in (np.zeros(axes.shape[1]), *self.directions(0), *axes)]
        return found[0], max(found)

    def _noise_around(self, point: np.ndarray) -> float:
        """The noise of C around θ + point: the largest of three lines of different spacing that meet no kink."""
        steps, direction = line(self.backend.to_host(self.theta))
        looks = [self.look(point + np.outer(chosen, direction), 1.0) for chosen in self.stacks(steps)]
        costs, crossed = (np.reshape(np.concatenate(part), (len(SPACINGS), -1)) for part in zip(*looks, strict=True))
        smooth = np.all(crossed == crossed[:, :1], axis=1)
        noise = np.where(smooth, difference_noise(costs.T), 0.0)
        return max(EPS * float(np.max(np.abs(costs))), float(np.max(noise)))

    def resolution(self, changes: np.ndarray) -> np.ndarray:
        """What C cannot show where it does not change at all (a cost of log 1, say): u, or u|C|; 0 where it changes."""
        return np.where(np.any(changes != 0, axis=0), 0.0, EPS * max(1.0, abs(self.at_theta[0])))

    def stacks(self, moves: np.ndarray, bytes_per_number: int = 8) -> Iterator[np.ndarray]:
        """The moves, as many at a time as the budget allows."""
        per_point = bytes_per_number * (2 * self.theta.shape[0] + self.floats_per_point)
        size = max(1, self.memory // per_point)
        for first in range(0, len(moves), size):
            yield moves[first : first + size]

    def look(self, moves: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
        """C(θ + h m) for every move m, and whether some unit is then on another branch than at θ.

        moves : (k,) numbers of elements p, for m = e_p; or (k, P) directions.
        """
        xp, device = self.backend.xp, self.backend.device
        costs, branches = self.observe(self._moved(self.theta, moves, float(h)))
        crossed = xp.zeros(costs.shape, dtype=xp.bool, device=device)
        for there, here in zip(branches, self.at_theta[1], strict=True):
            crossed = crossed | xp.any(there != here, axis=tuple(range(1, there.ndim)))
        return self.backend.to_host(costs), self.backend.to_host(crossed)

    def complex_slopes(self, moves: np.ndarray, h: float = COMPLEX_STEP) -> np.ndarray:
        """Im C(θ + ih m) / h for every move m: its slope along m, with no difference taken."""
        theta = self.backend.xp.astype(self.theta, self.backend.xp.complex128)
        costs = [self.observe(self._moved(theta, chosen, complex(0.0, h)))[0] for chosen in self.stacks(moves, 16)]
        return np.concatenate([np.imag(self.backend.to_host(c)) / h for c in costs]) if costs else np.empty(0)

    def _moved(self, theta: Array, moves: np.ndarray, h: complex) -> Array:
        """θ + h m for every move m, stacked; columns in which no move lies are copied as they are."""
        xp, device = self.backend.xp, self.backend.device
        if moves.ndim == 2:
            return theta[None, :] + h * xp.asarray(moves, dtype=theta.dtype, device=device)
        n, first, last = len(moves), int(moves.min()), int(moves.max()) + 1
        chosen = xp.asarray(np.arange(first, last) == moves[:, None], device=device)
        here, before, after = theta[first:last], theta[:first], theta[last:]
        parts = [
            xp.broadcast_to(before, (n, before.shape[0])),
            xp.where(chosen, (here + h)[None, :], here[None, :]),
            xp.broadcast_to(after, (n, after.shape[0])),
        ]
        return xp.concat(parts, axis=1)

    def directions(self, seed: int) -> np.ndarray:
        """For every tensor a random direction of length 1 that moves it alone: (tensors, P)."""
        found = np.zeros((len(self.tensors), self.theta.shape[0]))
        for i, (where, _) in enumerate(self.tensors.values()):
            found[i, where] = _random_unit(where.stop - where.start, seed + i)
        return found

    def element(self, p: int, numeric: float) -> Element:
        """Element p of θ, with what a method has for its derivative."""
        name, (where, shape) = next((n, t) for n, t in self.tensors.items() if t[0].start <= p < t[0].stop)
        position = tuple(int(i) for i in np.unravel_index(p - where.start, shape))
        return Element(name, position, float(self.gradient[p]), float(numeric))


def line(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps, ten for each of SPACINGS, and a direction: so near to θ that a smooth function does not curve there."""
    spacings = np.array(SPACINGS) * max(1.0, float(np.linalg.norm(theta)))
    return np.outer(spacings, np.arange(1, 11)).ravel(), _random_unit(len(theta), 0)


def difference_noise(values: np.ndarray) -> np.ndarray:
    """The noise of values (10, ...) at such points: the size of their fifth differences, in which a smooth function has
    no part and to which independent errors add up binom(10, 5) of their variance.

    Moré and Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33, 2011.
    """
    return np.sqrt(np.mean(np.diff(values, 5, axis=0) ** 2, axis=0) / math.comb(10, 5))


def _random_unit(n: int, seed: int) -> np.ndarray:
    v = np.random.RandomState(seed).standard_normal(n)
    return v / np.linalg.norm(v)
