"""The complex step: ∂C/∂θ_p = Im C(θ + ih e_p) / h with h = 1e-200, exact up to rounding: nothing is subtracted.

It moves no real part, so it crosses no kink. It needs a C that is analytic piece by piece: |z|, max and the like must
choose by Re z, as `special` does. A function that drops the imaginary part (an abs somewhere) would give slopes of
zero in silence, so the slope along a random direction of every tensor is first held to adaptive differences. Squire
and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40, 1998.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xbackprop.verification.claim import (
    COMPLEX_STEP,
    GradientClaim,
    Judgement,
    difference_noise,
    judge_tensors,
    line,
)
from xbackprop.verification.findings import CannotRun, Method, MethodResult, Role, Verdict
from xbackprop.verification.methods import richardson

TOLERANCE = 1e-12  # of the largest derivative of the tensor
SMALLEST = float(np.finfo(np.float64).tiny) / COMPLEX_STEP / TOLERANCE
NOISY = 100  # elements whose noise is measured, which takes ten complex steps each
SAFETY = 16.0  # the largest error, in multiples of that noise
CERTAIN = 0.1  # a slope is confirmed by differences whose error is at most this part of it
AGREEMENT = 1e-6  # a slope must agree with differences to this part of itself, beside their error


def check(claim: GradientClaim) -> MethodResult:
    """Compare the gradient with complex steps.

    An element may be off by `TOLERANCE` of the largest derivative of its tensor, or by the allowance for rounding. Of a
    black box it may be off by `TOLERANCE` of itself, by the allowance, or by the noise of its complex steps, and at a
    kink it may be any subgradient.

    Raises
    ------
    CannotRun : if C raises for complex θ, or loses imaginary parts.
    """
    _require_imaginary_parts(claim)
    elements, analytic = claim.elements, claim.gradient[claim.elements]
    numeric = claim.complex_slopes(elements)
    own = TOLERANCE * np.abs(numeric)
    if claim.allowance is not None:
        own = np.fmax(own, claim.allowance[elements])  # a NaN bounds nothing
    suspects = np.flatnonzero(~(np.abs(analytic - numeric) <= own)) if claim.black_box else np.empty(0, dtype=int)
    at_kink = np.zeros(len(elements), dtype=bool)
    at_kink[suspects] = richardson.is_subgradient(claim, elements[suspects])
    small = suspects[~at_kink[suspects]][:NOISY]
    noise = np.full(len(elements), np.nan)
    noise[small] = _noise(claim, elements[small])

    def judge(name: str, mine: np.ndarray) -> Judgement:
        where, _ = claim.tensors[name]
        off = np.where(at_kink[mine], 0.0, np.abs(analytic[mine] - numeric[mine]))
        largest = np.max(np.abs(numeric[mine]), initial=0.0), np.max(np.abs(claim.gradient[where]), initial=0.0)
        scale = float(max(largest))
        loose = np.fmax(own[mine], TOLERANCE * scale)
        allowed = np.where(np.isnan(noise[mine]), loose, np.fmin(loose, own[mine] + noise[mine]))
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
        hidden = (off > allowed) & (off <= loose)
        if np.isfinite(scale) and np.any(hidden) and not np.any(off > loose):
            i = int(np.argmax(off / allowed))
            bound, off = float(allowed[i]) / scale, np.where(hidden, off, 0.0)
            reason = "an element that is small beside others is not the slope of C"
        counts = {"zero": int((analytic[mine] == 0).sum()), "at a kink": int(at_kink[mine].sum())}
        return Judgement(verdict, error, reason, counts, bound, off=off)

    return MethodResult(judge_tensors(METHOD, claim.tensors, judge, elements, analytic, numeric), (elements, numeric))


def _noise(claim: GradientClaim, elements: np.ndarray) -> np.ndarray:
    """Return the rounding errors to expect in the complex slopes of these elements, from slopes around θ."""
    steps, direction = line(claim.backend.to_host(claim.theta))
    around = [claim.backend.asarray(claim.backend.to_host(claim.theta) + h * direction) for h in steps[:10]]
    return SAFETY * difference_noise(np.array([replace(claim, theta=t).complex_slopes(elements) for t in around]))


def _require_imaginary_parts(claim: GradientClaim) -> None:
    """Raise CannotRun unless complex slopes along random directions agree with differences."""
    moves = claim.directions(claim.seed)
    try:
        carried = claim.complex_slopes(moves)
    except Exception as error:  # a library or a user's function may raise anything for complex numbers
        raise CannotRun(f"C does not take complex parameters: {type(error).__name__}: {error}") from error
    expected, uncertainty, _ = richardson.slopes(claim, moves)
    tolerance = AGREEMENT * np.abs(expected)
    agree = np.abs(carried - expected) <= tolerance + richardson.SAFETY * uncertainty
    lost = ~agree & (np.isfinite(uncertainty) if claim.black_box else uncertainty <= tolerance)
    if np.any(lost):
        i = int(np.argmax(lost))
        raise CannotRun(
            f"C loses imaginary parts (an abs, a max or a cast to real in it?): along {list(claim.tensors)[i]} the "
            f"complex step gives {carried[i]:.6g} and differences {expected[i]:.6g}"
        )
    certain = (uncertainty <= CERTAIN * np.abs(expected)) | (np.abs(expected) <= uncertainty)
    if claim.black_box and not np.all(certain & np.isfinite(uncertainty)):
        raise CannotRun("no difference of C is certain enough to confirm that it carries imaginary parts")


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
