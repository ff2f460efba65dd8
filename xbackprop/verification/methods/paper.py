"""The paper's check (Section 6): central differences of C(θ) against the gradient, for every parameter.

    ∂C/∂θ_p ≈ (C(θ + ε e_p) - C(θ - ε e_p)) / 2ε                              (eq. 17)
    error   = ‖g_num - g_ana‖ / (‖g_num‖ + ‖g_ana‖ + 1e-12)                   (eq. 18)

Perturbed parameter vectors are stacked along a leading axis, and one forward pass serves the whole stack. No
difference is taken across a kink: where θ ± ε e_p puts some unit on another branch than θ does (relu's z > 0, say),
the slope is taken on the side that stays on the branches of θ, with a step so small that there is such a side; these
elements are counted, compared with the tolerance one by one, and left out of eq. 18. A unit exactly at a kink counts as
on the left of it, as its derivative does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from xbackprop.verification.claim import EPS, GradientClaim, Judgement, element_of, judge_tensors
from xbackprop.verification.findings import Element, Method, MethodResult, Role, Verdict

ETA = 1e-12
EPSILON, TOLERANCE = 1e-5, 1e-7  # the paper's
SHRINK = 4.0  # the factor by which the step shrinks, and the number of steps, to find a side without a kink
SHRINKS = 6


@dataclass(frozen=True)
class GradientCheck:
    """The result of the paper's gradient check.

    error : eq. 18 over all parameters whose differences cross no kink; `per_tensor` has it for each tensor.
    checked : the number of elements.
    crossed : the number of elements whose difference crosses a kink, checked on one side; `crossed_in` has it for each
        tensor. undecided : the number of those for which both sides have a kink.
    wrong : the crossed elements whose one-sided slope disagrees with the gradient.
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
        """Return whether eq. 18 is below the tolerance, no crossed element is wrong, and some element was decided."""
        return self.error < tolerance and not self.wrong and self.undecided < self.checked

    def __str__(self) -> str:
        tensor, position, analytic, numeric = self.wrong[0] if self.wrong else self.worst
        return (
            f"{self.checked} elements, {self.crossed} across a kink, {len(self.wrong)} of those wrong; "
            f"{tensor}{list(position)} is {analytic:.9g} by backpropagation and {numeric:.9g} by differences; "
            f"the relative error is {self.error:.2e}"
        )


def relative_error(numeric: np.ndarray, analytic: np.ndarray) -> float:
    """Return the relative error of eq. 18."""
    norm = np.linalg.norm
    return float(norm(numeric - analytic) / (norm(numeric) + norm(analytic) + ETA))


def paper_check(claim: GradientClaim, *, epsilon: float = EPSILON, tolerance: float = TOLERANCE) -> GradientCheck:
    """Compare the gradient with central differences of C, as Section 6 of the paper does.

    epsilon : the step ε. tolerance : the largest error of a crossed element, relative to the norms in eq. 18.
    """
    rows = claim.elements
    analytic, numeric, crossed = claim.gradient[rows], *_central(claim, rows, epsilon)
    smooth = ~crossed
    scale = np.linalg.norm(numeric[smooth]) + np.linalg.norm(analytic[smooth]) + ETA
    slopes, h = _one_sided(claim, rows[crossed], epsilon)
    numeric[crossed] = np.where(h > 0, slopes, analytic[crossed])
    rounding = 8 * EPS * abs(claim.at_theta[0]) / np.where(h > 0, h, 1.0)
    off = ~(np.abs(numeric[crossed] - analytic[crossed]) <= tolerance * scale + rounding)

    def error(mine: np.ndarray) -> float:
        return relative_error(numeric[smooth & mine], analytic[smooth & mine])

    def element(p: int, slope: float) -> Element:
        return element_of(claim.tensors, int(p), float(claim.gradient[p]), float(slope))

    furthest = int(np.argmax(np.abs(numeric - analytic)))
    wrong = zip(rows[crossed][off], numeric[crossed][off], strict=True)
    return GradientCheck(
        error=error(smooth),
        per_tensor={name: error((rows >= w.start) & (rows < w.stop)) for name, (w, _) in claim.tensors.items()},
        checked=len(rows),
        crossed=int(crossed.sum()),
        undecided=int((h == 0).sum()),
        wrong=[element(p, slope) for p, slope in wrong],
        worst=element(rows[furthest], numeric[furthest]),
        crossed_in={
            name: int(np.sum(crossed & (rows >= w.start) & (rows < w.stop))) for name, (w, _) in claim.tensors.items()
        },
    )


def check(claim: GradientClaim) -> MethodResult:
    """Apply the paper's check tensor by tensor; correct deep and saturated networks may exceed its tolerance."""
    result = paper_check(claim)

    def judge(name: str, mine: np.ndarray) -> Judgement:
        wrong = [e for e in result.wrong if e.tensor == name]
        counts = {"crossed": result.crossed_in.get(name, 0), "wrong across a kink": len(wrong)}
        if name in claim.at_kink:
            counts["at kink"] = claim.at_kink[name]
        error = result.per_tensor[name]
        verdict = Verdict.PASS if error < TOLERANCE and not wrong else Verdict.FAIL
        worst = wrong[0] if wrong else (result.worst if result.worst.tensor == name else None)
        return Judgement(verdict, error, counts=counts, worst=worst)

    return MethodResult(judge_tensors(METHOD, claim.tensors, judge, claim.elements), paper_error=result.error)


def _central(claim: GradientClaim, rows: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Return eq. 17, divided by the difference of the rounded θ ± ε, and whether it crosses a kink."""
    numeric, crossed = np.empty(len(rows)), np.empty(len(rows), dtype=bool)
    point = claim.backend.to_host(claim.theta)[rows]
    done = 0
    for chosen in claim.stacks(rows):
        block = slice(done, done := done + len(chosen))
        (up, up_crossed), (down, down_crossed) = claim.evaluate(chosen, epsilon), claim.evaluate(chosen, -epsilon)
        numeric[block] = (up - down) / ((point[block] + epsilon) - (point[block] - epsilon))
        crossed[block] = up_crossed | down_crossed
    return numeric, crossed


def _one_sided(claim: GradientClaim, rows: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Return second-order slopes on a side that stays on the branches of θ, and the steps, 0 without such a side."""
    slopes, taken = np.zeros(len(rows)), np.zeros(len(rows))
    cost = claim.at_theta[0]
    for h in (epsilon / SHRINK**i for i in range(SHRINKS)):
        for side in (h, -h):
            open_ = np.flatnonzero(taken == 0)
            for some in claim.stacks(open_):
                (near, near_crossed), (far, far_crossed) = (claim.evaluate(rows[some], k * side) for k in (1, 2))
                good = some[~(near_crossed | far_crossed)]
                slopes[good] = ((4 * near - 3 * cost - far) / (2 * side))[~(near_crossed | far_crossed)]
                taken[good] = h
    return slopes, taken


METHOD = Method(
    "paper",
    title="eq. 18",
    role=Role.ADVISORY,
    bound=TOLERANCE,
    explained="Equation 18 of the paper: central differences with h = 1e-5, and one relative error.",
    check=check,
)
