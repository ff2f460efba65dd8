"""Reports made up for the tests, by hand and at random."""

import math
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from xbackprop.verification import findings
from xbackprop.verification.findings import Curves, Element, Finding, Run, TensorSummary, Verdict
from xbackprop.verification.methods import METHODS as RECORDS
from xbackprop.verification.report.report import Report

PASS, FAIL, INCONCLUSIVE, VACUOUS = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.VACUOUS
METHODS = ("complex step", "differences", "taylor", "dot product", "oracle", "paper")
SHAPES = {"coefs_[0]": (4, 5), "coefs_[1]": (5, 3), "intercepts_[0]": (5,), "intercepts_[1]": (3,)}
PLACE = {"backend": "numpy", "version": "2.4.6", "device": "cpu", "dtype": "float64", "alpha": "0.1", "point": "given"}
SIGN = "analytic is -1 times numeric: a sign"
NASTY = '<b>&"'


def finding(method, tensor, verdict, **more):
    right, bound = {"taylor": (3.0, 2.5), "paper": (2e-10, 1e-7)}.get(method, (2e-16, 1e-12))
    error = {PASS: right, FAIL: 1.0, VACUOUS: 0.0, INCONCLUSIVE: math.nan}[verdict]
    reason = "" if verdict is PASS else f"{method} says {verdict.lower()}"
    return Finding(RECORDS[method], tensor, verdict, error, bound, 2, **{"reason": reason, **more})


def make_run(wrong=(), verdict=FAIL, names=tuple(SHAPES), place=PLACE, methods=METHODS, seed=0):
    """A run in which every method has `verdict` on the tensors `wrong`, and passes the others."""
    rng = np.random.default_rng(seed)
    tensors, found = [], []
    for name, shape in zip(names, SHAPES.values(), strict=False):
        right = rng.standard_normal(math.prod(shape))
        bad = name in wrong
        analytic = -right if bad else right
        worst = Element(name, (1,) * len(shape), float(analytic[1]), float(right[1]))
        own = [finding(m, name, verdict if bad else PASS, worst=worst, counts={"crossed": 7}) for m in methods]
        found += own
        norm = np.linalg.norm(analytic)  # a NumPy scalar: JSON must take it
        diagnosis = SIGN if bad and verdict is FAIL else ""
        tensors.append(
            TensorSummary(
                name, shape, norm, 2e-10, findings.tensor_verdict(own), diagnosis, worst, analytic, right.tolist()
            )
        )
    h = 2.0 ** -np.arange(12)
    slopes = {"central differences": 0.1 * h**2, "Richardson": h**4, "complex step": 1e-16 * h**0}
    steps = {name: [*zip(h, e, strict=True)] for name, e in slopes.items()}
    steps["complex step"].append((1e-100, 0.0))
    curves = Curves(steps, {name: [*zip(h, 0.1 * h**3, strict=True)] for name in names})
    return Run(place, tensors, found, ["the oracle needs torch"], 2e-10, curves, 0.25)


def make_report(*runs, **not_run):
    return Report({"network": "4-5-3, tanh", "seed": "0", "numpy": "2.4.6"}, runs, not_run)


def many(wrong_at=()):
    """Twelve runs, of which those in `wrong_at` fail."""
    places = [{**PLACE, "backend": b, "point": f"{p}"} for b in ("numpy", "torch") for p in range(6)]
    return make_report(*(make_run(["coefs_[1]"] if i in wrong_at else [], place=p) for i, p in enumerate(places)))


PASSING, FAILING = make_report(make_run()), make_report(make_run(["coefs_[1]"]))
REPORTS = {
    "passing": PASSING,
    "failing": FAILING,
    "two runs": make_report(make_run(), make_run(["coefs_[0]"], INCONCLUSIVE)),
    "vacuous": make_report(make_run(list(SHAPES), VACUOUS)),
    "twelve runs": many(),
    "one of twelve": many([7]),
    "not run": make_report(make_run(), cupy="CuPy is not installed"),
    "empty": make_report(),
    "no tensors": make_report(Run({}, [], [], [], math.nan, Curves(), 0.0)),
    "whole": make_report(replace(make_run(), findings=[finding("oracle", "θ", FAIL)])),
}


VERDICTS = st.sampled_from(Verdict)
FINDINGS = st.lists(
    st.builds(finding, st.sampled_from(METHODS), st.sampled_from([*SHAPES, "θ"]), VERDICTS), max_size=12
)


@st.composite
def runs(draw):
    found = draw(FINDINGS)
    names = dict.fromkeys(f.tensor for f in found if f.tensor != "θ")
    tensors = [
        TensorSummary(n, SHAPES[n], 1.0, 0.0, findings.tensor_verdict([f for f in found if f.tensor == n]), "", None)
        for n in names
    ]
    return Run(PLACE, tensors, found, [], 0.0, Curves(), 0.1)
