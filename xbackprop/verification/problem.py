"""`Problem`: a network, its loss and its data as float64 arrays on the host, for oracles and error analysis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.nn.activations import Activation
from xbackprop.nn.losses import Loss
from xbackprop.nn.objective import Batch, Objective


class Problem(NamedTuple):
    """The data of C = Σ_x share_x loss(z_L, y)_x + α/(2n) Σ‖W_l‖² + λ/n Σ|W_l|.

    layers : (W_l (n_in, n_out), b_l (1, n_out)), l = 1 … L. activations : one per hidden layer.
    X, y, share, masks : as in `objective.Batch`.
    """

    layers: list[tuple[np.ndarray, np.ndarray]]
    activations: Sequence[Activation]
    loss: Loss
    X: np.ndarray
    y: np.ndarray
    share: np.ndarray | float
    alpha_over_n: float
    l1_over_n: float = 0.0
    masks: Sequence[np.ndarray] = ()


def problem_on_host(objective: Objective, theta: Array, batch: Batch) -> Problem:
    """Copy the network at θ and its batch from the device to a `Problem`."""

    def host(x: Array | float) -> np.ndarray:
        return np.array(x if isinstance(x, float) else objective.backend.to_host(x), dtype=np.float64)

    share = batch.share if isinstance(batch.share, float) else host(batch.share)
    layers = objective.layout.layers(np, host(theta))
    l2, l1 = (strength * float(host(batch.inverse)) for strength in (objective.l2, objective.l1))
    masks = [host(mask) for mask in batch.masks]
    return Problem(layers, objective.hidden, objective.loss, host(batch.X), host(batch.y), share, l2, l1, masks)
