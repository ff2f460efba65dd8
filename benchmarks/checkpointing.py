"""Measure activation checkpointing on a net of 64 layers: memory and time of a gradient, beside the prediction."""

from __future__ import annotations

import time
import tracemalloc
from statistics import median

import numpy as np
from harness import write

from xbackprop.arrays.discovery import get_backend
from xbackprop.complexity.counting import count_step
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.nn.losses import LOSSES
from xbackprop.nn.objective import Objective, make_batch
from xbackprop.nn.parameters import Layout
from xbackprop.optim.optimizers import SGD

SIZES, M, ROUNDS = (*[128] * 64, 10), 512, 15


def measure() -> str:
    rng = np.random.RandomState(0)
    layout, backend = Layout(SIZES), get_backend("numpy")
    theta = (rng.standard_normal(layout.n_parameters) * np.sqrt(2 / 128)).astype(np.float32)
    X, y = rng.standard_normal((M, 128)).astype(np.float32), np.eye(10, dtype=np.float32)[rng.randint(0, 10, M)]
    batch = make_batch(backend, X, y)
    hidden = (ACTIVATIONS["relu"],) * 63
    objectives = {
        k: Objective(backend, layout, hidden, LOSSES["cross_entropy"], 0.0, checkpoint_every=k) for k in (0, 4, 8, 16)
    }
    workspaces = {k: objective.workspace(theta, M) for k, objective in objectives.items()}
    seconds: dict[int, list[float]] = {k: [] for k in objectives}
    gradients = {}
    for _ in range(ROUNDS):
        for k, objective in objectives.items():
            began = time.perf_counter()
            _, g = objective.value_and_gradient(theta, batch, workspaces[k])
            seconds[k].append(time.perf_counter() - began)
            gradients[k] = np.array(g)
    lines = ["| kept | MB predicted | MB measured | times the time |", "|---|---|---|---|"]
    for k, objective in objectives.items():
        assert np.array_equal(gradients[k], gradients[0])
        workspaces[k] = None
        tracemalloc.start()
        workspace = objective.workspace(theta, M)
        objective.value_and_gradient(theta, batch, workspace)
        measured = tracemalloc.get_traced_memory()[1] - theta.nbytes  # without the gradient
        tracemalloc.stop()
        memory = count_step(objective, SGD(0.0), M, "float32").memory
        predicted = memory.activations + memory.temporaries - X.nbytes - y.nbytes
        ratios = [a / b for a, b in zip(seconds[k], seconds[0], strict=True)]
        kept = f"one of {k}" + (" (`sqrt`)" if k == 8 else "") if k else "all"
        lines.append(
            f"| {kept} | {predicted / 1e6:.1f} | {measured / 1e6:.1f} | "
            f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    text = measure()
    print(text)
    write(text, "checkpointing")
