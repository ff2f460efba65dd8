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

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from xbackprop.verification.claim import EPS, Subject
from xbackprop.verification.findings import Element, Finding, Verdict

ETA = 1e-12
EPSILON, TOLERANCE = 1e-5, 1e-7  # the paper's
SHRINK = 4.0  # how the step shrinks, and how often, in search of a side without a kink
SHRINKS = 6


@dataclass(frozen=True)
class GradientCheck:
    """What the paper's check found.

    error : eq. 18 over all parameters whose differences cross no kink; `per_tensor` the same for each tensor.
    crossed : how many crossed one and were checked on one side, and `crossed_in` every tensor; `undecided`, how many of
        them had no side without.
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
    crossed_in: Mapping[str, int] = field(default_factory=dict)

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


def paper_check(
    subject: Subject, rows: np.ndarray | None = None, *, epsilon: float = EPSILON, tolerance: float = TOLERANCE
) -> GradientCheck:
    """Hold the gradient to the differences of C, at the elements `rows` or at all.

    epsilon : the step ε. tolerance : what crossed elements are held to, one by one, relative to the norms in eq. 18.
    """
    rows = np.arange(len(subject.gradient)) if rows is None else rows
    analytic, numeric, crossed = subject.gradient[rows], *_central(subject, rows, epsilon)
    smooth = ~crossed
    scale = np.linalg.norm(numeric[smooth]) + np.linalg.norm(analytic[smooth]) + ETA
    slopes, h = _one_sided(subject, rows[crossed], epsilon)
    numeric[crossed] = np.where(h > 0, slopes, analytic[crossed])
    rounding = 8 * EPS * abs(subject.at_theta[0]) / np.where(h > 0, h, 1.0)
    off = ~(np.abs(numeric[crossed] - analytic[crossed]) <= tolerance * scale + rounding)

    def error(mine: np.ndarray) -> float:
        return relative_error(numeric[smooth & mine], analytic[smooth & mine])

    furthest = int(np.argmax(np.abs(numeric - analytic)))
    wrong = zip(rows[crossed][off], numeric[crossed][off], strict=True)
    return GradientCheck(
        error=error(smooth),
        per_tensor={name: error((rows >= w.start) & (rows < w.stop)) for name, (w, _) in subject.tensors.items()},
        checked=len(rows),
        crossed=int(crossed.sum()),
        undecided=int((h == 0).sum()),
        wrong=[subject.element(int(p), slope) for p, slope in wrong],
        worst=subject.element(int(rows[furthest]), numeric[furthest]),
        crossed_in={
            name: int(np.sum(crossed & (rows >= w.start) & (rows < w.stop))) for name, (w, _) in subject.tensors.items()
        },
    )


def findings(subject: Subject, result: GradientCheck) -> list[Finding]:
    """The same, tensor by tensor: the paper's figure, which correct deep and saturated networks may miss."""
    found = []
    for name, (where, _) in subject.tensors.items():
        error = result.per_tensor[name]
        wrong = [e for e in result.wrong if e.tensor == name]
        verdict = Verdict.PASS if error < TOLERANCE and not wrong else Verdict.FAIL
        counts = {"crossed": result.crossed_in.get(name, 0), "wrong across a kink": len(wrong)}
        worst = wrong[0] if wrong else (result.worst if result.worst.tensor == name else None)
        found.append(Finding("paper", name, verdict, error, TOLERANCE, where.stop - where.start, counts, worst))
    return found


def _central(subject: Subject, rows: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 17, divided by the step as it is once θ ± ε is rounded; and whether it crosses a kink."""
    numeric, crossed = np.empty(len(rows)), np.empty(len(rows), dtype=bool)
    point = subject.backend.to_host(subject.theta)[rows]
    done = 0
    for chosen in subject.stacks(rows):
        block = slice(done, done := done + len(chosen))
        (up, up_crossed), (down, down_crossed) = subject.look(chosen, epsilon), subject.look(chosen, -epsilon)
        numeric[block] = (up - down) / ((point[block] + epsilon) - (point[block] - epsilon))
        crossed[block] = up_crossed | down_crossed
    return numeric, crossed


def _one_sided(subject: Subject, rows: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """The slope of second order on a side that stays on the branches of θ, and its step; 0 where there is none."""
    slopes, taken = np.zeros(len(rows)), np.zeros(len(rows))
    cost = subject.at_theta[0]
    for h in (epsilon / SHRINK**i for i in range(SHRINKS)):
        for side in (h, -h):
            open_ = np.flatnonzero(taken == 0)
            for some in subject.stacks(open_):
                (near, near_crossed), (far, far_crossed) = (subject.look(rows[some], k * side) for k in (1, 2))
                good = some[~(near_crossed | far_crossed)]
                slopes[good] = ((4 * near - 3 * cost - far) / (2 * side))[~(near_crossed | far_crossed)]
                taken[good] = h
    return slopes, taken
