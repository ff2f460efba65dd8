"""Check one gradient at one point: run every method that can run there, and combine their results to a `Run`."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.arrays.threads import one_thread
from xbackprop.errors import BackendError
from xbackprop.nn.objective import Batch, Objective
from xbackprop.verification.claim import COMPLEX_STEP, STACK_BYTES, GradientClaim
from xbackprop.verification.diagnosis import diagnose
from xbackprop.verification.findings import (
    CannotRun,
    Curves,
    Finding,
    Method,
    MethodResult,
    Role,
    Run,
    TensorSummary,
    Verdict,
    tensor_verdict,
)
from xbackprop.verification.methods import METHODS
from xbackprop.verification.methods.paper import EPSILON
from xbackprop.verification.network import NetworkGradient, network_gradient
from xbackprop.version import __version__

Progress = Callable[[str], None]
SCATTER = 2000  # elements of a tensor that a report keeps
CURVE_ELEMENTS, FEW = 24, 2  # elements that the curves are measured on; and the number if the methods sample
CURVE_STEPS = np.logspace(-1, -12, 23)
COMPLEX_STEPS = np.array([1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10, 1e-12, 1e-20, 1e-100, 1e-200])
CHANGES = "the gradient is another one when it is computed again"
#: The methods that run by default.
DEFAULT = tuple(name for name, method in METHODS.items() if method.default)
#: The methods that give slopes, from the least to the most accurate.
SLOPE_PRECEDENCE = sorted(METHODS, key=lambda name: METHODS[name].slope_precedence)


def run_methods(
    objective: Objective,
    theta: Array,
    batch: Batch,
    *,
    methods: Collection[str] | None = None,
    seed: int = 0,
    memory: int = STACK_BYTES,
    pictures: bool = False,
    place: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Run:
    """Check the gradient of `objective` at θ by every method that can run there.

    The gradient is that of training: with the backend's overrides and into reused buffers. C is computed by the generic
    functions on the same library. The oracle and the dot product check a float32 gradient itself; the other methods
    need float64 and check the same code in float64.

    Parameters
    ----------
    theta, batch : θ (P,) and the samples, as the objective takes them.
    methods : names out of METHODS; by default DEFAULT.
    seed : the seed of random directions and samples. memory : the bytes that a stack of moved parameters may take.
    pictures : whether to measure the curves that a report draws.
    place : entries of `Run.place` beside backend, dtype and α.
    progress : called with a line of text before each step of the work.
    """
    began = time.perf_counter()
    backend = objective.backend
    asked = set(DEFAULT if methods is None else methods)
    with backend.device_context(), one_thread(batch.X.shape[0] * objective.layout.n_weights):
        network = network_gradient(objective, theta, batch, seed, memory)
        where = f"{backend.name}, {network.gradient.dtype}"
        told = None if progress is None else lambda method: progress(f"{method} on {where}")
        results, not_run = run_each(METHODS.values(), asked, network.claim, network, told)
        if not network.repeatable:
            results = {name: _doubted(result) for name, result in results.items()}
        if pictures and told:
            told("the curves of the pictures")
        curves = measure_curves(network.claim, results) if pictures else Curves()
    described = {
        "backend": backend.name,
        "version": backend.version,
        "device": str(backend.device or "cpu"),
        "dtype": str(network.gradient.dtype),
        "alpha": f"{objective.alpha:g}",
    }
    return make_run(
        network.claim,
        results,
        place={**described, **(place or {})},
        notes=[*_notes(network, asked), *not_run],
        curves=curves,
        seconds=time.perf_counter() - began,
        n=batch.X.shape[0],
    )


def run_each(
    methods: Iterable[Method],
    asked: Collection[str],
    claim: GradientClaim,
    network: NetworkGradient | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, MethodResult], list[str]]:
    """Run those of `methods` that are asked for or stand in for one; return their results, and why some cannot run."""
    names, results, notes = set(asked), {}, []
    for method in methods:
        if method.name in names and method.check is not None:
            if progress is not None:
                progress(method.title)
            try:
                results[method.name] = method.check(network if method.of_network else claim)
            except (CannotRun, BackendError) as error:
                notes.append(f"{method.name}: {error}")
                names.add(method.stand_in)
    return results, notes


def _doubted(result: MethodResult) -> MethodResult:
    """Return a result with every verdict but FAIL as INCONCLUSIVE, for a gradient that is not repeatable."""
    return result._replace(
        findings=[
            f if f.verdict is Verdict.FAIL else replace(f, verdict=Verdict.INCONCLUSIVE, reason=CHANGES)
            for f in result.findings
        ]
    )


def _notes(network: NetworkGradient, asked: Collection[str]) -> list[str]:
    notes, looked_at = [], len(network.claim.elements)
    if looked_at < len(network.gradient):
        notes.append(
            f"complex step, differences and the paper's check look at {looked_at:,} of {len(network.gradient):,} "
            f"elements, drawn at random, and at the largest of every tensor"
        )
    if network.gradient.dtype != np.float64:
        own = [name for name in ("oracle", "dot product") if name in asked]
        notes.append(f"{' and '.join(own) or 'no method'} in the network's dtype, the other methods in float64")
    return notes


def measure_curves(claim: GradientClaim, results: Mapping[str, MethodResult]) -> Curves:
    """Measure the curves that a report draws: errors against the step, and Taylor remainders.

    The error is ‖slopes - ∇C‖ / ‖∇C‖ over a few elements of θ, for every kind of difference and every step. ∇C is the
    complex step's if it could run, otherwise the gradient under test.
    """
    taylor = {name: curve for result in results.values() for name, curve in result.taylor.items()}
    elements, everything = claim.elements, len(claim.elements) == len(claim.gradient)
    number = min(len(elements), CURVE_ELEMENTS if everything else FEW)
    some = np.sort(np.random.RandomState(claim.seed).choice(elements, number, replace=False))
    carried = "complex step" in results
    truth = claim.complex_slopes(some) if carried else claim.gradient[some]
    norm = float(np.linalg.norm(truth))
    if not norm > 0:
        return Curves(taylor=taylor)

    def error(slopes: np.ndarray) -> float:
        return float(np.linalg.norm(slopes - truth)) / norm

    central = {h: _central(claim, some, h) for step in CURVE_STEPS for h in (step, 2 * step)}
    steps = {
        "central differences": [(float(h), error(central[h])) for h in CURVE_STEPS],
        "Richardson": [(float(h), error((4 * central[h] - central[2 * h]) / 3)) for h in CURVE_STEPS],
    }
    if carried:
        steps["complex step"] = [(float(h), error(claim.complex_slopes(some, h))) for h in COMPLEX_STEPS]
    return Curves(steps, taylor)


def _central(claim: GradientClaim, elements: np.ndarray, h: float) -> np.ndarray:
    pairs = [(claim.evaluate(some, h)[0], claim.evaluate(some, -h)[0]) for some in claim.stacks(elements)]
    return np.concatenate([(up - down) / (2 * h) for up, down in pairs])


def make_run(
    claim: GradientClaim,
    results: Mapping[str, MethodResult],
    *,
    place: Mapping[str, str],
    notes: Sequence[str],
    curves: Curves,
    seconds: float,
    n: int | None = None,
    doubt: str = "",
) -> Run:
    """Combine the results of the methods to a `Run`.

    n : the number of samples, for the diagnosis. doubt : the reason why no finding counts; empty if they count.
    """
    findings = [f for result in results.values() for f in result.findings]
    if doubt:
        findings = [replace(f, verdict=Verdict.INCONCLUSIVE, reason=doubt) for f in findings]
    slopes = np.full(len(claim.gradient), np.nan)
    for name in SLOPE_PRECEDENCE:
        if name in results:
            elements, found = results[name].slopes
            slopes[elements[np.isfinite(found)]] = found[np.isfinite(found)]
    return Run(
        place=place,
        tensors=[_summary(claim, name, findings, slopes, n) for name in claim.tensors],
        findings=findings,
        notes=[*([doubt] if doubt else []), *notes],
        paper_error=results["paper"].paper_error if "paper" in results else float("nan"),
        curves=curves,
        seconds=seconds,
    )


def _summary(
    claim: GradientClaim, name: str, findings: Sequence[Finding], slopes: np.ndarray, n: int | None
) -> TensorSummary:
    mine = [f for f in findings if f.tensor == name]
    where, shape = claim.tensors[name]
    gradient, slopes = claim.gradient[where], slopes[where]
    verdict = tensor_verdict(mine)
    known = np.flatnonzero(np.isfinite(slopes))
    diagnosis = ""
    if verdict is Verdict.INCONCLUSIVE and not any(f.by.role is Role.DECISIVE for f in mine):
        decisive = [m.name for m in METHODS.values() if m.role is Role.DECISIVE]
        diagnosis = f"none of the methods that decide was run: {', '.join(decisive)}"
    if verdict is Verdict.FAIL and len(known):
        theta = claim.backend.to_host(claim.theta)[where]
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
    """Return the facts with everything that a reader needs to repeat the verification: versions, platform, seed."""
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
