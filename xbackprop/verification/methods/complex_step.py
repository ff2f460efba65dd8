"""The complex step: ∂C/∂θ_p = Im C(θ + ih e_p) / h with h = 1e-200, right to rounding, since nothing is subtracted.

It moves no real part, so it crosses no kink. It needs a C that is analytic piece by piece: |z|, max and the like must
choose by Re z, as `special` does. A function that drops the imaginary part (an abs somewhere) would give slopes of
zero in silence, so the slope along a random direction of every tensor is first held to adaptive differences. Squire
and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40, 1998.
"""

from __future__ import annotations

import numpy as np

from xbackprop.verification.claim import COMPLEX_STEP, Subject
from xbackprop.verification.findings import CannotRun, Finding, Verdict
from xbackprop.verification.methods import richardson

TOLERANCE = 1e-12  # of the largest derivative of the tensor
SMALLEST = float(np.finfo(np.float64).tiny) / COMPLEX_STEP / TOLERANCE
AGREEMENT = 1e-6  # a slope that differs from the differences by more of itself, and of their error, is no slope


def check(
    subject: Subject, rows: np.ndarray, rounding: np.ndarray | None = None, seed: int = 0
) -> tuple[list[Finding], np.ndarray]:
    """Hold the gradient to complex steps at the elements `rows`; the findings, and the slopes.

    rounding : (P,), by how much rounding alone may put each element off; none where nothing is known of it.

    Raises
    ------
    CannotRun : if C raises for complex θ, or loses imaginary parts.
    """
    _self_test(subject, seed)
    numeric = subject.complex_slopes(rows)
    return [_finding(subject, name, rows, numeric, rounding) for name in subject.tensors], numeric


def _self_test(subject: Subject, seed: int) -> None:
    moves = subject.directions(seed)
    try:
        carried = subject.complex_slopes(moves)
    except Exception as error:  # whatever a library or a user's function raises when it meets complex numbers
        raise CannotRun(f"C does not take complex parameters: {type(error).__name__}: {error}") from error
    expected, uncertainty, _ = richardson.slopes(subject, moves)
    tolerance = AGREEMENT * np.abs(expected)
    lost = (uncertainty <= tolerance) & ~(np.abs(carried - expected) <= tolerance + richardson.SAFETY * uncertainty)
    if np.any(lost):
        i = int(np.argmax(lost))
        raise CannotRun(
            f"C loses imaginary parts (an abs, a max or a cast to real in it?): along {list(subject.tensors)[i]} the "
            f"complex step gives {carried[i]:.6g} and differences {expected[i]:.6g}"
        )


def _finding(
    subject: Subject, name: str, rows: np.ndarray, numeric: np.ndarray, rounding: np.ndarray | None
) -> Finding:
    where, _ = subject.tensors[name]
    mine = (rows >= where.start) & (rows < where.stop)
    p, numeric = rows[mine], numeric[mine]
    analytic = subject.gradient[p]
    off = np.abs(analytic - numeric)
    scale = float(max(np.max(np.abs(numeric), initial=0.0), np.max(np.abs(subject.gradient[where]), initial=0.0)))
    allowed = np.full(len(p), TOLERANCE * scale)
    if rounding is not None:
        allowed = np.fmax(allowed, rounding[p])  # a NaN bounds nothing
    counts = {"zero": int((analytic == 0).sum())}
    worst = subject.element(int(p[np.argmax(off)]), numeric[np.argmax(off)]) if len(p) else None
    error = float(np.max(off, initial=0.0) / scale) if scale > 0 else 0.0
    if 0 < scale < SMALLEST:
        verdict, reason = Verdict.INCONCLUSIVE, f"slopes below {SMALLEST:.0e} underflow in a complex step"
    elif not np.all(off <= allowed):  # NaN fails
        verdict, reason = Verdict.FAIL, "the gradient is not the slope of C"
    elif scale == 0:
        verdict, reason = Verdict.VACUOUS, "the gradient is zero, and so is the slope"
    else:
        verdict, reason = Verdict.PASS, ""
    bound = max(TOLERANCE, float(np.max(allowed, initial=0.0)) / scale) if scale > 0 else TOLERANCE
    return Finding("complex step", name, verdict, error, bound, len(p), counts, worst, reason)
