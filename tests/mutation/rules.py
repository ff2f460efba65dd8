"""Rules that pass or reject a gradient: methods of `run_methods`, the paper's formula, the checkers of torch and jax.

Every rule sees the same C(θ), on the generic functions, and the same gradient, as training takes it. torch and jax are
called themselves, through `tests/foreign.py`, with their own steps and tolerances; what cannot be run is None.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from foreign import jax_function_of, torch_function_of
from networks import Case

from xbackprop.nn.objective import Objective
from xbackprop.verification.findings import Run, Verdict
from xbackprop.verification.methods import METHODS
from xbackprop.verification.run import run_methods

#: The forward pass is what the reference is for, and no fault here is in it.
ALONE = tuple(name for name in METHODS if name != "reference")
COMBINED = "**`run_methods`, its default**"
PAPER_TENSORS, PAPER_VECTOR = "the paper verbatim, per tensor", "the paper verbatim, one global vector"
GRADCHECK_SLOW, GRADCHECK_FAST = "torch `gradcheck`, slow", "torch `gradcheck`, fast"
CHECK_GRADS = "jax `check_grads`, reverse mode"
RULES = (COMBINED, *(f"{name} alone" for name in ALONE), PAPER_TENSORS, PAPER_VECTOR, GRADCHECK_SLOW, GRADCHECK_FAST,
         CHECK_GRADS)  # fmt: skip


def rejections(faulty: Objective, case: Case) -> tuple[Run, dict[str, bool | None]]:
    """What `run_methods` finds by default; and for every rule whether it rejects the gradient of `faulty`.

    `run_methods` rejects where its verdict is FAIL, a method of it where one of its findings is; the paper where eq. 18
    is not below 1e-7, for some tensor or for θ as a whole; gradcheck and check_grads where they raise.
    """
    run = run_methods(faulty, case.theta, case.batch)
    alone = run_methods(faulty, case.theta, case.batch, methods=ALONE)
    found: dict[str, bool | None] = {COMBINED: run.verdict is Verdict.FAIL}
    for name in ALONE:
        verdicts = [f.verdict for f in alone.findings if f.method == name]
        found[f"{name} alone"] = Verdict.FAIL in verdicts if verdicts else None
    cost, gradient = host_functions(faulty, case)
    found[PAPER_TENSORS], found[PAPER_VECTOR] = paper(case, cost, gradient)
    found[GRADCHECK_SLOW] = gradcheck(case, cost, gradient, fast=False)
    found[GRADCHECK_FAST] = gradcheck(case, cost, gradient, fast=True)
    found[CHECK_GRADS] = check_grads(case, cost, gradient)
    return run, found


def host_functions(faulty: Objective, case: Case) -> tuple[Callable, Callable]:
    """θ ↦ C by the generic functions, and θ ↦ ∂C/∂θ as training takes it, in one workspace from call to call."""
    plain = replace(faulty, backend=faulty.backend.generic())
    workspace = faulty.workspace(case.theta, case.batch.X.shape[0])

    def cost(theta):
        with np.errstate(all="ignore"):
            return float(plain.value(theta, case.batch))

    def gradient(theta):
        with np.errstate(all="ignore"):
            return np.array(faulty.value_and_gradient(theta, case.batch, workspace)[1])

    return cost, gradient


def paper(case: Case, cost: Callable, gradient: Callable) -> tuple[bool, bool]:
    """Eq. 17 and 18 as they stand: whether some tensor, and whether θ as one vector, misses 1e-7."""
    step = 1e-5 * np.eye(len(case.theta))
    numeric = np.array([(cost(case.theta + e) - cost(case.theta - e)) / 2e-5 for e in step])
    analytic, norm = gradient(case.theta), np.linalg.norm

    def missed(where: slice) -> bool:
        a, b = analytic[where], numeric[where]
        if not np.all(np.isfinite(a)):
            return True
        return not norm(b - a) / (norm(b) + norm(a) + 1e-12) < 1e-7

    return any(missed(where) for where, _ in case.objective.layout.tensors().values()), missed(slice(None))


def gradcheck(case: Case, cost: Callable, gradient: Callable, fast: bool) -> bool | None:
    """Whether torch.autograd.gradcheck rejects, with its defaults."""
    try:
        import torch
    except ImportError:
        return None
    theta = torch.tensor(case.theta, requires_grad=True)
    function = torch_function_of(cost, gradient)
    return not torch.autograd.gradcheck(function, (theta,), fast_mode=fast, raise_exception=False)


def check_grads(case: Case, cost: Callable, gradient: Callable) -> bool | None:
    """Whether jax.test_util.check_grads rejects, with its defaults, in float64."""
    jax = _jax()
    if jax is None:
        return None
    with jax.enable_x64(True):
        try:
            function = jax_function_of(cost, gradient)
            jax.test_util.check_grads(function, (jax.numpy.asarray(case.theta),), order=1, modes=("rev",))
        except AssertionError:
            return True
    return False


@functools.cache
def _jax():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import jax
            import jax.test_util
    except ImportError:
        return None
    return jax
