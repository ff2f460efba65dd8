"""From what the methods leave to a `Run`: the summary of every tensor."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from xbackprop.verification import curves
from xbackprop.verification.claim import COMPLEX_STEP, Subject
from xbackprop.verification.diagnosis import diagnose
from xbackprop.verification.findings import DECISIVE, Finding, Verdict, tensor_verdict
from xbackprop.verification.methods.paper import EPSILON
from xbackprop.verification.results import Curves, Run, TensorSummary
from xbackprop.version import __version__

SCATTER = 2000  # elements of a tensor that a report keeps
BETTER = ("differences", "oracle", "complex step")  # whose slopes are shown, the later the better


class Outcome(NamedTuple):
    """What a method leaves: findings; the rows of θ it has slopes for, and these; Taylor remainders; eq. 18."""

    findings: list[Finding]
    slopes: tuple[np.ndarray, np.ndarray] = (np.empty(0, dtype=int), np.empty(0))
    taylor: Mapping[str, Sequence[tuple[float, float]]] | None = None
    paper_error: float = float("nan")


def measure_curves(subject: Subject, rows: np.ndarray, outcomes: Mapping[str, Outcome], seed: int) -> Curves:
    """What a report draws."""
    remainders = outcomes["taylor"].taylor if "taylor" in outcomes else None
    return curves.measure(subject, rows, "complex step" in outcomes, remainders or {}, seed)


def make_run(
    subject: Subject,
    outcomes: Mapping[str, Outcome],
    *,
    place: Mapping[str, str],
    notes: Sequence[str],
    curves: Curves,
    seconds: float,
    n: int | None = None,
    doubt: str = "",
) -> Run:
    """The run that these outcomes make up.

    n : the number of samples, for the diagnosis. doubt : why nothing that was found counts, if so.
    """
    findings = [f for outcome in outcomes.values() for f in outcome.findings]
    if doubt:
        findings = [replace(f, verdict=Verdict.INCONCLUSIVE, reason=doubt) for f in findings]
    slopes = np.full(len(subject.gradient), np.nan)
    for name in BETTER:
        if name in outcomes:
            rows, found = outcomes[name].slopes
            slopes[rows[np.isfinite(found)]] = found[np.isfinite(found)]
    return Run(
        place=place,
        tensors=[_summary(subject, name, findings, slopes, n) for name in subject.tensors],
        findings=findings,
        notes=[*([doubt] if doubt else []), *notes],
        paper_error=outcomes["paper"].paper_error if "paper" in outcomes else float("nan"),
        curves=curves,
        seconds=seconds,
    )


def _summary(
    subject: Subject, name: str, findings: Sequence[Finding], slopes: np.ndarray, n: int | None
) -> TensorSummary:
    mine = [f for f in findings if f.tensor == name]
    where, shape = subject.tensors[name]
    gradient, slopes = subject.gradient[where], slopes[where]
    verdict = tensor_verdict(mine)
    known = np.flatnonzero(np.isfinite(slopes))
    diagnosis = ""
    if verdict is Verdict.INCONCLUSIVE and not any(f.method in DECISIVE for f in mine):
        diagnosis = f"none of the methods that decide was run: {', '.join(DECISIVE)}"
    if verdict is Verdict.FAIL and len(known):
        theta = subject.backend.to_host(subject.theta)[where]
        whole = shape if len(known) == len(gradient) else ()
        diagnosis = diagnose(gradient[known], slopes[known], theta[known], whole, n)
    telling = [f for f in mine if f.verdict is Verdict.FAIL] or mine
    shown = known if len(known) <= SCATTER else known[np.linspace(0, len(known) - 1, SCATTER).astype(int)]
    return TensorSummary(
        name=name,
        shape=shape,
        norm=float(np.linalg.norm(gradient)),
        paper_error=next((f.error for f in mine if f.method == "paper"), float("nan")),
        verdict=verdict,
        diagnosis=diagnosis,
        worst=next((f.worst for f in telling if f.worst is not None), None),
        analytic=gradient[shown].tolist(),
        numeric=slopes[shown].tolist(),
    )


def make_header(facts: Mapping[str, str], seed: int) -> dict[str, str]:
    """The facts, and what a reader needs to do it again."""
    torch = sys.modules.get("torch")
    tf32 = {"tf32": "on" if torch.backends.cuda.matmul.allow_tf32 else "off"} if torch else {}
    return {
        **facts,
        "steps": f"{EPSILON:g} (the paper's), {COMPLEX_STEP:g} (complex)",
        "seed": str(seed),
        "xbackprop": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        **tf32,
        "platform": f"{platform.system()} {platform.machine()}",
    }
