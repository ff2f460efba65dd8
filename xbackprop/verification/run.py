"""One gradient at one point: every method that can run there, and what they found together."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.arrays.threads import one_thread
from xbackprop.errors import BackendError
from xbackprop.nn.objective import Batch, Objective
from xbackprop.verification.claim import STACK_BYTES
from xbackprop.verification.findings import CannotRun, Verdict
from xbackprop.verification.methods import complex_step, dot_product, oracle, paper, reference, richardson, taylor
from xbackprop.verification.network import Point, make_point
from xbackprop.verification.outcome import Outcome, make_run, measure_curves
from xbackprop.verification.results import Curves, Run

#: What is run when nothing else is asked for; differences join where the complex step cannot run.
DEFAULT = ("complex step", "taylor", "dot product", "oracle", "paper")


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
    return Outcome(dot_product.check(point.objective, point.theta, point.batch, point.problem, point.seed))


def _oracle(point: Point) -> Outcome:
    try:
        findings, slopes = oracle.check(point.problem, point.gradient, point.rounding, point.subject.tensors)
    except BackendError:
        raise
    except Exception as error:  # whatever a user's own function raises when it meets tensors
        raise CannotRun(f"torch cannot run a function of yours: {type(error).__name__}: {error}") from error
    return Outcome(findings, (np.arange(len(slopes)), slopes))


def _reference(point: Point) -> Outcome:
    bound, subject = oracle.UNITS * point.rounding64, point.subject
    return Outcome(reference.check(point.problem, subject.at_theta[0], subject.gradient, bound, subject.tensors))


def _paper(point: Point) -> Outcome:
    result = paper.paper_check(point.subject, point.rows)
    at_kink = _units_at_kinks(point)
    findings = [
        replace(f, counts={**f.counts, "at kink": at_kink.get(f.tensor, 0)})
        for f in paper.findings(point.subject, result)
    ]
    return Outcome(findings, paper_error=result.error)


def _units_at_kinks(point: Point) -> dict[str, int]:
    """For every W_l and b_l, how many z_l are exactly at a kink: there f′ is the slope from the left."""
    objective, xp = point.objective, point.objective.backend.xp
    z = objective.forward(point.theta, point.batch.X).z
    counts = {}
    for l, (z_l, f) in enumerate(zip(z, objective.hidden, strict=False)):
        count = sum(int(objective.backend.to_host(xp.count_nonzero(z_l == kink))) for kink in f.kinks)
        counts[f"coefs_[{l}]"] = counts[f"intercepts_[{l}]"] = count
    return counts


#: Every method, in the order they run.
METHODS: dict[str, Callable[[Point], Outcome]] = {
    "complex step": _complex_step,
    "differences": _differences,
    "taylor": _taylor,
    "dot product": _dot_product,
    "oracle": _oracle,
    "reference": _reference,
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
    with backend.device_context(), one_thread(batch.X.shape[0] * objective.layout.n_weights):
        point = make_point(objective, theta, batch, seed, memory)
        notes = _notes(point, asked)
        for name, method in METHODS.items():
            if name not in asked:
                continue
            try:
                outcomes[name] = method(point)
            except (CannotRun, BackendError) as error:
                notes.append(f"{name}: {error}")
                if name == "complex step":
                    asked.add("differences")
        if not point.repeatable:
            outcomes = {name: _doubted(outcome) for name, outcome in outcomes.items()}
        drawn = measure_curves(point.subject, point.rows, outcomes, seed) if pictures else Curves()
    described = {
        "backend": backend.name,
        "version": backend.version,
        "device": str(backend.device or "cpu"),
        "dtype": str(point.gradient.dtype),
        "alpha": f"{objective.alpha:g}",
    }
    return make_run(
        point.subject,
        outcomes,
        place={**described, **(place or {})},
        notes=notes,
        curves=drawn,
        seconds=time.perf_counter() - began,
        n=batch.X.shape[0],
    )


def _doubted(outcome: Outcome) -> Outcome:
    """A gradient that changes is never a PASS; what FAILs without that, FAILs."""
    reason = "the gradient is another one when it is computed again"
    return outcome._replace(
        findings=[
            f if f.verdict is Verdict.FAIL else replace(f, verdict=Verdict.INCONCLUSIVE, reason=reason)
            for f in outcome.findings
        ]
    )


def _notes(point: Point, asked: Collection[str]) -> list[str]:
    notes = []
    if point.sampled:
        notes.append(
            f"complex step, differences and the paper's check look at {len(point.rows):,} of {len(point.gradient):,} "
            f"elements, drawn at random, and at the largest of every tensor"
        )
    if point.gradient.dtype != np.float64:
        own = [name for name in ("oracle", "dot product") if name in asked]
        notes.append(f"{' and '.join(own) or 'no method'} in the network's dtype, the other methods in float64")
    return notes
