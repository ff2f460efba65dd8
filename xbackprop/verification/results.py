"""What a verification found, run by run: the data of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xbackprop.verification.findings import ADVISORY, Element, Finding, Verdict, worst_verdict


@dataclass(frozen=True)
class TensorSummary:
    """One tensor of one run: W_l as "coefs_[l]", b_l as "intercepts_[l]", or the name a user gave it.

    norm : ‖g‖ of the analytic gradient. paper_error : eq. 18 on this tensor alone, NaN where it was not run.
    analytic, numeric : up to 2,000 of its elements, for the scatter; numeric by the best method that ran.
    diagnosis : in words, what the ratio analytic/numeric points to; empty where nothing is wrong.
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
    """What the pictures show.

    steps : for "central differences", "Richardson" and "complex step", pairs (h, relative error of the gradient).
    taylor : for every tensor, pairs (h, |remainder|).
    """

    steps: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    taylor: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One gradient at one point, on one backend.

    place : backend, version, device, dtype, point ("given", …), alpha.
    tensors, findings : what came out. notes : what could not be run, and why; what was sampled.
    paper_error : eq. 18 over all parameters, the paper's one figure; NaN where it was not run.
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
        """The worst over its tensors; FAIL if any method that may decide fails, on one of them or on θ as a whole."""
        failed = [f.verdict for f in self.findings if f.verdict is Verdict.FAIL and f.method not in ADVISORY]
        return worst_verdict([*(t.verdict for t in self.tensors), *failed])


@dataclass(frozen=True)
class Results:
    """What a verification found.

    header : what was checked, versions, platform, seed, settings. runs : one per backend, dtype, point and α.
    not_run : what was asked for and could not be run, with the reason: never a pass.
    """

    header: Mapping[str, str]
    runs: Sequence[Run]
    not_run: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst over all runs; never PASS if something that was asked for could not be run."""
        missing = [Verdict.INCONCLUSIVE] if self.not_run else []
        return worst_verdict([*(run.verdict for run in self.runs), *missing])

    @property
    def passed(self) -> bool:
        """Whether the verdict is PASS."""
        return self.verdict is Verdict.PASS

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """For every tensor the worst verdict over all runs."""
        names = dict.fromkeys(t.name for run in self.runs for t in run.tensors)
        return {
            name: worst_verdict(t.verdict for run in self.runs for t in run.tensors if t.name == name) for name in names
        }

    @property
    def seconds(self) -> float:
        """How long it took."""
        return float(sum(run.seconds for run in self.runs))
