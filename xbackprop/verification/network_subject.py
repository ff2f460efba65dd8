"""A network's C(θ) and gradient as a `Subject`: C by the generic functions, the gradient by the path that trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.arrays.special import is_complex
from xbackprop.nn.objective import Batch, Objective, Parameters
from xbackprop.verification.claim import STACK_BYTES, Observed, Subject


def make_subject(
    objective: Objective, theta: Array, batch: Batch, gradient: np.ndarray | None = None, memory: int = STACK_BYTES
) -> Subject:
    """C of the generic functions around θ (P,) in float64, and the gradient that training has there."""
    return Subject(
        objective.backend.generic(),
        _observer(objective, batch),
        theta,
        trained_gradient(objective, theta, batch) if gradient is None else gradient,
        objective.layout.tensors(),
        floats_per_point=3 * batch.X.shape[0] * sum(objective.layout.sizes[1:]),
        memory=memory,
    )


def trained_gradient(objective: Objective, theta: Array, batch: Batch) -> np.ndarray:
    """∂C/∂θ (P,) on the host, by the path of a training step: the backend's own functions, into reused buffers.

    It is the second of two steps, the first being at another θ: what a step leaves behind must not reach the next.
    """
    workspace = objective.workspace(theta, batch.X.shape[0])
    objective.value_and_gradient([0.5 * theta], batch, workspace)
    return on_host(objective, objective.value_and_gradient([theta], batch, workspace))


def on_host(objective: Objective, result: tuple[Array, Parameters]) -> np.ndarray:
    """A copy of the gradient, which lies in a buffer."""
    _, (gradient,) = result
    return np.array(objective.backend.to_host(gradient))


def _observer(objective: Objective, batch: Batch) -> Observed:
    """C and branches of stacked θ, real or complex, by the generic functions."""
    plain = replace(objective, backend=objective.backend.generic())
    xp = plain.backend.xp
    complex_batch = cast_batch(objective, batch, xp.complex128)

    def observe(stack: Array) -> tuple[Array, list[Array]]:
        return plain.value_and_branches([stack], complex_batch if is_complex(xp, stack) else batch)

    return observe


def cast_batch(objective: Objective, batch: Batch, dtype: Any) -> Batch:
    """X, y and masks in another dtype; weights stay as they are, and real."""
    xp = objective.backend.xp
    masks = [xp.astype(mask, dtype) for mask in batch.masks]
    return batch._replace(X=xp.astype(batch.X, dtype), y=xp.astype(batch.y, dtype), masks=masks)
