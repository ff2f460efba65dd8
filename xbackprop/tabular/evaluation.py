"""Evaluate a model for tables on rows whose target is known: scores, where it is wrong, how sure it is, and why.

An `Evaluation` has sums over rows and no row itself, so that it can be kept in a file and shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.threads import one_thread
from xbackprop.tabular.columns import Table
from xbackprop.tabular.selection import METRICS, Metric

#: Resamples of the rows for the interval of a score.
RESAMPLES, INTERVAL = 400, (2.5, 97.5)
#: Bins of probabilities; bins of predictions and of values in a two-dimensional histogram.
BINS, CELLS = 10, 40
#: The most rows, and the repetitions, of permutation importance.
ROWS, REPEATS = 2000, 5


class Score(NamedTuple):
    """A score, and the ends of its interval of 95%, from resampled rows."""

    value: float
    low: float
    high: float


class Bin(NamedTuple):
    """Rows of similar probability: the mean of what was predicted, what came true, and their number."""

    predicted: float
    observed: float
    rows: int


class Histogram(NamedTuple):
    """Counts (m, m) of rows by predicted value (axis 0) and true one (axis 1), between the same edges (m + 1)."""

    edges: list[float]
    counts: list[list[int]]


class Evaluation(NamedTuple):
    """The result of `evaluate`.

    rows : the number of rows. scores : by the name of the metric.
    importance : of each column of the table, the mean and the standard deviation of the loss of the score as its cells
        are shuffled (Breiman, 2001), the largest first. metric : the metric of these.
    classes, confusion : of a classification: the labels as text, and how many rows of each (a line) were predicted to
        be of each (a column).
    reliability : the rows by the probability of the second of two classes; of more classes, by that of the class that
        was predicted, and whether it was right; of quantiles, q and the part of the rows below them.
    values : of a regression, a histogram for each target.
    """

    rows: int
    scores: dict[str, Score]
    metric: str
    importance: dict[str, tuple[float, float]]
    classes: list[str]
    confusion: list[list[int]]
    reliability: list[Bin]
    values: list[Histogram]

    @property
    def calibration_error(self) -> float:
        """That of `reliability`."""
        return calibration_error(self.reliability)


def evaluate(
    model: Any, table: Table, y: np.ndarray, weight: np.ndarray | None, metric: Metric, seed: int = 0
) -> Evaluation:
    """Evaluate a model; y as its metrics take it.

    metric : that of the importance, which is computed on at most 2,000 rows.
    """
    predict: Callable[[Table], np.ndarray] = model.predict_proba if model.n_classes_ else model.predict
    p, rng = predict(table), np.random.RandomState(seed)
    metrics = {metric.name: metric}
    if p.ndim == y.ndim or model.n_classes_:  # several quantiles have their own metric alone
        metrics |= METRICS["classification" if model.n_classes_ else "regression"]
    scores = {name: score_with_interval(each, y, p, weight, rng) for name, each in metrics.items()}
    classes = [str(label) for label in model.classes_] if model.n_classes_ else []
    return Evaluation(
        rows=len(y), scores=scores, metric=metric.name,
        importance=_importance(predict, table, y, weight, metric, rng), classes=classes,
        confusion=confusion(y, p) if classes else [],
        reliability=reliability(y, p) if classes else _coverage(y, p, getattr(model, "quantile", None)),
        values=[] if classes else _histograms(y, p),
    )  # fmt: skip


def score_with_interval(
    metric: Metric, y: np.ndarray, p: np.ndarray, weight: np.ndarray | None, rng: np.random.RandomState
) -> Score:
    """Return a score of predictions with its interval."""

    def of(rows: Any) -> float:
        return metric.sign * metric.score(y[rows], p[rows], None if weight is None else weight[rows])

    n = len(y)
    low, high = np.percentile([of(rng.randint(n, size=n)) for _ in range(RESAMPLES)], INTERVAL)
    return Score(of(slice(None)), float(low), float(high))


def _importance(
    predict: Callable[[Table], np.ndarray], table: Table, y: np.ndarray, weight: np.ndarray | None, metric: Metric,
    rng: np.random.RandomState,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Return how much of the score each column is worth, the largest first."""
    if table.n > ROWS:
        some = np.sort(rng.permutation(table.n)[:ROWS])
        table, y, weight = table.take(some), y[some], None if weight is None else weight[some]
    found = {}
    with one_thread():  # many small products, for which threads wait for each other
        whole = metric.score(y, predict(table), weight)
        for name, column in table.columns.items():
            losses = []
            for _ in range(REPEATS):
                shuffled = Table({**table.columns, name: column.take(rng.permutation(table.n))}, table.n)
                losses.append(whole - metric.score(y, predict(shuffled), weight))
            found[name] = float(np.mean(losses)), float(np.std(losses))
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def confusion(y: np.ndarray, p: np.ndarray) -> list[list[int]]:
    """Return how many rows of each class (a line) have their largest probability at each (a column)."""
    k = p.shape[1]
    return np.bincount(y * k + p.argmax(axis=1), minlength=k * k).reshape(k, k).tolist()


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the calibration error Σ_b n_b/n |predicted_b - observed_b|; NaN without bins. Guo et al., 2017."""
    counts = [b.rows for b in bins]
    return float(np.average([abs(b.predicted - b.observed) for b in bins], weights=counts)) if sum(counts) else np.nan


def reliability(y: np.ndarray, p: np.ndarray) -> list[Bin]:
    """Return bins of equally many rows, of class numbers y (n,) and probabilities p (n, K); see `Evaluation`."""
    two = p.shape[1] == 2
    predicted, true = (p[:, 1], y == 1) if two else (p.max(axis=1), p.argmax(axis=1) == y)
    order = np.argsort(predicted, kind="stable")
    parts = [rows for rows in np.array_split(order, BINS) if len(rows)]
    return [Bin(float(predicted[rows].mean()), float(true[rows].mean()), len(rows)) for rows in parts]


def _coverage(y: np.ndarray, p: np.ndarray, quantile: Any) -> list[Bin]:
    if quantile is None:
        return []
    below = (y[:, None] < p.reshape(len(p), -1)).mean(axis=0)
    return [Bin(float(q), float(part), len(y)) for q, part in zip(np.atleast_1d(quantile), below, strict=True)]


def _histograms(y: np.ndarray, p: np.ndarray) -> list[Histogram]:
    """Return a histogram for each target; of several quantiles, of the middle one."""
    if p.ndim > y.ndim:
        p = p[:, p.shape[1] // 2]
    found = []
    for of, predicted in zip(y.reshape(len(y), -1).T, p.reshape(len(p), -1).T, strict=True):
        known = ~np.isnan(of)
        low, high = np.percentile(np.concatenate([of[known], predicted[known]]), (0.5, 99.5))
        edges = np.linspace(low, high if high > low else low + 1.0, CELLS + 1)
        inside = [np.clip(a[known], edges[0], edges[-1]) for a in (predicted, of)]  # what is outside, at the edge
        cell = [np.clip(np.searchsorted(edges, a, "right") - 1, 0, CELLS - 1) for a in inside]
        counts = np.bincount(cell[0] * CELLS + cell[1], minlength=CELLS**2).reshape(CELLS, CELLS)
        found.append(Histogram(edges.tolist(), counts.tolist()))
    return found


def pack_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as JSON has it."""
    return {
        **evaluation._asdict(),
        "importance": {name: list(pair) for name, pair in evaluation.importance.items()},
        "reliability": [list(b) for b in evaluation.reliability],
        "values": [h._asdict() for h in evaluation.values],
    }


def unpack_evaluation(packed: Mapping[str, Any]) -> Evaluation:
    """Return the evaluation; the reverse of `pack_evaluation`."""
    return Evaluation(
        **{
            **packed,
            "scores": {name: Score(*score) for name, score in packed["scores"].items()},
            "importance": {name: tuple(pair) for name, pair in packed["importance"].items()},
            "reliability": [Bin(*b) for b in packed["reliability"]],
            "values": [Histogram(**h) for h in packed["values"]],
        }
    )
