"""What a check may say: verdicts, what each method found on each tensor, and how they combine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

#: Methods that see the derivative itself. The others are held beside them: the paper's figure fails correct deep nets,
#: a Taylor remainder tells an order and not a value, and the dot product shares f′ with the gradient it looks at.
DECISIVE = ("complex step", "differences", "oracle", "reference")
#: Reported, and never what decides.
ADVISORY = ("paper",)


class Verdict(StrEnum):
    """PASS, FAIL; INCONCLUSIVE: could not be told, and why; VACUOUS: everything is zero, on both sides."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    VACUOUS = "VACUOUS"


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """FAIL before INCONCLUSIVE before VACUOUS before PASS; INCONCLUSIVE where there are none."""
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.VACUOUS, Verdict.PASS)
    return min(verdicts, key=order.index, default=Verdict.INCONCLUSIVE)


class CannotRun(Exception):
    """A method cannot be used here; the text says why."""


class Element(NamedTuple):
    """One parameter: its tensor, its index there, its derivative as claimed and as the method has it."""

    tensor: str
    position: tuple[int, ...]
    analytic: float
    numeric: float


@dataclass(frozen=True)
class Finding:
    """What one method found on one tensor.

    method : a row of `verify.METHODS`. tensor : its name, or "θ" for all of them together.
    error, bound : the measured figure and its limit, in the method's own measure; for "taylor" the order, which must
        reach the bound.
    checked : how many elements were looked at; fewer than the tensor has where they were sampled.
    counts : how many of them were crossed (by a kink), undecided, zero, inconclusive, …
    worst : the element that is furthest off.
    reason : in words, why it is not a PASS.
    """

    method: str
    tensor: str
    verdict: Verdict
    error: float
    bound: float
    checked: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    worst: Element | None = None
    reason: str = ""


def tensor_verdict(findings: Sequence[Finding]) -> Verdict:
    """The verdict on a tensor: FAIL if any method that may decide fails, otherwise what the decisive ones say."""
    if any(f.verdict is Verdict.FAIL and f.method not in ADVISORY for f in findings):
        return Verdict.FAIL
    decisive = {f.verdict for f in findings if f.method in DECISIVE}
    if Verdict.PASS in decisive:
        return Verdict.PASS
    return Verdict.VACUOUS if decisive == {Verdict.VACUOUS} else Verdict.INCONCLUSIVE
