"""The data of gradient checks: verdicts, the record of a method, its findings, and the results of a verification."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np


class Verdict(StrEnum):
    """PASS, FAIL, INCONCLUSIVE if neither can be decided, or VACUOUS if both derivatives are zero everywhere."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    VACUOUS = "VACUOUS"


class Role(StrEnum):
    """The weight of a method's findings in the verdict.

    DECISIVE : the findings pass or fail a tensor, since the method compares the derivative itself, element by element.
    SUPPORTING : the findings may fail a tensor but never pass one: a Taylor remainder has an order and no value, and
        the dot product shares f′ with the gradient that it checks.
    ADVISORY : the findings are reported and decide nothing: the paper's figure fails correct deep networks.
    """

    DECISIVE = "decisive"
    SUPPORTING = "supporting"
    ADVISORY = "advisory"


class CannotRun(Exception):
    """The error for a method that cannot be used here; its message is the reason."""


@dataclass(frozen=True)
class Method:
    """The record of one method to check a gradient.

    name : its name in arguments and in JSON. title : the head of its column.
    role : the weight of its findings. bound : the limit of its error.
    explained : the method and the unit of its error, in two sentences for a reader of the report.
    check : ``check(claim) -> MethodResult``; with `of_network`, ``check(network)``, a `NetworkGradient`. None if
        its findings are made elsewhere.
    at_least : whether the figure must reach the bound, as an order must, and not stay below it.
    counted : the things that `Finding.checked` counts: "elements", "steps" or "draws".
    needs : the package that must be installed for it. default : whether it runs by default.
    stand_in : the method that runs where this one cannot.
    slope_precedence : of two methods that give slopes, the slopes of the one with the larger number are shown.
    """

    name: str
    title: str
    role: Role
    bound: float
    explained: str
    check: Callable[[Any], MethodResult] | None = None
    of_network: bool = False
    at_least: bool = False
    counted: str = "elements"
    needs: str = ""
    default: bool = True
    stand_in: str = ""
    slope_precedence: int = 0


class Element(NamedTuple):
    """One parameter: its tensor, its index there, and its derivative as claimed and as measured."""

    tensor: str
    position: tuple[int, ...]
    analytic: float
    numeric: float


@dataclass(frozen=True)
class Finding:
    """The result of one method on one tensor.

    by : the record of the method. tensor : the name of the tensor, or "θ" for all of them together.
    error, bound : the measured figure and its limit, in the method's own unit.
    checked : the number of elements, steps or draws; of large tensors only a sample of the elements is checked.
    counts : the numbers of those that were crossed (by a kink), undecided, zero, inconclusive, …
    worst : the element with the largest error.
    reason : the reason why it is not a PASS; empty if it is.
    """

    by: Method
    tensor: str
    verdict: Verdict
    error: float
    bound: float
    checked: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    worst: Element | None = None
    reason: str = ""

    @property
    def method(self) -> str:
        """The name of the method."""
        return self.by.name

    @property
    def badness(self) -> tuple[int, float]:
        """The sort key of the findings of one method: first the verdict, then the distance from the bound."""
        distance = self.bound - self.error if self.by.at_least else self.error / self.bound
        return _FROM_BEST.index(self.verdict), math.inf if math.isnan(distance) else distance


_FROM_BEST = (Verdict.PASS, Verdict.VACUOUS, Verdict.INCONCLUSIVE, Verdict.FAIL)


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst: FAIL before INCONCLUSIVE before VACUOUS before PASS; INCONCLUSIVE if there are no verdicts."""
    return max(verdicts, key=_FROM_BEST.index, default=Verdict.INCONCLUSIVE)


def worst_finding(findings: Iterable[Finding]) -> Finding | None:
    """Return the worst of the findings of one method: by verdict, then by the distance from the bound."""
    return max(findings, key=lambda finding: finding.badness, default=None)


def tensor_verdict(findings: Sequence[Finding]) -> Verdict:
    """Return the verdict on a tensor: FAIL if a method that may decide fails, else that of the decisive methods."""
    if any_failed(findings):
        return Verdict.FAIL
    decisive = {f.verdict for f in findings if f.by.role is Role.DECISIVE}
    if Verdict.PASS in decisive:
        return Verdict.PASS
    return Verdict.VACUOUS if decisive == {Verdict.VACUOUS} else Verdict.INCONCLUSIVE


def any_failed(findings: Iterable[Finding]) -> bool:
    """Return whether a decisive or supporting method fails."""
    return any(f.verdict is Verdict.FAIL and f.by.role is not Role.ADVISORY for f in findings)


class MethodResult(NamedTuple):
    """The result of a method: its findings, and its numbers for the report.

    slopes : the elements of θ for which it has a slope, and these slopes. taylor : for every tensor, pairs
    (h, |remainder|). paper_error : eq. 18 over all parameters.
    """

    findings: list[Finding]
    slopes: tuple[np.ndarray, np.ndarray] = (np.empty(0, dtype=int), np.empty(0))
    taylor: Mapping[str, Sequence[tuple[float, float]]] = {}
    paper_error: float = float("nan")


@dataclass(frozen=True)
class TensorSummary:
    """One tensor of one run: W_l as "coefs_[l]", b_l as "intercepts_[l]", or the name a user gave it.

    norm : ‖g‖ of the analytic gradient. paper_error : eq. 18 on this tensor alone, NaN if the method did not run.
    analytic, numeric : up to 2,000 of its elements, for the scatter plot; numeric by the most accurate method that ran.
    diagnosis : the likely mistake, in words, from the ratio analytic/numeric; empty if nothing is wrong.
    """

    name: str
    shape: tuple[int, ...]
    norm: float
    paper_error: float
    verdict: Verdict
    diagnosis: str
    worst: Element | None
    analytic: Sequence[float] = ()
    numeric: Sequence[float] = ()


@dataclass(frozen=True)
class Curves:
    """The curves of a report's pictures.

    steps : for "central differences", "Richardson" and "complex step", pairs (h, relative error of the gradient).
    taylor : for every tensor, pairs (h, |remainder|).
    """

    steps: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    taylor: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One gradient at one point, on one backend.

    place : backend, version, device, dtype, point ("given", …), alpha.
    tensors, findings : the results. notes : methods that could not run, and why; the number of sampled elements.
    paper_error : eq. 18 over all parameters, the paper's one figure; NaN if the method did not run.
    """

    place: Mapping[str, str]
    tensors: Sequence[TensorSummary]
    findings: Sequence[Finding]
    notes: Sequence[str]
    paper_error: float
    curves: Curves
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of its tensors; FAIL if a method that may decide fails, on a tensor or on θ as a whole."""
        return Verdict.FAIL if any_failed(self.findings) else worst_verdict(t.verdict for t in self.tensors)


@dataclass(frozen=True)
class Results:
    """The results of a verification.

    header : the network or function that was checked, versions, platform, seed, settings.
    runs : one per backend, dtype, point and α.
    not_run : everything that was asked for and could not run, with the reason; it keeps the verdict from being PASS.
    """

    header: Mapping[str, str]
    runs: Sequence[Run]
    not_run: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all runs; never PASS if something that was asked for could not run."""
        missing = [Verdict.INCONCLUSIVE] if self.not_run else []
        return worst_verdict([*(run.verdict for run in self.runs), *missing])

    @property
    def passed(self) -> bool:
        """Whether the verdict is PASS."""
        return self.verdict is Verdict.PASS

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The worst verdict of every tensor over all runs."""
        names = dict.fromkeys(t.name for run in self.runs for t in run.tensors)
        return {
            name: worst_verdict(t.verdict for run in self.runs for t in run.tensors if t.name == name) for name in names
        }

    @property
    def seconds(self) -> float:
        """The time that all runs took together, in seconds."""
        return float(sum(run.seconds for run in self.runs))
