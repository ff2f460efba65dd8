"""`TabularRegressor`: numbers for a table's rows, from an ensemble of networks that are chosen together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from xbackprop.estimators.fitted import gaps_of, one_axis
from xbackprop.mlp.setting import quantiles
from xbackprop.mlp.setting_table import TASK_LOSSES
from xbackprop.tabular.base import BaseTabular
from xbackprop.tabular.encoder import TableEncoder
from xbackprop.tabular.parameters import with_parameters
from xbackprop.tabular.selection import Metric, pinball, pinball_metric, r2

#: The losses of candidates, by default: that of the metric, and one that heavy tails of the targets bear less upon.
LOSSES = ("huber", "mean_squared_error")


@with_parameters
class TabularRegressor(RegressorMixin, BaseTabular):
    """A regressor for tables: encoder, networks with settings drawn at random, and the best ensemble of them.

    ŷ(x) = 1/M Σ_m ŷ_m(x), the mean of the values of the networks that were chosen, within the range of the training
    targets. Each network is trained on standardised targets. Of several targets some may be NaN: they are left out of
    the loss, each column of which is divided by the weight of the targets that it has in the batch.

    Parameters
    ----------
    quantile : q between 0 and 1, or several in ascending order, to estimate in place of the mean. Several have one
        network with an output for each, (n_samples, n_quantiles), which never cross.
    {parameters}

    Attributes
    ----------
    {attributes}
    """

    _task = "regression"
    n_classes_ = 0

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
        dropout: tuple[float, float] = (0.0, 0.3),
        depth: tuple[int, int] = (1, 3),
        width: int = 128,
        bins: str | Sequence[str] = ("quantile", "tree", "none"),
        activation: Any = ("silu", "mish", "relu"),
        ema_decay: float | None = 0.99,
        loss: Any = "auto",
        quantile: float | Sequence[float] | None = None,
        encoder: TableEncoder | None = None,
        backend: Any = None,
        device: Any = None,
        communicator: Any = None,
        random_state: Any = None,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name not in ("self", "__class__")})

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the mean over the networks of their values (n_samples,), or (n_samples, n_outputs or n_quantiles).

        return_std : whether to return the standard deviation over the networks too, in units of y.
        """
        each = self._each("predict", X)
        low, high = self.range_
        mean = np.clip(each.mean(axis=0), low, high)
        return (mean, each.std(axis=0)) if return_std else mean

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², of several targets the mean; with `quantile` D², 1 - pinball loss / that of y's own quantiles."""
        predicted = self.predict(X)
        where = f"{type(self).__name__}.score"
        values = _values(where, y, len(predicted))
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        if self.quantile is None:
            return r2(values, predicted, weight)
        q = quantiles(where, "quantile", self.quantile)
        constant = np.broadcast_to(np.quantile(values, q), predicted.shape)
        return 1.0 - pinball(values, predicted, weight, q) / pinball(values, constant, weight, q)

    def _targets(self, where: str, y: Any, n: int) -> np.ndarray:
        values = _values(where, y, n)
        if self.quantile is not None and values.ndim > 1:
            raise ValueError(f"{where}: quantiles are of one target, got y of shape {values.shape}")
        if (empty := np.isnan(values).all(axis=0)).any():
            raise ValueError(
                f"{where}: y must have a number in every column, got only NaN in {np.flatnonzero(empty)[0]}"
            )
        self.range_ = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        return values

    def known_targets(self, where: str, y: Any, n: int) -> np.ndarray:
        """Return y as the metrics take it; see `BaseTabular`."""
        return _values(where, y, n)

    def _of_task(self) -> dict[str, Any]:
        own = {"task": "regression", "scale_target": True}
        if self.quantile is None:
            return own
        return {**own, "quantile": quantiles(type(self).__name__, "quantile", self.quantile)}

    def _losses(self, where: str) -> tuple[Any, ...]:
        if self.quantile is not None:
            return ("quantile",)
        if not isinstance(self.loss, str) or self.loss != "auto":
            return self._several(where, "loss", TASK_LOSSES["regression"])
        return ("absolute_error",) if self.metric in ("mae", "neg_mean_absolute_error") else LOSSES

    def _metric(self, where: str) -> Metric:
        if self.quantile is not None and self.metric in ("auto", "pinball"):
            return pinball_metric(quantiles(where, "quantile", self.quantile))
        return super()._metric(where)


def _values(where: str, y: Any, n: int) -> np.ndarray:
    """Return numbers (n,) or (n, L), of which some may be NaN where there are several columns."""
    from sklearn.utils.validation import check_array

    if y is None:
        raise ValueError(f"{where}: requires y to be passed, but the target y is None")
    finite = True if gaps_of(y) is None else "allow-nan"
    values = one_axis(check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", ensure_all_finite=finite), 5)
    if len(values) != n or values.ndim > 2:
        raise ValueError(f"{where}: y must have a number for each of {n} rows, got shape {values.shape}")
    return values
