"""Ensembles: networks that differ in their seeds, and what their predictions have in common.

Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty estimation using deep ensembles",
2017: p̄ = 1/M Σ_m p_m, the mean of the probabilities, or of the values of a regression.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, Namespace


def member_settings(given: dict[str, Any], n: int) -> list[dict[str, Any]]:
    """Return the settings of each of n networks: those given, with a seed and a checkpoint of its own.

    The first has the `random_state` and the checkpoint that are given, and so is the network that would be trained
    alone; the seeds of the others are drawn from a copy of that stream.
    """
    first = given["random_state"]
    stream = copy.deepcopy(first) if isinstance(first, np.random.RandomState) else np.random.RandomState(first)
    seeds = [first, *stream.randint(2**31 - 1, size=n - 1).tolist()]
    folder = given["checkpoint"]
    places = [folder, *(None if folder is None else Path(folder) / f"network-{j}" for j in range(1, n))]
    return [
        {**given, "n_networks": 1, "random_state": seed, "checkpoint": place}
        for seed, place in zip(seeds, places, strict=True)
    ]


def mean(xp: Namespace, outputs: list[Array]) -> Array:
    """Return the mean over networks of their outputs (n, K)."""
    return sum(outputs[1:], outputs[0]) / len(outputs)


def deviation(xp: Namespace, outputs: list[Array]) -> Array:
    """Return σ = √(1/M Σ_m (μ_m - μ̄)²), the standard deviation over networks of their values μ_m (n, K)."""
    middle = mean(xp, outputs)
    return xp.sqrt(mean(xp, [(x - middle) * (x - middle) for x in outputs]))


def log_mean(xp: Namespace, logs: list[Array]) -> Array:
    """Return log(1/M Σ_m exp l_m) of log-probabilities (n, K), which stay finite where all are very small."""
    largest = logs[0]
    for x in logs[1:]:
        largest = xp.maximum(largest, x)
    return largest + xp.log(mean(xp, [xp.exp(x - largest) for x in logs]))


def disagreement(xp: Namespace, probabilities: list[Array]) -> Array:
    """Return 1/M Σ_m KL(p_m ‖ p̄) = H(p̄) - 1/M Σ_m H(p_m) (n,), in nats: 0 where all networks agree, at most log M."""
    result = _entropy(xp, mean(xp, probabilities)) - mean(xp, [_entropy(xp, p) for p in probabilities])
    return xp.maximum(result, xp.zeros_like(result))


def _entropy(xp: Namespace, p: Array) -> Array:
    """Return H(p) = -Σ_j p_j log p_j (n,)."""
    return -xp.sum(p * xp.log(xp.where(p > 0, p, xp.ones_like(p))), axis=-1)
