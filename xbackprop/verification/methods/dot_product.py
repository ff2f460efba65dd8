"""The dot-product test: ⟨Jv, w⟩ = ⟨v, Jᵀw⟩ for the logits' Jacobian J, forward mode on the left, backpropagation on the
right. Both sides agree to rounding at any point, also at kinks.

It cannot detect an error that both sides share, as one in f′. Claerbout, "Earth Soundings Analysis", 1992.
"""

from __future__ import annotations

from dataclasses import replace

import array_api_compat.numpy as host_namespace
import numpy as np

from xbackprop.arrays.backend import Backend
from xbackprop.nn.derivatives import jvp, vjp
from xbackprop.verification.claim import NONE, Judgement, judge_tensors
from xbackprop.verification.findings import Method, MethodResult, Role, Verdict
from xbackprop.verification.network import NetworkGradient
from xbackprop.verification.rounding import tangent_scale

DRAWS = 20
TOLERANCE = 32.0  # in units of u times ⟨Jv, w⟩ with all its terms made positive


def check(network: NetworkGradient) -> MethodResult:
    """Compare both sides for every tensor: v moves that tensor alone, w is a random cotangent; the worst of 20 draws.

    The gap is relative to ⟨Jv, w⟩ with every term made positive, by the same network on the host; ‖Jv‖‖w‖ would be too
    small where Jv itself cancels.
    """
    objective, theta, problem = network.objective, network.theta, network.problem
    backend, layout, X, masks = objective.backend, objective.layout, network.batch.X, network.batch.masks
    tensors = layout.tensors()
    rng = np.random.RandomState(network.claim.seed)
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
            worst[name] = float(np.maximum(worst[name], figure))  # np.maximum keeps NaN
            moved[name] = moved[name] or not (scale == 0 and gap == 0)

    def judge(name: str, _: np.ndarray) -> Judgement:
        if not moved[name]:
            return Judgement(Verdict.VACUOUS, 0.0, "the logits do not depend on it", checked=DRAWS)
        if worst[name] <= TOLERANCE:
            return Judgement(Verdict.PASS, worst[name], checked=DRAWS)
        reason = "backpropagation is not the transpose of forward mode"
        return Judgement(Verdict.FAIL, worst[name], reason, checked=DRAWS)

    return MethodResult(judge_tensors(METHOD, tensors, judge, NONE))


METHOD = Method(
    "dot product",
    title="dot product",
    role=Role.SUPPORTING,
    bound=TOLERANCE,
    explained="⟨Jv, w⟩ = ⟨v, Jᵀw⟩, forward mode on the left, backpropagation on the right. The error is in units of u "
    "times ⟨Jv, w⟩ with every term made positive.",
    check=check,
    of_network=True,
    counted="draws",
)
