"""Compute the logits of held-out rows on many ranks, each on its part of them, and join them on every rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend, dtype_name
from xbackprop.data.dataset import Data
from xbackprop.distributed.agreement import gather
from xbackprop.distributed.communicator import Communicator
from xbackprop.distributed.rows import AllRows
from xbackprop.nn.objective import Batch, Objective, row_totals


class HeldOut(NamedTuple):
    """Held-out rows, wherever they are: y and the weights of all of them, and a function ``θ -> C, z_L`` of them."""

    y: Array
    weight: Array | None
    value_and_logits: Callable[[Array], tuple[float, Array]]


def held_out_rows(
    ranks: Communicator, objective: Objective, data: Data, rows: int, numbers: np.ndarray | None = None
) -> HeldOut:
    """Divide held-out rows among the ranks.

    data : all of them, or, where each rank holds its own, those of this rank.
    rows : the most rows of a forward pass.
    numbers : where each rank holds its own, the numbers of this rank's rows among all that are held out.
    """
    backend = objective.backend
    if ranks.size == 1:
        batch = data.batch(rows)

        def alone(theta: Array) -> tuple[float, Array]:
            cost, z = objective.value_and_logits(theta, batch, rows)
            return float(backend.to_host(cost)), z

        return HeldOut(data.y, data.weight, alone)
    if numbers is None:
        own = AllRows(data.X.shape[0], ranks.rank, ranks.size).stretch()
        numbers = np.arange(own.start, own.stop)
        part = data.rows(numbers).batch(rows, whole=_whole(backend, data.y, data.weight))
        return HeldOut(data.y, data.weight, _joined(ranks, objective, part, numbers, rows))
    y, weight = (
        None if a is None else _of_all(ranks, backend, a, numbers) for a in (data.y, data.weight)
    )  # fmt: skip
    assert y is not None
    batch = data.batch(rows, whole=_whole(backend, y, weight))
    return HeldOut(y, weight, _joined(ranks, objective, batch, numbers, rows))


def _whole(backend: Backend, y: Array, weight: Array | None) -> Any:
    """Return what the parts of the rows on all ranks are parts of."""
    return y.shape[0] if weight is None else row_totals(backend.xp, weight, weight.ndim == y.ndim)


def _joined(
    ranks: Communicator, objective: Objective, own: Batch, numbers: np.ndarray, rows: int
) -> Callable[[Array], tuple[float, Array]]:
    """Return the function of the rows of all ranks; own : this rank's, each with its part of the mean over all."""
    backend, unpenalised = objective.backend, replace(objective, alpha=0.0)

    def value_and_logits(theta: Array) -> tuple[float, Array]:
        cost, z = 0.0, np.empty((0, objective.layout.sizes[-1]), dtype=dtype_name(theta))
        if len(numbers):
            found, logits = unpenalised.value_and_logits(theta, own, rows)
            cost, z = float(backend.to_host(found)), backend.to_host(logits)
        parts = gather(ranks, (cost, z, numbers))
        penalty = float(backend.to_host(objective.penalty(theta, own))) if objective.alpha else 0.0
        return sum(cost for cost, *_ in parts) + penalty, backend.asarray(_in_place(parts))

    return value_and_logits


def _of_all(ranks: Communicator, backend: Backend, a: Array, numbers: np.ndarray) -> Array:
    """Return the rows of all ranks; a : those of this rank, whose numbers among all are given."""
    return backend.asarray(_in_place(gather(ranks, (0.0, backend.to_host(a), numbers))))


def _in_place(parts: list[tuple[float, np.ndarray, np.ndarray]]) -> np.ndarray:
    joined = np.empty((sum(len(rows) for _, rows, _ in parts), *parts[0][1].shape[1:]), dtype=parts[0][1].dtype)
    for _, rows, numbers in parts:
        joined[numbers] = rows
    return joined
