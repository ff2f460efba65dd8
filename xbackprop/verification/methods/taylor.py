"""The Taylor remainder: along a random direction v, |(C(θ + hv) - C(θ - hv))/2 - h⟨g, v⟩| is O(h³) if g is the gradient
of C, and O(h) if it is not. The check measures the order.

Farrell, Ham, Funke and Rognes, "Automated derivation of the adjoint of high-level transient finite element programs",
SIAM J. Sci. Comput. 35, 2013, have the one-sided form, of orders 2 and 1.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from xbackprop.verification.claim import NONE, GradientClaim, Judgement, judge_tensors
from xbackprop.verification.findings import Method, MethodResult, Role, Verdict
from xbackprop.verification.methods import richardson

STEPS = 2.0 ** -np.arange(21)
ORDER, WRONG_ORDER = 2.5, 1.5  # the median of the last slopes must reach the first; below the second, g is wrong
FLOOR = 200.0  # remainders below this multiple of the noise of C are taken for rounding
SLOPES = 3
SETTLED = 0.1  # the share of their distance from ⟨g, v⟩ by which the last slopes of C may differ, for a FAIL


def remainders(claim: GradientClaim) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Compute |remainder| (steps, tensors) along a random direction v of every tensor.

    Return it with the changes of C that it was computed from, whether the branches are those of θ, and ⟨g, v⟩.
    """
    moves = claim.directions(claim.seed)
    ranges = [where for where, _ in claim.tensors.values()]  # one by one, so that a NaN stays in its tensor
    first_order = np.array([move[where] @ claim.gradient[where] for move, where in zip(moves, ranges, strict=True)])
    changes, same = [], []
    for h in STEPS:
        up, up_crossed = _evaluate(claim, moves, h)
        down, down_crossed = _evaluate(claim, moves, -h)
        changes.append((up - down) / 2)
        same.append(~(up_crossed | down_crossed))
    found = np.abs(np.array(changes) - STEPS[:, None] * first_order)
    return found, np.array(changes), np.array(same), first_order


def _evaluate(claim: GradientClaim, moves: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    parts = [claim.evaluate(chosen, h) for chosen in claim.stacks(moves)]
    return np.concatenate([c for c, _ in parts]), np.concatenate([x for _, x in parts])


def check(claim: GradientClaim) -> MethodResult:
    """Measure the order of the remainder of every tensor: the median of its last three slopes."""
    found, changes, same, first_order = remainders(claim)
    floors = FLOOR * np.maximum(claim.noise(STEPS)[:, None], claim.resolution(changes))
    names = list(claim.tensors)
    kinked = np.zeros(len(names), dtype=bool)
    if claim.black_box:
        kinked = np.isfinite(richardson.one_sided_slopes(claim, claim.directions(claim.seed))[0])

    def judge(name: str, _: np.ndarray) -> Judgement:
        i = names.index(name)
        smooth = same[:, i]
        verdict, order, reason = _order(
            found[:, i], changes[:, i] / STEPS, smooth, floors[:, i], float(abs(first_order[i]))
        )
        if verdict is Verdict.FAIL and kinked[i]:
            verdict, reason = Verdict.INCONCLUSIVE, "C has a kink at θ"
        return Judgement(verdict, order, reason, {"crossed": int((~smooth).sum())}, checked=len(STEPS))

    curves = {
        name: [(float(h), float(r)) for h, r in zip(STEPS[same[:, i]], found[same[:, i], i], strict=True)]
        for i, name in enumerate(names)
    }
    return MethodResult(judge_tensors(METHOD, claim.tensors, judge, NONE), taylor=curves)


def _order(
    r: np.ndarray, slope: np.ndarray, smooth: np.ndarray, floor: np.ndarray, first_order: float
) -> tuple[Verdict, float, str]:
    """Return the verdict on remainders r (steps,), their order, and the reason if it is not a PASS."""
    if not np.all(np.isfinite(r[smooth])):
        return Verdict.FAIL, float("nan"), "the remainder is not a number"
    kept = np.flatnonzero(smooth & (r > floor))
    if len(kept) == 0 and smooth[0]:
        if first_order == 0:
            return Verdict.VACUOUS, float("nan"), "C does not change along it, and the gradient is zero"
        if np.any(first_order * STEPS > floor):
            return Verdict.PASS, float("inf"), ""  # C is straight, or curved evenly: the remainder vanishes
    slopes = np.array([np.log2(r[a] / r[b]) / (b - a) for a, b in pairwise(kept)])[-SLOPES:]
    if len(slopes) < SLOPES - 1:
        why = "kinks and rounding leave" if np.any(~smooth) else "rounding leaves"
        return Verdict.INCONCLUSIVE, float("nan"), f"{why} fewer than {SLOPES} steps"
    order = float(np.median(slopes))
    if order >= ORDER:
        return Verdict.PASS, order, ""
    last = kept[-SLOPES:]
    settled = np.ptp(slope[last]) <= SETTLED * np.min(r[last] / STEPS[last])
    if order < WRONG_ORDER and settled:
        return Verdict.FAIL, order, "the remainder is of first order: the gradient does not belong to C"
    return Verdict.INCONCLUSIVE, order, "the order is neither that of a right nor that of a wrong gradient"


METHOD = Method(
    "taylor",
    title="Taylor",
    role=Role.SUPPORTING,
    bound=ORDER,
    explained="The remainder |(C(θ + hv) - C(θ - hv)) / 2 - h⟨g, v⟩| shrinks like h³ if g is the gradient, and like h "
    "if it is not. The figure is that order.",
    check=check,
    at_least=True,
    counted="steps",
)
