"""Early stopping: choose the rows to hold out, and compute their score and loss after every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.data.dataset import Data
from xbackprop.distributed.communicator import ALONE, Communicator
from xbackprop.distributed.evaluation import held_out_rows
from xbackprop.distributed.shards import Held
from xbackprop.mlp.model import Model, rows_at_a_time
from xbackprop.training.plan import Progress

Split = Callable[["np.random.RandomState"], tuple[np.ndarray, np.ndarray]]  # rows to train on, rows to hold out
Evaluate = Callable[[Array], tuple[float, float]]  # θ -> score and loss of the held-out samples
#: ``score(rows)``, for the held-out rows of the user's table, gives a function ``(model, held_out) -> score`` of these
#: samples, the larger the better.
Score = Callable[[np.ndarray], Callable[[Model, Data], float]]


def split_rows(
    where: str, fraction: float, progress: Progress, data: Data, held: Held, split: Split | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows to train on and of those to hold out; both stay the same for a whole run.

    Of a classification they have each class in the same proportion, to within one row.

    held : how the ranks hold the rows. split : a function that draws them in place of a random permutation.
    """
    n = held.n
    training, validation = progress.training_rows, progress.validation_rows
    if training is not None and validation is not None and len(training) + len(validation) == n:
        return training, validation
    if split is not None:
        return split(progress.rng)
    order = progress.rng.permutation(n)
    count = math.ceil(fraction * n)
    if not 0 < count < n:
        raise ValueError(f"{where}: validation_fraction={fraction} of {n} rows holds out {min(count, n)} of them")
    if data.targets.kind not in ("classes", "binary"):
        return order[count:], order[:count]
    with data.backend.device_context():
        classes = held.class_numbers(data)
    by_class = order[np.argsort(classes[order], kind="stable")]
    held_out = by_class[((np.arange(count) + 0.5) * (n / count)).astype(np.int64)]
    return order[~np.isin(order, held_out)], held_out


def make_evaluator(
    model: Model,
    held_out: Data,
    by_loss: bool,
    score: Callable[[Model, Data], float] | None,
    ranks: Communicator = ALONE,
    numbers: np.ndarray | None = None,
) -> Evaluate:
    """Return a function ``evaluate(θ) -> score, loss`` of the held-out samples.

    by_loss : whether the score is -loss. score : a function to use in place of accuracy or R²; it is given a copy of
    the model, which it may keep or change.
    ranks, numbers : see `held_out_rows`.
    """
    objective, targets, backend = model.objective, held_out.targets, model.backend
    y, weight, value_and_logits = held_out_rows(ranks, objective, held_out, rows_at_a_time(model), numbers)

    def evaluate(theta: Array) -> tuple[float, float]:
        loss, z = value_and_logits(theta)
        if by_loss:
            return -loss, loss
        if not math.isfinite(loss):  # scikit-learn's scorers raise for predictions that are not finite
            return math.nan, loss
        if score is None:
            found = targets.score(backend, z, y, objective.loss, weight)
        else:
            progress = replace(model.progress.copy(backend.copy), rng=deepcopy(model.progress.rng))
            own = model._replace(theta=backend.copy(theta), progress=progress)
            found = float(score(own, held_out))
        return (found if math.isfinite(found) else math.nan), loss

    return evaluate
