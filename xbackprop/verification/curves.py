"""What a report draws: the error of every kind of difference against its step, on a few elements of θ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xbackprop.verification.claim import Subject
from xbackprop.verification.results import Curves

ELEMENTS, FEW = 24, 2  # looked at; and where the other methods sample as well
STEPS = np.logspace(-1, -12, 23)
COMPLEX_STEPS = np.array([1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10, 1e-12, 1e-20, 1e-100, 1e-200])


def measure(
    subject: Subject, rows: np.ndarray, carried: bool, taylor: Mapping[str, Sequence[tuple[float, float]]], seed: int
) -> Curves:
    """‖slopes - ∇C‖ / ‖∇C‖ over some elements out of `rows`, for every step; ∇C is the complex step's, where C carries
    it, or else the gradient under test."""
    rng = np.random.RandomState(seed)
    number = min(len(rows), ELEMENTS if len(rows) == len(subject.gradient) else FEW)
    some = np.sort(rng.choice(rows, number, replace=False))
    truth = subject.complex_slopes(some) if carried else subject.gradient[some]
    norm = float(np.linalg.norm(truth))
    if not norm > 0:
        return Curves(taylor=taylor)

    def error(slopes: np.ndarray) -> float:
        return float(np.linalg.norm(slopes - truth)) / norm

    central = {h: _central(subject, some, h) for step in STEPS for h in (step, 2 * step)}
    steps = {
        "central differences": [(float(h), error(central[h])) for h in STEPS],
        "Richardson": [(float(h), error((4 * central[h] - central[2 * h]) / 3)) for h in STEPS],
    }
    if carried:
        steps["complex step"] = [(float(h), error(subject.complex_slopes(some, h))) for h in COMPLEX_STEPS]
    return Curves(steps, taylor)


def _central(subject: Subject, rows: np.ndarray, h: float) -> np.ndarray:
    looks = [(subject.look(some, h)[0], subject.look(some, -h)[0]) for some in subject.stacks(rows)]
    return np.concatenate([(up - down) / (2 * h) for up, down in looks])
