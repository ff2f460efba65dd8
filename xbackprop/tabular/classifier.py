"""`TabularClassifier`: the classes of a table's rows, from an ensemble of networks that are chosen together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from xbackprop.tabular.base import BaseTabular
from xbackprop.tabular.encoder import TableEncoder
from xbackprop.tabular.parameters import with_parameters


@with_parameters
class TabularClassifier(ClassifierMixin, BaseTabular):
    """A classifier for tables: encoder, networks with settings drawn at random, and the best ensemble of them.

    p̄(y|x) = 1/M Σ_m p_m(y|x), the mean of the probabilities of the networks that were chosen.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : the labels, sorted.
    {attributes}

    Examples
    --------
    >>> table = {"size": [1.0, 1.2, 3.1, 2.9] * 10, "colour": ["red", "red", "blue", "red"] * 10}
    >>> model = TabularClassifier(preset="fast", random_state=0).fit(table, ["small", "small", "large", "large"] * 10)
    >>> model.predict({"size": 3.0, "colour": "green"})
    array(['large'], dtype='<U5')
    """

    _task = "classification"

    def __init__(
        self,
        *,
        preset: str = "good",
        metric: Any = "auto",
        n_networks: int | None = None,
        max_iter: int | None = None,
        time_limit: float | None = None,
        folds: int | str = "auto",
        validation_fraction: float = 0.2,
        learning_rate: tuple[float, float] = (7e-4, 3e-3),
        weight_decay: tuple[float, float] = (0.02, 0.3),
        dropout: tuple[float, float] = (0.0, 0.4),
        depth: tuple[int, int] = (1, 3),
        width: int = 128,
        bins: str | Sequence[str] = ("quantile", "tree", "none"),
        activation: Any = ("silu", "mish", "relu"),
        ema_decay: float | None = 0.99,
        label_smoothing: float = 0.0,
        encoder: TableEncoder | None = None,
        backend: Any = None,
        device: Any = None,
        communicator: Any = None,
        random_state: Any = None,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name not in ("self", "__class__")})

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities (n_samples, n_classes), the mean over the networks."""
        return self._each("predict_proba", X).mean(axis=0)

    def predict(self, X: Any) -> np.ndarray:
        """Return the label with the largest probability (n_samples,)."""
        places = self._each("predict", X).mean(axis=0).argmax(axis=1)
        return self.classes_[places]

    def disagreement(self, X: Any) -> np.ndarray:
        """Return 1/M Σ_m KL(p_m ‖ p̄) (n_samples,), in nats; see `MLP.disagreement`."""
        from xbackprop.mlp.many import ensemble

        return ensemble.disagreement(np, list(self._each("disagreement", X)))

    def _targets(self, where: str, y: Any, n: int) -> np.ndarray:
        labels = _labels(where, y, n)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        self.n_classes_ = len(self.classes_)
        if self.n_classes_ < 2:
            raise ValueError(f"{where}: y must have at least two classes, got one class: {self.classes_[0]!r}")
        return numbers

    def known_targets(self, where: str, y: Any, n: int) -> np.ndarray:
        """Return y as the metrics take it; see `BaseTabular`."""
        labels = _labels(where, y, n)
        place = np.searchsorted(self.classes_, labels).clip(max=len(self.classes_) - 1)
        if not (self.classes_[place] == labels).all():
            unknown = labels[self.classes_[place] != labels][0]
            raise ValueError(f"{where}: y must have the classes {self.classes_.tolist()}, got {unknown}")
        return place

    def _of_task(self) -> dict[str, Any]:
        return {"task": "classification", "label_smoothing": self.label_smoothing}


def _labels(where: str, y: Any, n: int) -> np.ndarray:
    """Return labels as an array of one axis, of text or numbers."""
    from sklearn.utils.validation import column_or_1d

    if y is None:
        raise ValueError(f"{where}: requires y to be passed, but the target y is None")
    labels = column_or_1d(y, warn=True)
    labels = np.asarray(labels)
    if labels.dtype.kind == "O":
        if any(v is None or v != v for v in labels.tolist()):
            raise ValueError(f"{where}: y must have a label for each row, got a missing one")
        labels = np.array(labels.tolist()) if len({type(v) for v in labels.tolist()}) == 1 else labels.astype(str)
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"{where}: y must have a label for each row, got Input contains NaN or infinity")
    if len(labels) != n:
        raise ValueError(f"{where}: y must have a label for each of {n} rows, got {len(labels)}")
    return labels
