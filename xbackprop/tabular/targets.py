"""Read the targets that an encoder learns from."""

from __future__ import annotations

from typing import Any

import numpy as np

TASKS = ("auto", "classification", "regression")


def read_targets(where: str, y: Any, n: int, task: str) -> tuple[np.ndarray | None, str]:
    """Return y as numbers, classes by their places among the sorted ones, and the task; NaN where one is missing."""
    if y is None:
        return None, task
    values = np.asarray(y)
    if values.shape[:1] != (n,) or values.ndim > 2:
        raise ValueError(f"{where}: y must have {n} rows, as X, got shape {values.shape}")
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    numeric = values.dtype.kind in "fiu"
    if task == "auto":
        known = values[np.isfinite(values)] if numeric else values
        quantity = numeric and ((known % 1 != 0).any() or len(np.unique(known)) > 20)
        task = "regression" if quantity or values.ndim == 2 else "classification"
    if task == "regression":
        return values.astype(np.float64), task
    if values.ndim == 2:
        return values.astype(np.float64), "regression"  # labels in columns: the trees of their means
    return np.unique(values.astype(str) if values.dtype.kind == "O" else values, return_inverse=True)[1].astype(
        float
    ), task
