"""A report as one HTML file, from the dictionary that `Report.to_dict` makes; and how figures and verdicts are written,
in the file and on a terminal alike."""

from __future__ import annotations

import math

from xbackprop.verification.verdicts import Verdict

#: One character for a verdict, in tables.
MARKS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.INCONCLUSIVE: "?", Verdict.VACUOUS: "∅"}
#: How methods are called where there is room, if not by their names.
TITLES = {"paper": "eq. 18", "taylor": "Taylor"}


def figure(value: float | str) -> str:
    """A number in at most seven characters or so: 2.83, 1.2e-16, a dash for NaN."""
    x = float(value)
    if math.isnan(x):
        return "–"
    if x == 0 or 0.01 <= abs(x) < 1000:
        return f"{x:.3g}"
    return _short(f"{x:.1e}")


def limit(method: str, bound: float | str) -> str:
    """What an error is held to: "≤ 1e-12"; an order is held to be at least so large."""
    return f"{'≥' if method == 'taylor' else '≤'} {_short(f'{float(bound):.3g}')}"


def _short(text: str) -> str:
    return text.replace("e-0", "e-").replace("e+0", "e+")
