"""The complex step: ∂C/∂θ_p = Im C(θ + ih e_p) / h with h = 1e-200, exact up to rounding: nothing is subtracted.

It moves no real part, so it crosses no kink. It needs a C that is analytic piece by piece: |z|, max and the like must
choose by Re z, as `special` does. A function that drops the imaginary part (an abs somewhere) would give slopes of
zero in silence, so the slope along a random direction of every tensor is first held to adaptive differences. Squire
and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40, 1998.
"""

from __future__ import annotations

import numpy as np

from xbackprop.verification.claim import COMPLEX_STEP, GradientClaim, Judgement, judge_tensors
from xbackprop.verification.findings import CannotRun, Method, MethodResult, Role, Verdict
from xbackprop.verification.methods import richardson

TOLERANCE = 1e-12  # of the largest derivative of the tensor
SMALLEST = float(np.finfo(np.float64).tiny) / COMPLEX_STEP / TOLERANCE
AGREEMENT = 1e-6  # a slope must agree with differences to this part of itself, beside their error


def check(claim: GradientClaim) -> MethodResult:
    """Compare the gradient with complex steps.

    An element may be off by `TOLERANCE` of the largest derivative of its tensor, or by the allowance for rounding.

    Raises
    ------
    CannotRun : if C raises for complex θ, or loses imaginary parts.
    """
    _require_imaginary_parts(claim)
    elements, analytic = claim.elements, claim.gradient[claim.elements]
    numeric = claim.complex_slopes(elements)

    def judge(name: str, mine: np.ndarray) -> Judgement:
        where, _ = claim.tensors[name]
        off = np.abs(analytic[mine] - numeric[mine])
        largest = np.max(np.abs(numeric[mine]), initial=0.0), np.max(np.abs(claim.gradient[where]), initial=0.0)
        scale = float(max(largest))
        allowed = np.full(len(mine), TOLERANCE * scale)
        if claim.allowance is not None:
            allowed = np.fmax(allowed, claim.allowance[elements[mine]])  # a NaN bounds nothing
        if 0 < scale < SMALLEST:
            verdict, reason = Verdict.INCONCLUSIVE, f"slopes below {SMALLEST:.0e} underflow in a complex step"
        elif not np.all(off <= allowed):  # NaN fails
            verdict, reason = Verdict.FAIL, "the gradient is not the slope of C"
        elif scale == 0:
            verdict, reason = Verdict.VACUOUS, "the gradient is zero, and so is the slope"
        else:
            verdict, reason = Verdict.PASS, ""
        error = float(np.max(off, initial=0.0) / scale) if scale > 0 else 0.0
        bound = max(TOLERANCE, float(np.max(allowed, initial=0.0)) / scale) if scale > 0 else TOLERANCE
        counts = {"zero": int((analytic[mine] == 0).sum())}
        return Judgement(verdict, error, reason, counts, bound, off=off)

    return MethodResult(judge_tensors(METHOD, claim.tensors, judge, elements, analytic, numeric), (elements, numeric))


def _require_imaginary_parts(claim: GradientClaim) -> None:
    """Raise CannotRun unless complex slopes along random directions agree with differences."""
    moves = claim.directions(claim.seed)
    try:
        carried = claim.complex_slopes(moves)
    except Exception as error:  # a library or a user's function may raise anything for complex numbers
        raise CannotRun(f"C does not take complex parameters: {type(error).__name__}: {error}") from error
    expected, uncertainty, _ = richardson.slopes(claim, moves)
    tolerance = AGREEMENT * np.abs(expected)
    lost = (uncertainty <= tolerance) & ~(np.abs(carried - expected) <= tolerance + richardson.SAFETY * uncertainty)
    if np.any(lost):
        i = int(np.argmax(lost))
        raise CannotRun(
            f"C loses imaginary parts (an abs, a max or a cast to real in it?): along {list(claim.tensors)[i]} the "
            f"complex step gives {carried[i]:.6g} and differences {expected[i]:.6g}"
        )


METHOD = Method(
    "complex step",
    title="complex step",
    role=Role.DECISIVE,
    bound=TOLERANCE,
    explained="Im C(θ + ih) / h with h = 1e-200, element by element: right to rounding, since nothing is subtracted. "
    "The error is relative to the largest derivative of the tensor.",
    check=check,
    stand_in="differences",
    slope_precedence=3,
)
