"""The dot-product test: ⟨Jv, w⟩ = ⟨v, Jᵀw⟩ for the logits' Jacobian J, forward mode on the left, backpropagation on the
right. It holds to rounding at any point, kinks among them.

It cannot see what both sides share, f′ among it. Claerbout, "Earth Soundings Analysis", 1992.
"""

from __future__ import annotations

from dataclasses import replace

import array_api_compat.numpy as host_namespace
import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.nn.derivatives import jvp, vjp
from xbackprop.nn.objective import Batch, Objective
from xbackprop.verification.findings import Finding, Verdict
from xbackprop.verification.problem import Problem
from xbackprop.verification.rounding import tangent_scale

DRAWS = 20
TOLERANCE = 32.0  # in units of u times ⟨Jv, w⟩ with all its terms made positive


def check(objective: Objective, theta: Array, batch: Batch, problem: Problem, seed: int = 0) -> list[Finding]:
    """One finding per tensor: v moves that tensor alone, and w is a random cotangent; the worst of 20 draws.

    problem : the same network on the host, for the scale. ‖Jv‖‖w‖ would be too small where Jv itself cancels.
    """
    backend, layout, X, masks = objective.backend, objective.layout, batch.X, batch.masks
    tensors = layout.tensors()
    rng = np.random.RandomState(seed)
    dtype = str(backend.to_host(theta).dtype)
    u = float(np.finfo(dtype).eps)
    host = replace(objective, backend=Backend(host_namespace))
    cache = host.forward(layout.flatten(np, problem.layers), problem.X, problem.masks)
    worst, moved = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, False)
    for _ in range(DRAWS):
        w = rng.standard_normal((X.shape[0], layout.sizes[-1])).astype(dtype)
        backward = backend.to_host(vjp(objective, theta, backend.asarray(w), X, masks)).astype(np.float64)
        for name, (where, _) in tensors.items():
            v = np.zeros(theta.shape[0], dtype)
            v[where] = rng.standard_normal(where.stop - where.start)
            forward = backend.to_host(jvp(objective, theta, backend.asarray(v), X, masks=masks)).astype(np.float64)
            gap = abs(np.sum(forward * w) - v[where].astype(np.float64) @ backward[where])
            scale = float(np.sum(tangent_scale(problem, cache, layout.layers(np, v.astype(np.float64))) * np.abs(w)))
            figure = gap / (u * scale) if scale > 0 else (0.0 if gap == 0 else np.inf)
            worst[name] = float(np.maximum(worst[name], figure))  # which keeps NaN
            moved[name] = moved[name] or not (scale == 0 and gap == 0)
    return [_finding(name, worst[name], moved[name]) for name in tensors]


def _finding(name: str, figure: float, moved: bool) -> Finding:
    if not moved:
        reason = "the logits do not depend on it"
        return Finding("dot product", name, Verdict.VACUOUS, 0.0, TOLERANCE, DRAWS, reason=reason)
    if figure <= TOLERANCE:
        return Finding("dot product", name, Verdict.PASS, figure, TOLERANCE, DRAWS)
    reason = "backpropagation is not the transpose of forward mode"
    return Finding("dot product", name, Verdict.FAIL, figure, TOLERANCE, DRAWS, reason=reason)
