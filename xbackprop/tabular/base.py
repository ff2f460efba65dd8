"""`BaseTabular`: the training of `TabularClassifier` and `TabularRegressor`, and all that both can do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from xbackprop.distributed.agreement import share_stream
from xbackprop.distributed.launch import find_communicator
from xbackprop.mlp.mlp import MLP
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.tabular.blocks import ColumnReport
from xbackprop.tabular.candidates import PRESETS, Preset, Ranges, draw_candidates
from xbackprop.tabular.columns import Table
from xbackprop.tabular.encoder import BINS, TableEncoder
from xbackprop.tabular.evaluation import Evaluation, evaluate
from xbackprop.tabular.reading import has_names, read_table
from xbackprop.tabular.search import Samples, Search, Trained, outputs
from xbackprop.tabular.selection import Metric, find_metric
from xbackprop.tabular.splits import Split, make_splits
from xbackprop.validation import fraction, integer, non_negative, number, positive

#: The rows of a training step: a power of two, up to the usual one at most a fortieth of the rows, up to the largest at
#: most a 400th.
SMALLEST_BATCH, USUAL_BATCH, LARGEST_BATCH = 32, 256, 1024
FOLDS = 5


class Group(NamedTuple):
    """Networks of the ensemble that have one encoder."""

    encoder: TableEncoder
    networks: list[MLP]


class BaseTabular(BaseEstimator):
    """The base class of the classifier and the regressor for tables."""

    _task: str
    groups_: list[Group]
    columns_: dict[str, ColumnReport]
    n_classes_: int

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        validation_data: tuple[Any, Any] | None = None,
        groups: Any = None,
        time_order: Any = None,
        progress: Callable[[float, int], None] | None = None,
    ) -> Self:
        """Encode the table, train the candidates, and choose the ensemble.

        Parameters
        ----------
        X : a table as `TableEncoder` takes it: pandas, polars, pyarrow, a mapping of columns, rows, an array.
        y : labels (n_samples,), or numbers (n_samples,) or (n_samples, n_outputs).
        sample_weight : (n_samples,), or None for equal weights.
        validation_data : ``(X, y)`` to validate on, in place of rows of X.
        groups : labels (n_samples,): rows of one label are never on both sides of a split.
        time_order : numbers or dates (n_samples,): the last rows validate those trained on earlier ones.
        progress : ``progress(done, all)``, called as an epoch ends: how many networks are trained, the parts of those
            in training counted, out of how many at the most.
        """
        began, where = time.time(), f"{type(self).__name__}.fit"
        size = self._size(where)
        table = read_table(where, X)
        y = self._targets(where, y, table.n)
        weight = None if sample_weight is None else _weights(where, sample_weight, table.n)
        samples = Samples(table, y, weight, self.n_classes_)
        rng = share_stream(find_communicator(where, self.communicator), check_random_state(self.random_state))
        outside = None if validation_data is None else self._known(f"{where}: validation_data", *validation_data)
        splits = self._splits(where, samples, size, rng, outside, groups, time_order)
        metric = self._metric(where)
        n_train = len(splits[0].train)
        candidates = draw_candidates(self._ranges(where), size.candidates, rng)
        seeds = rng.randint(2**31 - 1, size=(len(candidates), len(splits))).tolist()
        deadline = None
        if self.time_limit is not None:
            deadline = began + 0.9 * positive(where, "time_limit", self.time_limit)  # the rest is for choosing
        search = Search(
            where, samples, splits, self._encoder(), metric, self._fixed(size, n_train), deadline, outside, progress
        )
        trained = search.run(candidates, seeds, size.kept)
        self._publish(trained, X, table)
        self.metric_ = metric.name
        self.time_limit_reached_ = trained.cut_short
        self.validation_predictions_ = trained.validation
        self.validation_score_ = trained.steps[-1].score * metric.sign
        self.leaderboard_ = _leaderboard(trained, metric.sign)
        self.n_iter_ = max(net.n_iter_ for net in self.networks_)
        self.fit_seconds_ = time.time() - began
        return self

    def _publish(self, trained: Trained, X: Any, table: Table) -> None:
        """Keep the networks of the chosen candidates, and the encoders that they need."""
        groups: dict[tuple[str, int], list[MLP]] = {}
        self.__dict__.pop("evaluation_", None)  # that of a former fit
        for step in trained.steps:
            for k, net in enumerate(trained.networks[step.candidate]):
                if net is not None:
                    groups.setdefault((trained.candidates[step.candidate].bins, k), []).append(net)
        self.groups_ = [Group(trained.encoders[bins][k], nets) for (bins, k), nets in groups.items()]
        self.curves_ = [
            {"loss": net.loss_curve_, "validation": list(net.validation_loss_curve_)}
            for _, networks in self.groups_
            for net in networks
        ]
        reports = self.groups_[0].encoder.columns_
        self.columns_ = {
            name: reports[name]._replace(missing=int(column.missing.sum())) for name, column in table.columns.items()
        }
        self.n_features_in_ = len(table.columns)
        if has_names(X):
            self.feature_names_in_ = np.array(list(table.columns), dtype=object)
        else:
            self.__dict__.pop("feature_names_in_", None)

    @property
    def networks_(self) -> list[Any]:
        """The networks of the ensemble, each an `MLP` on the columns that its encoder makes."""
        check_is_fitted(self)
        return [net for group in self.groups_ for net in group.networks]

    def _each(self, method: str, X: Any) -> np.ndarray:
        """Return the outputs of every network (M, n, …) for the rows of X."""
        check_is_fitted(self)
        table = read_table(f"{type(self).__name__}.{method}", X)
        if not (has_names(X) or len(table.columns) == self.n_features_in_):
            raise ValueError(
                f"X has {len(table.columns)} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                f"features as input"
            )
        found = []
        for encoder, networks in self.groups_:
            encoded = encoder.transform(table)
            found += [outputs(net, encoded, self.n_classes_) for net in networks]
        return np.stack(found)

    def _size(self, where: str) -> Preset:
        """Return the preset, with what the parameters override."""
        if self.preset not in PRESETS:
            raise ValueError(f"{where}: preset must be one of {tuple(PRESETS)}, got {self.preset!r}")
        size = PRESETS[self.preset]
        if self.n_networks is not None:
            size = size._replace(candidates=integer(where, "n_networks", self.n_networks, 1))
        if self.max_iter is not None:
            size = size._replace(epochs=integer(where, "max_iter", self.max_iter, 1))
        return size

    def _ranges(self, where: str) -> Ranges:
        """Check the ranges of the settings."""
        for name in ("learning_rate", "weight_decay", "dropout", "depth"):
            bounds = getattr(self, name)
            if not isinstance(bounds, tuple | list) or len(bounds) != 2 or not bounds[0] <= bounds[1]:
                raise ValueError(f"{where}: {name} must be two numbers, from and to, got {bounds!r}")
            check = {"learning_rate": positive, "weight_decay": non_negative, "dropout": fraction}.get(name)
            for bound in bounds:
                _ = integer(where, name, bound, 0) if check is None else check(where, name, bound)
        return Ranges(
            self.learning_rate, self.weight_decay, self.dropout, self.depth, integer(where, "width", self.width, 1),
            self._several(where, "bins", BINS), self._several(where, "activation", tuple(ACTIVATIONS)),
            self._losses(where),
        )  # fmt: skip

    def _several(self, where: str, name: str, known: Sequence[str]) -> tuple[Any, ...]:
        """Return a parameter that has one value or several, as a tuple."""
        given = getattr(self, name)
        values = (given,) if isinstance(given, str) or not isinstance(given, Sequence) else tuple(given)
        if not values or any(isinstance(v, str) and v not in known for v in values):
            raise ValueError(f"{where}: {name} must be among {known}, one or several, got {given!r}")
        return values

    def _fixed(self, size: Preset, n: int) -> dict[str, Any]:
        """Return the settings that all candidates share, for n training rows."""
        batch = LARGEST_BATCH
        while batch > SMALLEST_BATCH and n < batch * (40 if batch <= USUAL_BATCH else 400):
            batch //= 2
        return {
            **self._of_task(),
            "solver": "adamw",
            "batch_size": batch,
            "ema_decay": self.ema_decay,
            "early_stopping": True,
            "scoring": "loss",
            "tol": 0.0,
            "n_iter_no_change": size.patience,
            "max_iter": size.epochs,
            "dtype": "float32",
            "backend": self.backend,
            "communicator": self.communicator,
            "device": self.device,
        }

    def _metric(self, where: str) -> Metric:
        return find_metric(where, self.metric, self._task, getattr(self, "classes_", None))

    def _encoder(self) -> TableEncoder:
        return TableEncoder() if self.encoder is None else self.encoder

    def _splits(
        self, where: str, samples: Samples, size: Preset, rng: np.random.RandomState, outside: Samples | None,
        groups: Any, time_order: Any,
    ) -> list[Split]:  # fmt: skip
        n = samples.table.n
        if outside is not None:
            return [Split(np.arange(n), np.arange(0))]
        part = number(where, "validation_fraction", self.validation_fraction, lambda v: 0 < v < 1, "a number in (0, 1)")
        folds = self.folds
        if folds == "auto":
            folds = min(FOLDS, n) if n < size.folds_below else 1
        integer(where, "folds", folds, 1)
        if folds > n:
            raise ValueError(f"{where}: folds must be at most the number of rows, {n}, got {folds}")
        order = None if time_order is None else _numbers_of(where, time_order, n)
        return make_splits(where, samples.y, self._task, folds, part, rng, groups, order)

    def _known(self, where: str, X: Any, y: Any, weight: Any = None) -> Samples:
        """Read rows whose targets are of the classes, or the kind, that `fit` was given."""
        table = read_table(where, X)
        weight = None if weight is None else _weights(where, weight, table.n)
        return Samples(table, self.known_targets(where, y, table.n), weight, self.n_classes_)

    def evaluate(self, X: Any, y: Any, sample_weight: Any = None, *, seed: int = 0) -> Evaluation:
        """Score the model on rows that it has not seen, with intervals, importance of columns, and reliability.

        The result is kept as `evaluation_`, and by `save`, for `xbackprop plot`. It has no row of the table in it.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`. seed : of the intervals' resampling, and of the shuffling for importance.
        """
        check_is_fitted(self)
        where = f"{type(self).__name__}.evaluate"
        table, known, weight, _ = self._known(where, X, y, sample_weight)
        self.evaluation_ = evaluate(self, table, known, weight, self._metric(where), seed)
        return self.evaluation_

    def input_gradient(self, X: Any, y: Any, sample_weight: Any = None) -> dict[str, np.ndarray]:
        """Return ∂C/∂x (n_samples,) for each column of numbers, in units of the loss by units of the column.

        The chain rule goes on through the encoding: ∂C/∂x = Σ_f ∂C/∂h_f ∂h_f/∂x over the inputs h_f that are made of
        the column. C is the mean loss of a network on all rows of X; the result is the mean over the networks.
        Categories and dates have no derivative, and are left out.
        """
        check_is_fitted(self)
        where = f"{type(self).__name__}.input_gradient"
        table, known, weight, _ = self._known(where, X, y, sample_weight)
        total: dict[str, Any] = {}
        for encoder, networks in self.groups_:
            encoded = encoder.transform(table)
            each = [np.asarray(net.input_gradient(encoded, known, weight), np.float64) for net in networks]
            for name, found in encoder.pull_back(table, np.sum(each, axis=0)).items():
                total[name] = total.get(name, 0.0) + found / len(self.networks_)
        return total

    def save(self, path: str | PathLike[str]) -> None:
        """Write a safetensors file, from which `xbackprop.load_tabular` reads the model: no pickle, no code."""
        from xbackprop.tabular.model_file import save_tabular  # which knows the two models

        check_is_fitted(self)
        save_tabular(self, path)

    def to_onnx(self, path: str | PathLike[str] | None = None, *, dtype: str | None = None, example: Any = None) -> Any:
        """Return encoder and networks as one ONNX model, and write it to `path`.

        Each column is an input (n, 1) of its name: numbers in float64, of which NaN is missing; categories as text, of
        which "" is missing; dates as int64, in seconds since 1970 in UTC, of which the smallest int64 is missing.
        `xbackprop.tabular.onnx_inputs(model, X)` makes them of a table. The outputs are `label` and `probabilities`, or
        `values`.

        Parameters
        ----------
        dtype : "float32" (default) or "float64", of the networks' arithmetic; that of the encoding is float64.
        example : rows of a table, on which the exported model is run and held to the predictions of this one.
        """
        from xbackprop.tabular.onnx_model import export  # which knows the two models

        check_is_fitted(self)
        return export(f"{type(self).__name__}.to_onnx", self, path, dtype or "float32", example)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "groups_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    # of the subclasses
    def _targets(self, where: str, y: Any, n: int) -> np.ndarray:
        raise NotImplementedError

    def known_targets(self, where: str, y: Any, n: int) -> np.ndarray:
        """Return y (n,) as the metrics take it: the places of labels among `classes_`, or numbers."""
        raise NotImplementedError

    def _of_task(self) -> dict[str, Any]:
        raise NotImplementedError

    def _losses(self, where: str) -> tuple[Any, ...]:  # noqa: ARG002
        return ("auto",)


def _leaderboard(trained: Trained, sign: float) -> list[dict[str, Any]]:
    """Return a row for each candidate, the best first: its score, whether it is in, epochs, and settings."""
    order = {step.candidate: place + 1 for place, step in enumerate(trained.steps)}
    rows = []
    for i, (bins, settings) in enumerate(trained.candidates):
        epochs = [net.n_iter_ for net in trained.networks[i] if net is not None]
        rows.append(
            {
                "candidate": i,
                "score": trained.scores[i] * sign,
                "chosen": order.get(i, 0),
                "epochs": float(np.mean(epochs)) if epochs else 0.0,
                **{name: getattr(v, "name", v) for name, v in settings.items() if name != "hidden_layer_sizes"},
                "depth": len(settings["hidden_layer_sizes"]),
                "bins": bins,
            }
        )
    return sorted(rows, key=lambda row: (np.isnan(row["score"]), -row["score"] * sign))


def _weights(where: str, weight: Any, n: int) -> np.ndarray:
    values = np.asarray(weight, dtype=np.float64)
    if values.shape != (n,) or not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError(f"{where}: sample_weight must be {n} numbers of at least 0, and not every weight zero")
    return values


def _numbers_of(where: str, order: Any, n: int) -> np.ndarray:
    """Return dates or numbers, by which rows are ordered, as numbers."""
    column = next(iter(read_table(where, {"time_order": order}).columns.values()))
    if len(column.values) != n or column.kind not in ("number", "date") or column.missing.any():
        raise ValueError(f"{where}: time_order must be {n} numbers or dates, none of them missing")
    return column.values.astype(np.float64)
