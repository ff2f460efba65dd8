"""Divide rows into those to train on and those to validate on, honestly: by class, by group, by time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Split(NamedTuple):
    """Numbers of the rows to train on, and of those to validate on."""

    train: np.ndarray
    validation: np.ndarray


def make_splits(
    where: str, y: np.ndarray, task: str, folds: int, fraction: float, rng: np.random.RandomState, groups: Any = None,
    time: np.ndarray | None = None,
) -> list[Split]:  # fmt: skip
    """Return the folds, or with ``folds=1`` one split that validates on a fraction of the rows.

    groups : labels (n,); the rows of a label stay together. time : numbers (n,); the last rows validate, so that there
    is one split. Without either, the classes of a classification have equal parts in all of them.
    """
    from sklearn import model_selection as ms

    n = len(y)
    if time is not None:
        order = np.argsort(time, kind="stable")
        count = _count(where, n, fraction)
        return [Split(order[:-count], order[-count:])]
    seed = int(rng.randint(2**31 - 1))
    classes = y if task == "classification" and y.ndim == 1 else None
    if groups is not None:
        labels = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
        kinds = len(np.unique(labels))
        if len(labels) != n or kinds < 2:
            raise ValueError(f"{where}: groups must have a label for each of {n} rows, at least two different ones")
        if folds == 1:
            splitter: Any = ms.GroupShuffleSplit(1, test_size=fraction, random_state=seed)
        elif classes is not None:
            splitter = ms.StratifiedGroupKFold(min(folds, kinds), shuffle=True, random_state=seed)
        else:
            splitter = ms.GroupKFold(min(folds, kinds), shuffle=True, random_state=seed)
        return [Split(*rows) for rows in splitter.split(np.zeros(n), classes, labels)]
    if folds == 1:
        order = rng.permutation(n)
        held_out = np.zeros(n, dtype=bool)
        for rows in _strata(order, classes):
            held_out[rows[: round(fraction * len(rows))]] = True
        if not 0 < held_out.sum() < n:
            held_out[:] = False
            held_out[order[: _count(where, n, fraction)]] = True
        return [Split(order[~held_out[order]], order[held_out[order]])]
    # each class in turn is dealt to the folds, so that a rare one is in as many of them as it has rows
    fold, dealt = np.empty(n, dtype=int), 0
    for rows in _strata(rng.permutation(n), classes):
        fold[rows] = (dealt + np.arange(len(rows))) % folds
        dealt += len(rows)
    return [Split(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]


def _strata(order: np.ndarray, classes: np.ndarray | None) -> list[np.ndarray]:
    """Divide rows in this order by their classes."""
    if classes is None:
        return [order]
    return [order[classes[order] == label] for label in np.unique(classes)]


def _count(where: str, n: int, fraction: float) -> int:
    if n < 2:
        raise ValueError(f"{where}: at least 2 rows are needed, to validate on some of them, got n_samples = {n}")
    return min(max(1, round(fraction * n)), n - 1)
