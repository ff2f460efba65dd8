"""One gradient at one point: every method that can run there, and what they found together."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from xbackprop.backend import Array
from xbackprop.errors import BackendError
from xbackprop.objective import Batch, Objective
from xbackprop.verification import complex_step, curves, dot_product, oracle, paper, richardson, taylor
from xbackprop.verification.complex_step import NotCarried
from xbackprop.verification.diagnosis import diagnose
from xbackprop.verification.oracle import one_thread
from xbackprop.verification.point import Point, make_point
from xbackprop.verification.report import Curves, Run, TensorSummary
from xbackprop.verification.subject import STACK_BYTES
from xbackprop.verification.verdicts import Finding, Verdict, tensor_verdict

#: What is run when nothing else is asked for; differences join where the complex step cannot run.
DEFAULT = ("complex step", "taylor", "dot product", "oracle", "paper")
SCATTER = 2000  # elements of a tensor that a report keeps


class Outcome(NamedTuple):
    """What a method leaves: findings; the rows of θ it has slopes for, and these; Taylor remainders; eq. 18."""

    findings: list[Finding]
    slopes: tuple[np.ndarray, np.ndarray] = (np.empty(0, dtype=int), np.empty(0))
    taylor: Mapping[str, Sequence[tuple[float, float]]] | None = None
    paper_error: float = float("nan")


def _complex_step(point: Point) -> Outcome:
    findings, slopes = complex_step.check(point.subject, point.rows, oracle.UNITS * point.rounding64, point.seed)
    return Outcome(findings, (point.rows, slopes))


def _differences(point: Point) -> Outcome:
    findings, slopes = richardson.check(point.subject, point.rows)
    return Outcome(findings, (point.rows, slopes))


def _taylor(point: Point) -> Outcome:
    findings, remainders = taylor.check(point.subject, point.seed)
    return Outcome(findings, taylor=remainders)


def _dot_product(point: Point) -> Outcome:
    return Outcome(dot_product.check(point.objective, point.theta, point.batch.X, point.seed))


def _oracle(point: Point) -> Outcome:
    findings, slopes = oracle.check(point.problem, point.gradient, point.rounding, point.subject.tensors)
    return Outcome(findings, (np.arange(len(slopes)), slopes))


def _paper(point: Point) -> Outcome:
    result = paper.paper_check(point.subject, point.rows)
    return Outcome(paper.findings(point.subject, result), paper_error=result.error)


#: Every method, in the order they run.
METHODS: dict[str, Callable[[Point], Outcome]] = {
    "complex step": _complex_step,
    "differences": _differences,
    "taylor": _taylor,
    "dot product": _dot_product,
    "oracle": _oracle,
    "paper": _paper,
}


def examine(
    objective: Objective,
    theta: Array,
    batch: Batch,
    *,
    methods: Collection[str] | None = None,
    seed: int = 0,
    memory: int = STACK_BYTES,
    pictures: bool = False,
    place: Mapping[str, str] | None = None,
) -> Run:
    """Hold the gradient of `objective` at θ to everything it can be held to there.

    The gradient is the one that trains: through the backend's overrides and into reused buffers. C is the generic one
    on the same library. A float32 gradient meets the oracle and the dot product as it is; the other methods need
    float64 and look at the same lines in float64.

    Parameters
    ----------
    theta : (P,), and batch : as the objective takes them.
    methods : out of METHODS; by default DEFAULT.
    seed : of random directions and samples. memory : bytes that a stack of moved parameters may take.
    pictures : whether to measure the curves that a report draws.
    place : names of the run's place, beside backend, dtype and α.
    """
    began = time.perf_counter()
    backend = objective.backend
    asked = set(DEFAULT if methods is None else methods)
    outcomes: dict[str, Outcome] = {}
    with backend.scope(), one_thread():
        point = make_point(objective, theta, batch, seed, memory)
        notes = _notes(point, asked)
        for name, method in METHODS.items():
            if name not in asked:
                continue
            try:
                outcomes[name] = method(point)
            except (NotCarried, BackendError) as error:
                notes.append(f"{name}: {error}")
                if name == "complex step":
                    asked.add("differences")
        drawn = _curves(point, outcomes) if pictures else Curves()
    findings = [f for outcome in outcomes.values() for f in outcome.findings]
    if not point.repeatable:
        reason = "the gradient is another one when it is computed again"
        findings = [replace(f, verdict=Verdict.INCONCLUSIVE, reason=reason) for f in findings]
    slopes = _slopes(point, outcomes)
    described = {
        "backend": backend.name,
        "version": backend.version,
        "device": str(backend.device or "cpu"),
        "dtype": str(np.dtype(backend.to_host(theta).dtype)),
        "alpha": f"{objective.alpha:g}",
    }
    return Run(
        place={**described, **(place or {})},
        tensors=[_summary(point, name, findings, slopes) for name in point.subject.tensors],
        findings=findings,
        notes=notes,
        paper_error=outcomes["paper"].paper_error if "paper" in outcomes else float("nan"),
        curves=drawn,
        seconds=time.perf_counter() - began,
    )


def _notes(point: Point, asked: Collection[str]) -> list[str]:
    notes = []
    if point.sampled:
        notes.append(
            f"complex step, differences and the paper's check look at {len(point.rows):,} of {len(point.gradient):,} "
            f"elements, drawn at random, and at the largest of every tensor"
        )
    if point.theta.dtype != point.subject.theta.dtype:
        own = [name for name in ("oracle", "dot product") if name in asked]
        notes.append(f"{' and '.join(own) or 'no method'} in the network's dtype, the other methods in float64")
    return notes


def _slopes(point: Point, outcomes: Mapping[str, Outcome]) -> np.ndarray:
    """∂C/∂θ (P,) by the best method that has it, NaN where none has."""
    slopes = np.full(len(point.gradient), np.nan)
    for name in ("differences", "oracle", "complex step"):  # the later the better
        if name in outcomes:
            rows, found = outcomes[name].slopes
            slopes[rows[np.isfinite(found)]] = found[np.isfinite(found)]
    return slopes


def _curves(point: Point, outcomes: Mapping[str, Outcome]) -> Curves:
    remainders = outcomes["taylor"].taylor if "taylor" in outcomes else {}
    return curves.measure(point.subject, point.rows, "complex step" in outcomes, remainders or {}, point.seed)


def _summary(point: Point, name: str, findings: Sequence[Finding], slopes: np.ndarray) -> TensorSummary:
    mine = [f for f in findings if f.tensor == name]
    where, shape = point.subject.tensors[name]
    gradient = point.subject.gradient[where]
    verdict = tensor_verdict(mine)
    known = np.flatnonzero(np.isfinite(slopes[where]))
    diagnosis = ""
    if verdict is Verdict.FAIL and len(known):
        theta = point.subject.backend.to_host(point.subject.theta)[where]
        whole = len(known) == len(gradient)
        diagnosis = diagnose(
            gradient[known], slopes[where][known], theta[known], shape if whole else (), len(point.problem.X)
        )  # fmt: skip
    failing = [f for f in mine if f.verdict is Verdict.FAIL] or mine
    shown = known if len(known) <= SCATTER else known[np.linspace(0, len(known) - 1, SCATTER).astype(int)]
    return TensorSummary(
        name=name,
        shape=shape,
        norm=float(np.linalg.norm(gradient)),
        paper_error=next((f.error for f in mine if f.method == "paper"), float("nan")),
        verdict=verdict,
        diagnosis=diagnosis,
        worst=next((f.worst for f in failing if f.worst is not None), None),
        analytic=gradient[shown].tolist(),
        numeric=slopes[where][shown].tolist(),
    )
