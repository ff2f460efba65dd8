"""Adaptive differences: Richardson's extrapolation of central differences, each with an estimate of its error.

    D_h = (C(θ + h m) - C(θ - h m)) / 2h ,   R_h = (4 D_h - D_2h) / 3 = slope + O(h⁴) ,
    e_h = max(|R_h - R_2h|, |R_2h - R_4h| / 16, |R_h - R_k| for k < h, less its noise) + 3 noise(h) / h ,

and of all h = 2⁻³ … 2⁻¹⁶ the one with the least e is taken. Where C is smooth the change from R_2h to R_h is fifteen
times the error of R_h; all of it is taken, since an f″ that jumps leaves an error as large as the change. The second
term is needed because two R may agree by chance, the third because they agree on a wrong value where h is larger than
the distance to a kink that was not declared. Steps that put a unit on another branch are left out. Richardson, 1911;
choosing h by the least estimate is Ridders', 1982.
"""

from __future__ import annotations

import numpy as np

from xbackprop.verification.claim import GradientClaim, Judgement, judge_tensors
from xbackprop.verification.findings import Method, MethodResult, Role, Verdict

STEPS = 2.0 ** -np.arange(3, 17)
FIRST = slice(2, 8)  # the steps that are tried first: most slopes need no others
SAFETY = 10.0  # the largest error of a slope, in multiples of its own error estimate
GROWTH = 1.1  # a slope that is this much larger than at twice the step is not settled
RELATIVE = 1e-7  # an error estimate above this share of the largest derivative is too large to decide


def slopes(claim: GradientClaim, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the slope of C along every move, its error estimate, and whether the largest step crosses a kink.

    The estimate is infinite for a move of which every step crosses a kink.
    """
    numeric, error, crossed = _over(claim, moves, STEPS[FIRST])
    enough = 0.01 * RELATIVE * np.max(np.abs(numeric), initial=0.0, where=np.isfinite(error))
    more = np.flatnonzero(error > enough)
    numeric[more], error[more], crossed[more] = _over(claim, moves[more], STEPS)
    return numeric, error, crossed


def _over(claim: GradientClaim, moves: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = [np.empty((3, 0)), *(_best(claim, chosen, steps) for chosen in claim.stacks(moves))]
    numeric, error, crossed = np.concatenate(found, axis=1)
    return numeric, error, crossed


def _best(claim: GradientClaim, moves: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return (3, moves): the slope of least error estimate, the estimate, whether the largest step crosses a kink."""
    central, crossed = [], []
    for h in steps:
        up, up_crossed = claim.evaluate(moves, h)
        down, down_crossed = claim.evaluate(moves, -h)
        central.append((up - down) / (2 * h))
        crossed.append(up_crossed | down_crossed)
    D, bad = np.array(central), np.array(crossed)
    D[~np.isfinite(D)] = 0.0  # which is among the bad ones
    R = (4 * D[1:] - D[:-1]) / 3
    change = np.abs(np.diff(R, axis=0))
    coarser, R, noise = R[1:-1], R[2:], 3 * (claim.noise(steps[3:]) / steps[3:])[:, None]
    e = np.maximum(change[1:], change[:-1] / 16) + noise
    for i in range(len(e) - 1):
        later = np.max(np.abs(R[i + 1 :] - R[i]) - noise[i + 1 :], axis=0)
        e[i] = np.maximum(e[i], later)
    e[bad[:-3] | bad[1:-2] | bad[2:-1] | bad[3:]] = np.inf
    if claim.black_box:  # a slope that still grows as h shrinks: C bends at a distance that is less than h
        e[np.abs(R) > GROWTH * np.abs(coarser) + noise] = np.inf
    e = np.maximum(e, claim.resolution(D) / steps[3:, None])
    best, columns = np.argmin(e, axis=0), np.arange(D.shape[1])
    return np.array([R[best, columns], e[best, columns], bad[0]])


def one_sided_slopes(claim: GradientClaim, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and the upper one of the slopes of C from the left and from the right along every move.

    They are NaN where C has no kink at θ, and are let out by their errors where it has one: any number between them is
    a subgradient. F_h = (C(θ + h m) - C(θ)) / h has an error of first order, which 2 F_h - F_2h has not; so from the
    left. It is a kink where the sides differ by more than ten times what they change from one step to the next.
    """
    at_theta, (steps, sides) = claim.at_theta[0], (STEPS[:, None], [])
    for sign in (-1.0, 1.0):
        costs = [np.concatenate([claim.evaluate(some, sign * h)[0] for some in claim.stacks(moves)]) for h in STEPS]
        F = (np.array(costs) - at_theta) / (sign * steps)
        sides.append(2 * F[1:] - F[:-1])
    left, right = (side[1:] for side in sides)
    error = sum(np.abs(np.diff(side, axis=0)) for side in sides) + 8 * claim.noise(STEPS[2:])[:, None] / steps[2:]
    error[~np.isfinite(error)] = np.inf
    best, columns = np.argmin(error, axis=0), np.arange(left.shape[1])
    left, right, error = left[best, columns], right[best, columns], SAFETY * error[best, columns]
    kink = np.abs(right - left) > error
    lower, upper = np.minimum(left, right) - error, np.maximum(left, right) + error
    return np.where(kink, lower, np.nan), np.where(kink, upper, np.nan)


def is_subgradient(claim: GradientClaim, elements: np.ndarray) -> np.ndarray:
    """Return, for elements of θ, whether C has a kink at θ along them and the gradient lies between its two slopes."""
    if not claim.black_box or not len(elements):
        return np.zeros(len(elements), dtype=bool)
    lower, upper = one_sided_slopes(claim, elements)
    g = claim.gradient[elements]
    return (lower <= g) & (g <= upper)


def check(claim: GradientClaim) -> MethodResult:
    """Compare the gradient with adaptive differences; the slope is NaN for elements of which every step crosses a kink.

    A tensor is a FAIL if the error of an element is more than ten error estimates, and INCONCLUSIVE if the estimates
    are too large to decide.
    """
    elements, analytic = claim.elements, claim.gradient[claim.elements]
    numeric, error, crossed = slopes(claim, elements)
    numeric = np.where(np.isfinite(error), numeric, np.nan)
    at_kink = np.zeros(len(elements), dtype=bool)
    suspects = np.flatnonzero(np.abs(analytic - numeric) > SAFETY * error)
    at_kink[suspects] = is_subgradient(claim, elements[suspects])

    def judge(name: str, mine: np.ndarray) -> Judgement:
        slope, e = numeric[mine], error[mine]
        scale = np.max(np.abs(claim.gradient[claim.tensors[name][0]]), initial=0.0)
        decided = np.isfinite(e) & ~at_kink[mine]  # the others are counted below
        gap = np.where(decided, np.abs(analytic[mine] - slope), 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.where(gap == 0, 0.0, gap / e)
        off[np.isnan(off)] = np.inf  # a gradient of NaN is wrong
        vague = e > RELATIVE * max(scale, float(np.max(np.abs(slope), initial=0.0, where=np.isfinite(slope))))
        figure = float(np.max(off, initial=0.0))
        if figure > SAFETY:
            verdict, reason = Verdict.FAIL, "the difference is more than ten times the error of the numeric slope"
        elif scale == 0 and np.all(np.abs(slope) <= e):
            verdict, reason = Verdict.VACUOUS, "the gradient is zero, and so are the differences"
        elif np.any(vague):
            verdict = Verdict.INCONCLUSIVE
            reason = f"{int(vague.sum())} of {len(mine)} slopes are too uncertain to tell: too small, or at a kink"
        else:
            verdict, reason = Verdict.PASS, ""
        zero = int((analytic[mine] == 0).sum())
        counts = {"crossed": int(crossed[mine].sum()), "inconclusive": int(vague.sum()), "zero": zero}
        counts["at a kink"] = int(at_kink[mine].sum())

        return Judgement(verdict, figure, reason, counts, off=off)

    return MethodResult(judge_tensors(METHOD, claim.tensors, judge, elements, analytic, numeric), (elements, numeric))


METHOD = Method(
    "differences",
    title="differences",
    role=Role.DECISIVE,
    bound=SAFETY,
    explained="Central differences, extrapolated to h = 0, each with an estimate of its own error. The error is in "
    "units of that estimate.",
    check=check,
    default=False,
    slope_precedence=1,
)
