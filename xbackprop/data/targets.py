"""Convert y to the rows that a loss takes, and logits back to predictions.

| kind | y | outputs | decided by |
|---|---|---|---|
| classes | (n,) labels | K, one-hot | the largest logit |
| binary | (n,) labels of two classes | 1: y is 1 for the second | z > 0 |
| multilabel | (n, K) of 0 and 1 | K | each z > 0 |
| numbers | (n,) or (n, n_L) | n_L | the loss's output |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend, Namespace
from xbackprop.arrays.discovery import backend_of, on_host
from xbackprop.data import tables
from xbackprop.data.metrics import accuracy, r2
from xbackprop.data.scaling import Scaling
from xbackprop.nn.activations import softplus
from xbackprop.nn.losses import LOSSES, Loss, log_softmax

BINARY = LOSSES["binary_cross_entropy"]
#: The loss that "auto" chooses for each kind of target.
DEFAULT_LOSSES = {
    "classes": "cross_entropy",
    "binary": BINARY.name,
    "multilabel": BINARY.name,
    "numbers": "mean_squared_error",
}


class Targets(NamedTuple):
    """The conversion between y and the outputs of a network.

    kind : a row of the table above. classes : the sorted labels; None for numbers. n_outputs : the width of the last
        layer.
    vector : whether y had one axis.
    smoothing : s: targets are (1-s) y + s/K, or (1-s) y + s/2 if every output is a binary decision of its own.
    weights : a weight for each class; None for equal weights.
    scaling : how numbers are standardised, or None if they are not.
    copies : the outputs of each number: several where the loss estimates several quantiles of it.
    soft : whether y has rows of probabilities.
    """

    kind: str
    classes: np.ndarray | None
    n_outputs: int
    vector: bool
    smoothing: float = 0.0
    weights: np.ndarray | None = None
    scaling: Scaling | None = None
    copies: int = 1
    soft: bool = False

    @property
    def _two(self) -> bool:
        """Whether a binary target has two classes; as scikit-learn does, it may have a single one."""
        return self.classes is not None and len(self.classes) == 2

    def loss(self, chosen: Loss | None) -> Loss:
        """Return the loss that was chosen, or the default one for this kind of target."""
        return chosen or LOSSES[DEFAULT_LOSSES[self.kind]]

    def encode(self, where: str, y: Any, n: int, dtype: str) -> tuple[Array, Array | None]:
        """Check y; return it as rows (n, n_L), or (n,) for one number, and its own weights, or None.

        These are the class weights of rows (n,), or where numbers are missing, which are 0 in y then, which of them are
        known (n, n_L).
        """
        if self.kind == "numbers":
            y = tables.targets(where, y, n, self.n_outputs // self.copies)
            return tables.known_targets(_repeated(y, self.copies))
        if self.kind == "multilabel":
            return self._indicator_rows(tables.indicators(where, y, n, self.n_outputs), dtype), None
        assert self.classes is not None
        if self.soft:
            return self._soft_rows(tables.distributions(where, y, n, self.n_outputs), dtype), None
        return self._class_rows(tables.class_numbers(where, tables.labels(where, y, n), self.classes), dtype)

    def _indicator_rows(self, y: np.ndarray, dtype: str) -> np.ndarray:
        return (1.0 - self.smoothing) * y.astype(dtype) + 0.5 * self.smoothing

    def _soft_rows(self, y: np.ndarray, dtype: str) -> np.ndarray:
        return (1.0 - self.smoothing) * y.astype(dtype) + self.smoothing / self.n_outputs

    def _class_rows(self, numbers: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the target rows and the class weight of each row, from the indices (n,) of the classes."""
        s, n = self.smoothing, len(numbers)
        weights = None if self.weights is None else self.weights[numbers]
        if self.kind == "binary":
            return (1.0 - s) * numbers.astype(dtype)[:, None] + 0.5 * s, weights
        rows = np.full((n, self.n_outputs), s / self.n_outputs, dtype=dtype)
        rows[np.arange(n), numbers] += 1.0 - s
        return rows, weights

    def predict_from_logits(self, xp: Namespace, z: Array, loss: Loss) -> Array:
        """Return the index of the class (n,), 0 or 1 for each label (n, K), or the loss's output (n, n_L)."""
        if self.kind == "numbers":
            return loss.output(xp, z)
        if self.kind == "classes":
            return xp.argmax(z, axis=-1)
        yes = xp.astype(z > 0, xp.int64)
        if self.kind == "multilabel":
            return yes
        return yes[:, 0] if self._two else xp.zeros_like(yes[:, 0])

    def class_numbers(self, xp: Namespace, y: Array) -> Array:
        """Return the number of the class (n,) of rows of targets, the most probable one of soft ones."""
        return xp.argmax(y, axis=-1) if self.kind == "classes" else xp.astype(y[:, 0] > 0.5, xp.int64)

    def probabilities(self, xp: Namespace, z: Array, loss: Loss) -> Array:
        """Return probabilities (n, K): of the classes, or for a multilabel target that each label is 1."""
        if self.kind != "binary":
            return loss.output(xp, z)
        return xp.concat([loss.output(xp, -z), loss.output(xp, z)], axis=-1) if self._two else xp.ones_like(z)

    def log_probabilities(self, xp: Namespace, z: Array, loss: Loss) -> Array:
        """Return log-probabilities (n, K); for xbackprop's losses from the logits, so that they stay finite."""
        if loss is BINARY:
            logs = -softplus(xp, -z)
            if self.kind != "binary":
                return logs
            return xp.concat([-softplus(xp, z), logs], axis=-1) if self._two else xp.zeros_like(z)
        return log_softmax(xp, z) if loss is LOSSES["cross_entropy"] else xp.log(self.probabilities(xp, z, loss))

    def score(self, backend: Backend, z: Array, y: Array, loss: Loss, weight: Array | None) -> float:
        """Return the accuracy, for a multilabel target that of whole rows, or R²; y is as `encode` returned it."""
        return self.score_decided(backend, self.predict_from_logits(backend.xp, z, loss), y, weight)

    def score_decided(self, backend: Backend, decided: Array, y: Array, weight: Array | None) -> float:
        """Return the same of predictions as `predict_from_logits` returns them."""
        xp = backend.xp
        if self.kind == "numbers":
            return float(backend.to_host(r2(xp, y, decided, weight)))
        if self.kind == "multilabel":
            correct = xp.all((decided > 0) == (y > 0.5), axis=-1)
        else:
            correct = decided == self.class_numbers(xp, y)
        return accuracy(backend.to_host(correct), None if weight is None else backend.to_host(weight))


class TargetRule(NamedTuple):
    """The settings by which a new network reads y.

    loss : the loss that was chosen, or None. log_loss : whether two classes share one output, and a single class is
        allowed.
    classes : all the classes, if they are given beforehand; else None.
    smoothing, weight, scale, soft : the settings `label_smoothing`, `class_weight`, `scale_target`, `soft_targets`.
    """

    task: str
    loss: Loss | None
    log_loss: bool = False
    classes: Any = None
    smoothing: float = 0.0
    weight: Any = None
    scale: bool = False
    soft: bool = False


def infer_targets(where: str, rule: TargetRule, y: Any, n: int, dtype: str) -> tuple[Targets, Array, Array | None]:
    """Infer the kind of target from y; return it, with y and its own weights as `Targets.encode` does."""
    loss = rule.loss
    if rule.task == "regression":
        y = tables.targets(where, y, n)
        y = tables.counts(where, y) if loss is LOSSES["poisson"] else y
        copies = 1 if loss is None else loss.per_target
        if copies > 1 and y.ndim == 2 and y.shape[1] > 1:
            raise ValueError(f"{where}: several quantiles are of one target, got y of shape {tuple(y.shape)}")
        vector, y = y.ndim == 1 and copies == 1, _repeated(y, copies)
        targets = Targets("numbers", None, 1 if y.ndim == 1 else y.shape[1], vector, copies=copies)
        y, known = tables.known_targets(y)
        _check_columns(where, known)
        return targets, y, known
    if rule.soft:
        _check_soft(where, rule)
        y = tables.distributions(where, y, n)
        targets = Targets("classes", np.arange(y.shape[1]), y.shape[1], True, rule.smoothing, soft=True)
        return targets, targets._soft_rows(y, dtype), None
    if (y := on_host(y)).ndim == 2 and y.shape[1] > 1:
        if rule.weight is not None:
            raise ValueError(f"{where}: class_weight is for one label per row, got y with two axes")
        if loss is LOSSES["cross_entropy"]:
            raise ValueError(f"{where}: y must have shape ({n},) for the loss 'cross_entropy', got {y.shape}")
        y = tables.indicators(where, y, n)
        targets = Targets("multilabel", np.arange(y.shape[1]), y.shape[1], False, rule.smoothing)
        return targets, targets._indicator_rows(y, dtype), None
    labels, at_least = tables.labels(where, y, n), 1 if rule.log_loss else 2
    if rule.classes is None:
        classes, numbers = tables.classes_of(where, labels, at_least)
    else:
        classes, _ = tables.classes_of(where, np.asarray(rule.classes), at_least)
        numbers = tables.class_numbers(where, labels, classes)
    weights = None if rule.weight is None else class_weights(where, rule.weight, classes, numbers)
    kind = _kind_of_labels(where, rule, len(classes))
    targets = Targets(kind, classes, 1 if kind == "binary" else len(classes), True, rule.smoothing, weights)
    return targets, *targets._class_rows(numbers, dtype)


def _check_soft(where: str, rule: TargetRule) -> None:
    """Raise ValueError for settings that soft targets do not go with."""
    if rule.weight is not None:
        raise ValueError(f"{where}: class_weight is for labels, and soft_targets=True for rows of probabilities")
    if rule.loss is BINARY or rule.log_loss:
        raise ValueError(f"{where}: soft_targets=True is for the loss cross_entropy, with an output for each class")


def _repeated(y: Array, copies: int) -> Array:
    """Return a target (n,) or (n, 1) as so many equal columns; of one copy y as it is."""
    if copies == 1:
        return y
    home = backend_of(y)
    with home.device_context():
        return home.xp.stack([home.xp.reshape(y, (-1,))] * copies, axis=1)


def _check_columns(where: str, known: Array | None) -> None:
    """Check that every column of y has some number that is known."""
    if known is not None:
        home = backend_of(known)
        with home.device_context():
            empty = np.flatnonzero(~home.to_host(home.xp.any(known, axis=0)))
        if len(empty):
            raise ValueError(f"{where}: y must have a number in every column, got only NaN in column {empty[0]}")


def _kind_of_labels(where: str, rule: TargetRule, n_classes: int) -> str:
    """Return "binary" if the loss gives the classes a single output, and "classes" if it gives each its own."""
    binary = rule.loss is BINARY
    if binary and n_classes > 2:
        raise ValueError(
            f"{where}: the loss {BINARY.name!r} is for two classes, or for labels in columns, got {n_classes}"
        )
    return "binary" if n_classes <= 2 and (rule.log_loss or binary) else "classes"


def continue_targets(where: str, rule: TargetRule, former: Targets, y: Any) -> Targets:
    """Return the targets with which a trained network goes on: its classes, and the present weights and smoothing.

    Raises
    ------
    ValueError : if the present settings give the outputs another meaning than those that the network was trained with.
    """
    if former.classes is None or rule.task == "regression":
        _check_same_kind(where, former, (former.classes is None) == (rule.task == "regression"), f"task={rule.task!r}")
        _check_same_kind(where, former, (former.scaling is not None) == rule.scale, f"scale_target={rule.scale}")
        copies = 1 if rule.loss is None else rule.loss.per_target
        _check_same_kind(where, former, copies == former.copies, f"loss={rule.loss and rule.loss.name!r}")
        if rule.loss is LOSSES["poisson"]:
            tables.counts(where, tables.targets(where, y, len(y), former.n_outputs))
        return former
    loss = "log_loss" if rule.log_loss else "auto" if rule.loss is None else rule.loss.name
    if former.kind == "multilabel":
        _check_same_kind(where, former, rule.loss is not LOSSES["cross_entropy"], f"loss={loss!r}")
        return former._replace(smoothing=rule.smoothing)
    _check_same_kind(where, former, rule.soft == former.soft, f"soft_targets={rule.soft}")
    if rule.soft:
        _check_soft(where, rule)
        return former._replace(smoothing=rule.smoothing)
    kind = _kind_of_labels(where, rule, len(former.classes))
    _check_same_kind(where, former, kind == former.kind, f"loss={loss!r}")
    weights = None
    if rule.weight is not None:
        labels = on_host(y)
        numbers = tables.class_numbers(where, tables.labels(where, labels, labels.size), former.classes)
        weights = class_weights(where, rule.weight, former.classes, numbers)
    return former._replace(smoothing=rule.smoothing, weights=weights)


def _check_same_kind(where: str, former: Targets, same: bool, setting: str) -> None:
    if not same:
        raise ValueError(
            f"{where}: the network was trained with {former.n_outputs} outputs for {former.kind}, to which {setting} "
            f"gives another meaning; train a new network, with warm_start=False"
        )


def class_weights(where: str, weight: str | Mapping, classes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return a weight per class (K,), from a mapping (1 for labels that it lacks) or "balanced": n / (K n_k)."""
    if isinstance(weight, str):
        counts = np.bincount(numbers, minlength=len(classes))
        return np.divide(len(numbers), len(classes) * counts, out=np.zeros(len(classes)), where=counts > 0)
    absent = [label for label in weight if label not in classes.tolist()]
    unweighted = [label for label in classes.tolist() if label not in weight]
    if absent and unweighted:  # a misspelt label; where all have a weight, a part of the data may lack a class
        raise ValueError(
            f"{where}: class_weight has the label {absent[0]!r}, which is not in y, and none for {unweighted[0]!r}"
        )
    return np.array([weight.get(label, 1.0) for label in classes.tolist()])
