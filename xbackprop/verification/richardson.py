"""Adaptive differences: Richardson's extrapolation of central ones, each with an estimate of its own error.

    D_h = (C(θ + h m) - C(θ - h m)) / 2h ,   R_h = (4 D_h - D_2h) / 3 = slope + O(h⁴) ,
    e_h = |R_h - R_2h| / 15 + 3 noise / h ,

and of all h = 2⁻³ … 2⁻¹⁶ the one with the least e. Steps that put a unit on another branch are left out. Richardson,
1911; the rule for choosing h is that of Ridders, 1982.
"""

from __future__ import annotations

import numpy as np

from xbackprop.verification.subject import Subject
from xbackprop.verification.verdicts import Finding, Verdict

STEPS = 2.0 ** -np.arange(3, 17)
SAFETY = 10.0  # how many of its own error estimates a slope may be off
RELATIVE = 1e-7  # an error estimate above this share of the largest derivative tells too little


def slopes(subject: Subject, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The slope of C along every move, its error estimate (infinite where every step crosses a kink), and whether the
    largest step crosses one."""
    found = [_slopes(subject, chosen) for chosen in subject.stacks(moves)]
    if not found:
        return np.empty(0), np.empty(0), np.empty(0, dtype=bool)
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))  # type: ignore[return-value]


def _slopes(subject: Subject, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    central, crossed = [], []
    for h in STEPS:
        up, up_crossed = subject.look(moves, h)
        down, down_crossed = subject.look(moves, -h)
        central.append((up - down) / (2 * h))  # θ ± 2⁻ᵏ is rounded, by no more than the noise of C allows for
        crossed.append(up_crossed | down_crossed)
    D, bad = np.array(central), np.array(crossed)
    R = (4 * D[1:] - D[:-1]) / 3
    noise = 3 * subject.noise / STEPS[2:, None]
    e = np.abs(R[1:] - R[:-1]) / 15 + noise
    e[bad[:-2] | bad[1:-1] | bad[2:]] = np.inf
    best = np.argmin(e, axis=0)
    columns = np.arange(D.shape[1])
    return R[1:][best, columns], e[best, columns], bad[0]


def check(subject: Subject, rows: np.ndarray) -> tuple[list[Finding], np.ndarray]:
    """Hold the gradient to adaptive differences at the elements `rows`; the findings, and the slopes, NaN where none.

    FAIL where an element is off by more than ten error estimates. INCONCLUSIVE where the estimates are too large to
    tell.
    """
    numeric, error, crossed = slopes(subject, rows)
    numeric = np.where(np.isfinite(error), numeric, np.nan)
    return [_finding(subject, name, rows, numeric, error, crossed) for name in subject.tensors], numeric


def _finding(
    subject: Subject, name: str, rows: np.ndarray, numeric: np.ndarray, error: np.ndarray, crossed: np.ndarray
) -> Finding:
    where, _ = subject.tensors[name]
    mine = (rows >= where.start) & (rows < where.stop)
    p, numeric, error, crossed = rows[mine], numeric[mine], error[mine], crossed[mine]
    analytic = subject.gradient[p]
    scale = np.max(np.abs(subject.gradient[where]), initial=0.0)
    with np.errstate(invalid="ignore"):
        off = np.abs(analytic - numeric) / error
    off[~np.isfinite(error)] = 0.0  # undecided: counted below
    off[np.isnan(off)] = np.inf  # a gradient that is not a number is wrong
    vague = error > RELATIVE * max(scale, float(np.max(np.abs(numeric), initial=0.0, where=np.isfinite(numeric))))
    worst = subject.element(int(p[np.argmax(off)]), numeric[np.argmax(off)]) if len(p) else None
    counts = {"crossed": int(crossed.sum()), "inconclusive": int(vague.sum()), "zero": int((analytic == 0).sum())}
    figure = float(np.max(off, initial=0.0))
    if figure > SAFETY:
        verdict, reason = Verdict.FAIL, "the difference is more than ten times the error of the numeric slope"
    elif scale == 0 and np.all(np.abs(numeric) <= error):
        verdict, reason = Verdict.VACUOUS, "the gradient is zero, and so are the differences"
    elif np.any(vague):
        verdict = Verdict.INCONCLUSIVE
        reason = f"{int(vague.sum())} of {len(p)} slopes are too uncertain to tell: too small, or at a kink"
    else:
        verdict, reason = Verdict.PASS, ""
    return Finding("differences", name, verdict, figure, SAFETY, len(p), counts, worst, reason)
