"""Prepare a network's gradient at one point for the methods: as a claim about a function of θ in float64, and as arrays
on the host for the oracles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.arrays.special import is_complex
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.nn.objective import Batch, Objective
from xbackprop.verification.claim import STACK_BYTES, CostAndBranches, GradientClaim
from xbackprop.verification.element_costs import ElementCosts
from xbackprop.verification.problem import Problem, problem_on_host
from xbackprop.verification.rounding import UNITS, rounding_bound

WORK = 2e11  # operations above which element-by-element methods check only a sample
STACKS = 1e8  # operations up to which C is evaluated on stacks of θ; above, one element at a time is quicker
PROBE, AGREEMENT = 2.0**-4, 1e-9  # the step at which both are compared, and the largest difference
FEWEST = 16  # elements of a tensor that are checked in any case


@dataclass(frozen=True)
class NetworkGradient:
    """A network at a point θ, and the gradient that training computes there.

    objective, theta, batch : in the dtype that trains. problem : the same on the host, in float64.
    gradient : that of training, (P,), on the host; `rounding` is the error that rounding in its dtype may make.
    claim : C and the gradient in float64. repeatable : whether computing the gradient twice gave the same result.
    """

    objective: Objective
    theta: Array
    batch: Batch
    problem: Problem
    gradient: np.ndarray
    rounding: np.ndarray
    claim: GradientClaim
    repeatable: bool


def network_gradient(objective: Objective, theta: Array, batch: Batch, seed: int, memory: int) -> NetworkGradient:
    """Compute the gradient as training does, and everything else that the methods need."""
    xp = objective.backend.xp
    gradient = trained_gradient(objective, theta, batch)
    fresh = objective.workspace(theta, batch.X.shape[0])
    once = _on_host(objective, objective.value_and_gradient(theta, batch, fresh))
    wide_theta, wide_batch, wide = theta, batch, gradient
    if gradient.dtype != np.float64:
        wide_theta, wide_batch = xp.astype(theta, xp.float64), _cast(objective, batch, xp.float64)
        wide = trained_gradient(objective, wide_theta, wide_batch)
    problem = problem_on_host(objective, theta, batch)
    bounds = {dtype: _flat(rounding_bound(problem, dtype)) for dtype in {gradient.dtype, np.dtype(np.float64)}}
    claim = replace(
        network_claim(objective, wide_theta, wide_batch, wide, memory),
        sample=_affordable_elements(objective, batch, wide, seed),
        allowance=UNITS * bounds[np.dtype(np.float64)],
        at_kink=_units_at_kinks(objective, theta, batch),
        seed=seed,
    )
    return NetworkGradient(
        objective=objective,
        theta=theta,
        batch=batch,
        problem=problem,
        gradient=gradient,
        rounding=bounds[gradient.dtype],
        claim=claim,
        repeatable=bool(np.array_equal(gradient, once, equal_nan=True)),
    )


def network_claim(
    objective: Objective, theta: Array, batch: Batch, gradient: np.ndarray | None = None, memory: int = STACK_BYTES
) -> GradientClaim:
    """Return the claim at θ (P,) in float64: C by the generic functions, and the gradient of training."""
    layout = objective.layout
    claim = GradientClaim(
        objective.backend.generic(),
        _cost_and_branches(objective, batch),
        theta,
        trained_gradient(objective, theta, batch) if gradient is None else gradient,
        layout.tensors(),
        floats_per_point=3 * batch.X.shape[0] * sum(layout.sizes[1:]),
        memory=memory,
    )
    own = all(ACTIVATIONS.get(f.name) is f for f in objective.hidden)  # these work element by element
    if not own or layout.n_parameters * batch.X.shape[0] * layout.n_weights < STACKS:
        return claim
    plain = replace(objective, backend=objective.backend.generic())
    quick = ElementCosts(plain, theta, batch, _cast(objective, batch, objective.backend.xp.complex128))
    return replace(claim, element_costs=quick) if _agree(claim, quick) else claim


def _agree(claim: GradientClaim, quick: ElementCosts) -> bool:
    """Return whether `quick` gives the same costs as C on stacks of θ, for one element of every tensor."""
    rng = np.random.RandomState(0)
    some = np.array([rng.randint(where.start, where.stop) for where, _ in claim.tensors.values()])
    slow = np.concatenate([claim.evaluate(chosen, PROBE)[0] for chosen in claim.stacks(some)])
    return bool(np.allclose(quick(some, PROBE)[0], slow, rtol=AGREEMENT, atol=AGREEMENT, equal_nan=True))


def trained_gradient(objective: Objective, theta: Array, batch: Batch) -> np.ndarray:
    """Return ∂C/∂θ (P,) on the host, computed as in a training step: by the backend's functions, into reused buffers.

    A step at another θ goes before it, so that an error shows if values of one step remain in the buffers of the next.
    """
    workspace = objective.workspace(theta, batch.X.shape[0])
    objective.value_and_gradient(0.5 * theta, batch, workspace)
    return _on_host(objective, objective.value_and_gradient(theta, batch, workspace))


def _on_host(objective: Objective, result: tuple[Array, Array]) -> np.ndarray:
    """Return a copy of the gradient on the host, since the gradient lies in a buffer."""
    _, gradient = result
    return np.array(objective.backend.to_host(gradient))


def _cost_and_branches(objective: Objective, batch: Batch) -> CostAndBranches:
    """Return the function that computes C and branches of stacked θ, real or complex, by the generic functions."""
    plain = replace(objective, backend=objective.backend.generic())
    xp = plain.backend.xp
    complex_batch = _cast(objective, batch, xp.complex128)

    def cost_and_branches(stack: Array) -> tuple[Array, list[Array]]:
        return plain.value_and_branches(stack, complex_batch if is_complex(xp, stack) else batch)

    return cost_and_branches


def _cast(objective: Objective, batch: Batch, dtype: Any) -> Batch:
    """Return the batch with X, y and masks in another dtype; sample weights stay real."""
    xp = objective.backend.xp
    masks = [xp.astype(mask, dtype) for mask in batch.masks]
    return batch._replace(X=xp.astype(batch.X, dtype), y=xp.astype(batch.y, dtype), masks=masks)


def _affordable_elements(objective: Objective, batch: Batch, gradient: np.ndarray, seed: int) -> np.ndarray:
    """Return all elements of θ if that is not too much work; otherwise a sample of every tensor, and its largest."""
    ranges = [where for where, _ in objective.layout.tensors().values()]
    work = 8 * batch.X.shape[0] * objective.layout.n_weights
    each = max(FEWEST, int(WORK / max(work, 1)) // len(ranges))
    rng = np.random.RandomState(seed)
    chosen = []
    for where in ranges:
        inside = np.arange(where.start, where.stop)
        if len(inside) > each and len(gradient) * work > WORK:
            largest = where.start + int(np.argmax(np.abs(gradient[where])))
            inside = np.union1d(rng.choice(inside, each, replace=False), [largest])
        chosen.append(inside)
    return np.concatenate(chosen)


def _units_at_kinks(objective: Objective, theta: Array, batch: Batch) -> dict[str, int]:
    """Count, for every W_l and b_l, the z_l that are exactly at a kink, for which f′ is the slope from the left."""
    backend = objective.backend
    counts = dict.fromkeys(objective.layout.tensors(), 0)
    for l, (z, f) in enumerate(zip(objective.forward(theta, batch.X).z, objective.hidden, strict=False)):
        count = sum(int(backend.to_host(backend.xp.count_nonzero(z == kink))) for kink in f.kinks)
        counts[f"coefs_[{l}]"] = counts[f"intercepts_[{l}]"] = count
    return counts


def _flat(layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.concatenate([W.ravel() for W, _ in layers] + [b.ravel() for _, b in layers])
