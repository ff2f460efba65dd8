"""Time training until 97% of held-out digits are right, with the same net, rate and batches for all contenders."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
from harness import THREADS, take_turns

HIDDEN, BATCH, RATE, GOAL, MOST = (128,), 32, 2e-3, 0.97, 60


def split(seed: int) -> tuple[np.ndarray, ...]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    return tuple(train_test_split((X / 16).astype(np.float32), y, test_size=0.25, random_state=seed, stratify=y))


def ours(backend: str, seed: int) -> tuple[Callable[[], None], Callable[[], float]]:
    import xbackprop

    X, X_test, y, y_test = split(seed)
    net = xbackprop.MLP(
        HIDDEN, batch_size=BATCH, learning_rate_init=RATE, backend=backend, random_state=seed, init="sklearn"
    )
    return lambda: net.partial_fit(X, y), lambda: net.score(X_test, y_test)


def sklearns(seed: int) -> tuple[Callable[[], None], Callable[[], float]]:
    from sklearn.neural_network import MLPClassifier

    X, X_test, y, y_test = split(seed)
    net = MLPClassifier(HIDDEN, batch_size=BATCH, learning_rate_init=RATE, random_state=seed)
    return lambda: net.partial_fit(X, y, classes=np.arange(10)), lambda: net.score(X_test, y_test)


def torchs(seed: int) -> tuple[Callable[[], None], Callable[[], float]]:
    import torch

    torch.manual_seed(seed)
    X, X_test, y, y_test = map(torch.from_numpy, split(seed))
    model = torch.nn.Sequential(torch.nn.Linear(64, *HIDDEN), torch.nn.ReLU(), torch.nn.Linear(*HIDDEN, 10))
    adam = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)

    def epoch() -> None:
        for rows in torch.randperm(len(X)).split(BATCH):
            adam.zero_grad()
            torch.nn.functional.cross_entropy(model(X[rows]), y[rows]).backward()
            adam.step()

    return epoch, lambda: (model(X_test).argmax(1) == y_test).float().mean().item()


def contender(make: Callable, seeds: int) -> Callable[[], int]:
    """Return a contender that trains a net of the next seed in each turn; its figure is the training time alone."""
    warnings.simplefilter("ignore")
    turn = 0

    def work() -> float:
        nonlocal turn
        epoch, score = make(seed=turn // 2 % seeds)  # two calls a turn; the first warms up
        turn += 1
        seconds = 0.0
        for _ in range(MOST):
            began = time.perf_counter()
            epoch()
            seconds += time.perf_counter() - began
            if score() >= GOAL:
                break
        return seconds

    return work


def measure(seeds: int) -> str:
    makers = {"NumPy": partial(ours, "numpy"), "Numba": partial(ours, "numba"), "torch": partial(ours, "torch"),
              "JAX": partial(ours, "jax"), "scikit-learn": sklearns, "torch autograd": torchs}  # fmt: skip
    seconds = take_turns({name: partial(contender, make, seeds) for name, make in makers.items()}, seeds, own=True)
    lines = [
        f"64-128-10, batches of {BATCH}, Adam at {RATE}, float32, {THREADS} threads; the median of {seeds} splits:",
        "",
        "| | seconds to 97% of held-out digits |",
        "|---|---|",
    ]
    for name, values in seconds.items():
        lines.append(f"| {name} | {median(values):.2f} ({min(values):.2f}–{max(values):.2f}) |")
    return "\n".join(lines)
