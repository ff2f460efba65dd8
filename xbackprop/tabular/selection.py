"""Choose the networks of an ensemble: by the metric of the mean of their predictions, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

#: Metrics of predictions: probabilities (n, K) of classes, or values (n,) or (n, L).
Score = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]


class Metric(NamedTuple):
    """A metric: its name, ``score(y, predictions, weight)``, the larger the better, and the sign to show it with."""

    name: str
    score: Score
    sign: float = 1.0


class Step(NamedTuple):
    """A step of the selection: the candidate that was added, and the score of the mean with it."""

    candidate: int
    score: float


def log_loss(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    """Return -1/n Σ log p(y) of class numbers y (n,); a probability counts as float32's rounding at the least."""
    picked = np.take_along_axis(p, y[:, None], axis=1)[:, 0]
    return float(np.average(-np.log(np.maximum(picked, np.finfo(np.float32).eps)), weights=weight))


def accuracy(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the part of the rows whose class has the largest probability."""
    return float(np.average(p.argmax(axis=1) == y, weights=weight))


def auc(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the area under the ROC curve, for several classes the mean of each one against the rest."""
    from sklearn.metrics import roc_auc_score

    present = [k for k in range(p.shape[1]) if 0 < np.sum(y == k) < len(y)]
    if p.shape[1] == 2:
        present = present[-1:]
    areas = [roc_auc_score(y == k, p[:, k], sample_weight=weight) for k in present]
    return float(np.mean(areas)) if areas else 0.5


def squared(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the root of the mean squared error, over all targets that are known."""
    return float(np.sqrt(_mean(np.square(y - p), weight)))


def absolute(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean absolute error, over all targets that are known."""
    return _mean(np.abs(y - p), weight)


def r2(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    """Return R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)², the mean of that of several targets."""
    found = []
    for of, predicted in zip(_columns(y), _columns(p), strict=True):
        known = ~np.isnan(of)
        w = None if weight is None else weight[known]
        around = _mean(np.square(of[known] - np.average(of[known], weights=w)), w)
        found.append(1.0 - _mean(np.square(of[known] - predicted[known]), w) / around if around > 0 else 0.0)
    return float(np.mean(found))


def pinball(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None, quantile: float | Sequence[float]) -> float:
    """Return the mean of r (1 - q) for r > 0, else -r q, with r = ŷ - y of one target, over rows and quantiles."""
    r = p - (y if p.ndim == 1 else y[:, None])
    return _mean(np.where(r > 0, r, 0.0) - np.asarray(quantile) * r, weight)


def pinball_metric(quantile: float | Sequence[float]) -> Metric:
    """Return the metric of quantiles, by whose loss they are estimated."""
    return Metric("pinball", lambda y, p, weight: -pinball(y, p, weight, quantile), -1.0)


def _columns(a: np.ndarray) -> np.ndarray:
    return a.T if a.ndim == 2 else a[None, :]


def _mean(errors: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean of the errors that are numbers, each row with its weight."""
    known = ~np.isnan(errors)
    if weight is None:
        return float(errors[known].mean())
    weights = np.broadcast_to(weight if errors.ndim == 1 else weight[:, None], errors.shape)
    return float(np.average(errors[known], weights=weights[known]))


def _negative(loss: Score) -> Score:
    return lambda y, p, weight: -loss(y, p, weight)


#: The metrics of each task; the first is the default.
METRICS = {
    "classification": {
        "log_loss": Metric("log_loss", _negative(log_loss), -1.0),
        "accuracy": Metric("accuracy", accuracy),
        "auc": Metric("auc", auc),
    },
    "regression": {
        "rmse": Metric("rmse", _negative(squared), -1.0),
        "mae": Metric("mae", _negative(absolute), -1.0),
        "r2": Metric("r2", r2),
    },
}


def find_metric(where: str, metric: Any, task: str, classes: np.ndarray | None) -> Metric:
    """Return a metric by its name, or around a scorer of scikit-learn's, an object or a name.

    Raises
    ------
    ValueError : for a name that is neither ours nor scikit-learn's.
    """
    known = METRICS[task]
    if metric == "auto":
        return next(iter(known.values()))
    if isinstance(metric, str) and metric in known:
        return known[metric]
    from sklearn.metrics import get_scorer, get_scorer_names

    if isinstance(metric, str) and metric not in get_scorer_names():
        raise ValueError(f"{where}: metric must be one of {[*known]} or the name of a scorer, got {metric!r}")
    scorer = get_scorer(metric) if isinstance(metric, str) else metric
    if not callable(scorer):
        raise ValueError(f"{where}: metric must be a name or a scorer, got {metric!r}")

    def score(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
        shown = _Shown(p, classes) if classes is None else _ShownClassifier(p, classes)
        labels = y if classes is None else classes[y]
        return float(
            scorer(shown, np.arange(len(y))[:, None], labels, **({} if weight is None else {"sample_weight": weight}))
        )

    return Metric(metric if isinstance(metric, str) else getattr(metric, "__name__", "scorer"), score)


class _Shown:
    """Predictions that were made already, as an estimator whose X are row numbers, for scikit-learn's scorers."""

    def __init__(self, predictions: np.ndarray, classes: np.ndarray | None) -> None:
        self._predictions, self.classes_ = predictions, classes
        self._estimator_type = "regressor" if classes is None else "classifier"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        classifier = self.classes_ is not None
        return Tags(
            estimator_type=self._estimator_type, target_tags=TargetTags(required=True), input_tags=InputTags(),
            classifier_tags=ClassifierTags() if classifier else None,
            regressor_tags=None if classifier else RegressorTags(), transformer_tags=None,
        )  # fmt: skip

    def fit(self) -> None:
        """Stand for an estimator's."""

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def _of(self, rows: np.ndarray) -> np.ndarray:
        return self._predictions[np.asarray(rows)[:, 0]]

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the labels or values of these rows."""
        p = self._of(rows)
        return p if self.classes_ is None else self.classes_[p.argmax(axis=1)]


class _ShownClassifier(_Shown):
    """The same of probabilities: scikit-learn looks at the method's name."""

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities of these rows."""
        return self._of(rows)


def select_greedily(predictions: Sequence[np.ndarray], score: Callable[[np.ndarray], float], most: int) -> list[Step]:
    """Choose candidates: the best one first, then the one that improves the score of the mean most, until none does.

    Without replacement, and at most `most` of them (the selection of TabPack, ICML 2026).
    """
    left = {i for i, p in enumerate(predictions) if np.isfinite(p).all()}
    total: Any = 0.0
    steps: list[Step] = []
    while left and len(steps) < most:
        found = {i: score((total + predictions[i]) / (len(steps) + 1)) for i in sorted(left)}
        best = max(found, key=lambda i: found[i])
        if steps and not found[best] > steps[-1].score:
            break
        steps.append(Step(best, found[best]))
        total = total + predictions[best]
        left.remove(best)
    return steps
