"""Early stopping: the rows to hold out, and their score and loss after every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.data.dataset import Data
from xbackprop.mlp.model import Model
from xbackprop.training.plan import Progress

Split = Callable[["np.random.RandomState"], tuple[np.ndarray, np.ndarray]]  # rows to train on, rows to hold out
#: The score of a model on the held-out samples, which are those rows of the user's table: the larger the better.
Score = Callable[[Model, Data, np.ndarray], float]


def split_rows(
    where: str, fraction: float, progress: Progress, n: int, split: Split | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The rows to train on and those to hold out: the same ones for as long as a run goes on.

    split : a way to draw them other than our own.
    """
    training, validation = progress.training_rows, progress.validation_rows
    if training is not None and validation is not None and len(training) + len(validation) == n:
        return training, validation
    if split is not None:
        return split(progress.rng)
    order = progress.rng.permutation(n)
    count = math.ceil(fraction * n)
    if not 0 < count < n:
        raise ValueError(f"{where}: validation_fraction={fraction} of {n} rows leaves none to train on")
    return order[count:], order[:count]


def make_evaluator(
    model: Model, held_out: Data, rows: np.ndarray, by_loss: bool, score: Score | None
) -> Callable[[Array], tuple[float, float]]:
    """``evaluate(θ) -> score, loss`` of the held-out samples.

    by_loss : whether the score is -loss. score : another score than accuracy or R²; it is given a model of its own,
    which it may keep or change.
    """
    objective, targets, batch = model.objective, held_out.targets, held_out.batch()
    backend = objective.backend

    def evaluate(theta: Array) -> tuple[float, float]:
        cost, z = objective.value_and_logits(theta, batch)
        loss = float(backend.to_host(cost))
        if by_loss:
            return -loss, loss
        if score is None:
            found = float(backend.to_host(targets.score(backend.xp, z, batch.y, objective.loss, held_out.weight)))
        else:
            progress = replace(model.progress.copy(backend), rng=deepcopy(model.progress.rng))
            own = model._replace(theta=backend.copy(theta), progress=progress)
            found = float(score(own, held_out, rows))
        return (found if math.isfinite(found) else math.nan), loss

    return evaluate
