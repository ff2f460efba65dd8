"""The Taylor remainder: along a random direction v, |(C(θ + hv) - C(θ - hv))/2 - h⟨g, v⟩| is O(h³) if g is the gradient
of C, and O(h) if it is not. What is measured is the order.

Farrell, Ham, Funke and Rognes, "Automated derivation of the adjoint of high-level transient finite element programs",
SIAM J. Sci. Comput. 35, 2013, have the one-sided form, of orders 2 and 1.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from xbackprop.verification.claim import Subject
from xbackprop.verification.findings import Finding, Verdict

STEPS = 2.0 ** -np.arange(21)
ORDER, WRONG_ORDER = 2.5, 1.5  # what the median of the last slopes must reach, and what shows that g is wrong
FLOOR = 200.0  # times the noise of C: below it a remainder is rounding
SLOPES = 3
SETTLED = 0.1  # by what share of their distance from ⟨g, v⟩ the last slopes of C may differ, for a FAIL


def remainders(subject: Subject, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """|remainder| (steps, tensors), along a random direction of every tensor; the changes of C that it was made from;
    whether the branches are those of θ; and ⟨g, v⟩."""
    moves = subject.directions(seed)
    ranges = [where for where, _ in subject.tensors.values()]  # one by one: a NaN stays in its tensor
    first_order = np.array([move[where] @ subject.gradient[where] for move, where in zip(moves, ranges, strict=True)])
    changes, same = [], []
    for h in STEPS:
        up, up_crossed = _look(subject, moves, h)
        down, down_crossed = _look(subject, moves, -h)
        changes.append((up - down) / 2)
        same.append(~(up_crossed | down_crossed))
    found = np.abs(np.array(changes) - STEPS[:, None] * first_order)
    return found, np.array(changes), np.array(same), first_order


def _look(subject: Subject, moves: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    parts = [subject.look(chosen, h) for chosen in subject.stacks(moves)]
    return np.concatenate([c for c, _ in parts]), np.concatenate([x for _, x in parts])


def check(subject: Subject, seed: int = 0) -> tuple[list[Finding], dict[str, list[tuple[float, float]]]]:
    """The order of the remainder of every tensor: the median of its last three slopes; and the curves, pairs (h, r)."""
    found, changes, same, first_order = remainders(subject, seed)
    floors = FLOOR * np.maximum(subject.noise(STEPS)[:, None], subject.resolution(changes))
    findings, curves = [], {}
    for i, name in enumerate(subject.tensors):
        r, smooth = found[:, i], same[:, i]
        findings.append(_finding(name, r, changes[:, i] / STEPS, smooth, floors[:, i], abs(first_order[i])))
        curves[name] = [(float(h), float(v)) for h, v in zip(STEPS[smooth], r[smooth], strict=True)]
    return findings, curves


def _finding(
    name: str, r: np.ndarray, slope: np.ndarray, smooth: np.ndarray, floor: np.ndarray, first_order: float
) -> Finding:
    counts = {"crossed": int((~smooth).sum())}

    def finding(verdict: Verdict, order: float, reason: str = "") -> Finding:
        return Finding("taylor", name, verdict, order, ORDER, len(STEPS), counts, None, reason)

    if not np.all(np.isfinite(r[smooth])):
        return finding(Verdict.FAIL, float("nan"), "the remainder is not a number")
    kept = np.flatnonzero(smooth & (r > floor))
    if len(kept) == 0 and smooth[0]:
        if first_order == 0:
            return finding(Verdict.VACUOUS, float("nan"), "C does not change along it, and the gradient is zero")
        if np.any(first_order * STEPS > floor):
            return finding(Verdict.PASS, float("inf"))  # C is straight, or curved evenly: the remainder vanishes
    slopes = np.array([np.log2(r[a] / r[b]) / (b - a) for a, b in pairwise(kept)])[-SLOPES:]
    if len(slopes) < SLOPES - 1:
        why = "kinks and rounding leave" if np.any(~smooth) else "rounding leaves"
        return finding(Verdict.INCONCLUSIVE, float("nan"), f"{why} fewer than {SLOPES} steps")
    order = float(np.median(slopes))
    if order >= ORDER:
        return finding(Verdict.PASS, order)
    last = kept[-SLOPES:]
    settled = np.ptp(slope[last]) <= SETTLED * np.min(r[last] / STEPS[last])
    if order < WRONG_ORDER and settled:
        return finding(Verdict.FAIL, order, "the remainder is of first order: the gradient does not belong to C")
    return finding(Verdict.INCONCLUSIVE, order, "the order is neither that of a right nor that of a wrong gradient")
