"""`TabularRegressor`: numbers for a table's rows, from an ensemble of networks that are chosen together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from xbackprop.estimators.fitted import one_axis
from xbackprop.tabular.base import BaseTabular
from xbackprop.tabular.encoder import TableEncoder
from xbackprop.tabular.parameters import with_parameters


@with_parameters
class TabularRegressor(RegressorMixin, BaseTabular):
    """A regressor for tables: encoder, networks with settings drawn at random, and the best ensemble of them.

    ŷ(x) = 1/M Σ_m ŷ_m(x), the mean of the values of the networks that were chosen, within the range of the training
    targets. Each network is trained on standardised targets.

    Parameters
    ----------
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
        learning_rate: tuple[float, float] = (5e-4, 2e-3),
        weight_decay: tuple[float, float] = (1e-3, 0.3),
        dropout: tuple[float, float] = (0.0, 0.2),
        depth: tuple[int, int] = (1, 3),
        width: int = 128,
        bins: str | Sequence[str] = ("quantile", "tree", "none"),
        activation: Any = ("silu", "relu"),
        ema_decay: float | None = 0.99,
        loss: str = "auto",
        encoder: TableEncoder | None = None,
        backend: Any = None,
        device: Any = None,
        random_state: Any = None,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name not in ("self", "__class__")})

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the values (n_samples,) or (n_samples, n_outputs), the mean over the networks.

        return_std : whether to return the standard deviation over the networks too, in units of y.
        """
        each = self._each("predict", X)
        low, high = self.range_
        mean = np.clip(each.mean(axis=0), low, high)
        return (mean, each.std(axis=0)) if return_std else mean

    def _targets(self, where: str, y: Any, n: int) -> np.ndarray:
        values = _values(where, y, n)
        self.range_ = values.min(axis=0), values.max(axis=0)
        return values

    def known_targets(self, where: str, y: Any, n: int) -> np.ndarray:
        """Return y as the metrics take it; see `BaseTabular`."""
        return _values(where, y, n)

    def _of_task(self) -> dict[str, Any]:
        loss = (
            "absolute_error" if self.loss == "auto" and self.metric in ("mae", "neg_mean_absolute_error") else self.loss
        )
        return {"task": "regression", "scale_target": True, "loss": loss}


def _values(where: str, y: Any, n: int) -> np.ndarray:
    """Return numbers (n,) or (n, L)."""
    from sklearn.utils.validation import check_array

    if y is None:
        raise ValueError(f"{where}: requires y to be passed, but the target y is None")
    values = one_axis(check_array(y, ensure_2d=False, dtype=np.float64, input_name="y"), 5)
    if len(values) != n or values.ndim > 2:
        raise ValueError(f"{where}: y must have a number for each of {n} rows, got shape {values.shape}")
    return values
