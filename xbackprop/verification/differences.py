"""The paper's check (Section 6): central differences of C(θ) against the gradient, for every parameter.

    ∂C/∂θ_p ≈ (C(θ + ε e_p) - C(θ - ε e_p)) / 2ε                              (eq. 17)
    error   = ‖g_num - g_ana‖ / (‖g_num‖ + ‖g_ana‖ + 1e-12)                   (eq. 18)

Perturbed parameter vectors are stacked along a leading axis, and one forward pass serves the whole stack. No
difference is taken across a kink: where θ ± ε e_p puts some unit on another branch than θ does (relu's z > 0, say),
the slope is taken on the side that stays on the branches of θ, with a step small enough that there is one; such
elements are counted, held to the tolerance one by one, and left out of eq. 18. A unit exactly at a kink counts as on
the left of it, as its derivative does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xbackprop.backend import Array, Backend

#: C (S,) of a stack θ (S, P), and the branches (S, ...) that the units are on, a list of boolean arrays.
Observed = Callable[[Array], tuple[Array, list[Array]]]

ETA = 1e-12
STACK_BYTES = 2**21  # stacks that stay in the cache are fastest
SHRINK = 4.0  # how the step shrinks, and how often, in search of a side without a kink
SHRINKS = 6


class Element(NamedTuple):
    """One parameter of the check: its tensor, its position there, and its two derivatives."""

    tensor: str
    position: tuple[int, ...]
    analytic: float
    numeric: float


@dataclass(frozen=True)
class GradientCheck:
    """What the paper's check found.

    error : eq. 18 over all parameters whose differences cross no kink; `per_tensor` the same for each tensor.
    crossed : how many crossed one and were checked on one side; `undecided`, how many of them had no side without.
    wrong : the crossed elements whose one-sided slope disagrees.
    worst : the element with the largest difference.
    """

    error: float
    per_tensor: Mapping[str, float]
    checked: int
    crossed: int
    undecided: int
    wrong: list[Element]
    worst: Element

    def passed(self, tolerance: float) -> bool:
        """Whether eq. 18 is below the tolerance, no crossed element is wrong, and not everything is undecided."""
        return self.error < tolerance and not self.wrong and self.undecided < self.checked

    def __str__(self) -> str:
        tensor, position, analytic, numeric = self.wrong[0] if self.wrong else self.worst
        return (
            f"{self.checked} elements, {self.crossed} across a kink, {len(self.wrong)} of those wrong; "
            f"{tensor}{list(position)} is {analytic:.9g} by backpropagation and {numeric:.9g} by differences; "
            f"the relative error is {self.error:.2e}"
        )


def relative_error(numeric: np.ndarray, analytic: np.ndarray) -> float:
    """Eq. 18."""
    norm = np.linalg.norm
    return float(norm(numeric - analytic) / (norm(numeric) + norm(analytic) + ETA))


def check_gradient(
    backend: Backend,
    observe: Observed,
    theta: Array,
    gradient: Array,
    tensors: Mapping[str, tuple[slice, tuple[int, ...]]],
    *,
    epsilon: float = 1e-5,
    tolerance: float = 1e-7,
    floats_per_network: int = 0,
) -> GradientCheck:
    """Hold `gradient` to the differences of C at `theta`, both (P,) and float64.

    Parameters
    ----------
    observe : C and branches of stacked parameters.
    tensors : the range in θ and the shape of every named tensor.
    floats_per_network : what one network of a stack takes beside its parameters, to bound memory.
    """
    xp = backend.xp
    P = theta.shape[0]
    stack = int(np.clip(STACK_BYTES // (8 * (2 * P + floats_per_network)), 1, P))
    at_theta, here = observe(theta[None, :])
    cost = float(backend.to_host(at_theta)[0])

    def perturbed(first: int, last: int, h: float) -> Array:
        """θ + h e_p for p = first … last-1, stacked."""
        k = last - first
        own = theta[None, first:last] + h * xp.eye(k, dtype=theta.dtype, device=backend.device)
        before, after = theta[None, :first], theta[None, last:]
        return xp.concat([xp.broadcast_to(before, (k, first)), own, xp.broadcast_to(after, (k, P - last))], axis=1)

    def look(stacked: Array) -> tuple[np.ndarray, np.ndarray]:
        """C of every network of the stack, and whether some unit of it is on another branch than at θ."""
        costs, branches = observe(stacked)
        crossed = xp.zeros(costs.shape, dtype=xp.bool, device=backend.device)
        for there, at in zip(branches, here, strict=True):
            crossed = crossed | xp.any(there != at, axis=(-2, -1))
        return backend.to_host(costs), backend.to_host(crossed)

    point, analytic = backend.to_host(theta), backend.to_host(gradient)
    numeric, crossed = np.empty(P), np.empty(P, dtype=bool)
    for start in range(0, P, stack):
        block = slice(start, min(start + stack, P))
        up, up_crossed = look(perturbed(start, block.stop, epsilon))
        down, down_crossed = look(perturbed(start, block.stop, -epsilon))
        numeric[block] = (up - down) / ((point[block] + epsilon) - (point[block] - epsilon))  # the realised step
        crossed[block] = up_crossed | down_crossed

    scale = np.linalg.norm(numeric[~crossed]) + np.linalg.norm(analytic[~crossed]) + ETA
    decided = np.zeros(P, dtype=bool)
    off = np.zeros(P, dtype=bool)
    for h in (epsilon / SHRINK**i for i in range(SHRINKS)):
        for side in (h, -h):
            rows = np.flatnonzero(crossed & ~decided)
            for chosen in np.array_split(rows, -(-len(rows) // stack)) if len(rows) else []:
                near, near_crossed = look(xp.concat([perturbed(int(p), int(p) + 1, side) for p in chosen]))
                far, far_crossed = look(xp.concat([perturbed(int(p), int(p) + 1, 2 * side) for p in chosen]))
                slope = (4 * near - 3 * cost - far) / (2 * side)  # one-sided, of second order
                good = ~(near_crossed | far_crossed)
                numeric[chosen[good]] = slope[good]
                decided[chosen[good]] = True
                rounding = 8 * np.finfo(float).eps * abs(cost) / h
                off[chosen[good]] = np.abs(slope - analytic[chosen])[good] > tolerance * scale + rounding
    undecided = crossed & ~decided
    numeric[undecided] = analytic[undecided]

    def element(p: int) -> Element:
        name, (where, shape) = next((n, t) for n, t in tensors.items() if t[0].start <= p < t[0].stop)
        position = tuple(int(i) for i in np.unravel_index(p - where.start, shape))
        return Element(name, position, float(analytic[p]), float(numeric[p]))

    smooth = ~crossed
    return GradientCheck(
        error=relative_error(numeric[smooth], analytic[smooth]),
        per_tensor={n: relative_error(numeric[w][smooth[w]], analytic[w][smooth[w]]) for n, (w, _) in tensors.items()},
        checked=P,
        crossed=int(crossed.sum()),
        undecided=int(undecided.sum()),
        wrong=[element(int(p)) for p in np.flatnonzero(off)],
        worst=element(int(np.argmax(np.abs(numeric - analytic)))),
    )
