"""`FittedEstimator`: predictions of an estimator, and the attributes that scikit-learn's have once they are fitted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from xbackprop.arrays.backend import Array, is_sparse
from xbackprop.arrays.discovery import library_of
from xbackprop.data.on_disk import is_in_memory
from xbackprop.mlp import prediction
from xbackprop.mlp.exports import Exports
from xbackprop.mlp.mlp import MLP
from xbackprop.mlp.model import Model
from xbackprop.training.loop import Epoch


def one_axis(y: Any, stacklevel: int) -> Any:
    """Return y without its second axis if that has a single column, and warn, as scikit-learn does."""
    if y.ndim != 2 or y.shape[1] != 1:
        return y
    warnings.warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
        "(n_samples, ), for example using ravel().",
        DataConversionWarning,
        stacklevel=stacklevel,
    )
    return y[:, 0]


def gaps_of(y: Any) -> np.ndarray | None:
    """Return which targets are NaN, for y (n, n_outputs) of several outputs on the host; None where none is."""
    if is_sparse(y) or not hasattr(y, "ndim") or y.ndim != 2 or y.shape[1] < 2:
        return None
    values = np.asarray(y)
    try:
        gaps = np.isnan(values.astype(np.float64, copy=False))
    except (TypeError, ValueError):  # no numbers: scikit-learn's check says so
        return None
    return gaps if gaps.any() else None


def print_epoch(epoch: Epoch) -> None:
    """Print what scikit-learn's networks print with `verbose`."""
    print(f"Iteration {epoch.number}, loss = {epoch.loss:.8f}")
    if epoch.score is not None:
        print(f"Validation score: {epoch.score:f}")


def has_settled_on_numbers(model: Model) -> bool:
    """Return whether the weights that training keeps are finite, and the loss or the score that they were kept for."""
    progress, xp = model.progress, model.backend.xp
    kept = [progress.best_score] if progress.best_theta is not None else progress.loss_curve[-1:]
    return bool(np.all(np.isfinite(kept))) and bool(xp.all(xp.isfinite(model.theta)))


class FittedEstimator(Exports, BaseEstimator):
    """An estimator around an `MLP` with weights, `network_`."""

    network_: MLP
    _library: str
    n_features_in_: int

    def predict(self, X: Any) -> Array:
        """Predict labels, or numbers, for the rows of X, in the library and on the device of X."""
        return self._predicted(prediction.predict, "predict", X)

    def _score_on_device(self, X: Any, y: Any, sample_weight: Any) -> float:
        """Return the score for an X that is not on the host, computed where it is."""
        check_is_fitted(self)
        return self.network_.score(X, one_axis(y, 4) if hasattr(y, "ndim") else y, sample_weight)

    def models_(self, where: str) -> list[Model]:
        """Return the networks as `Model`s; NotFittedError if there is none yet."""
        check_is_fitted(self)
        return self.network_.models_(where)

    @property
    def networks_(self) -> list[MLP]:
        """The networks of an ensemble, each an `MLP`; of a single network, that one."""
        return self.network_.networks_

    @property
    def stop_reason_(self) -> str:
        """Why training ended: "max_iter", "converged", "interrupted", or what a callback said."""
        return self.network_.stop_reason_

    @property
    def loss_curve_(self) -> list[float]:
        """The loss of each epoch, as a list of the caller's own."""
        return self.network_.loss_curve_

    @property
    def coefs_(self) -> list[Array]:
        """W_1 … W_L (n_in, n_out): views, writing into which changes the network."""
        return self.network_.coefs_

    @coefs_.setter
    def coefs_(self, arrays: list[Array]) -> None:
        self.network_.coefs_ = arrays

    @property
    def intercepts_(self) -> list[Array]:
        """b_1 … b_L (n_out,): views, writing into which changes the network."""
        return self.network_.intercepts_

    @intercepts_.setter
    def intercepts_(self, arrays: list[Array]) -> None:
        self.network_.intercepts_ = arrays

    def _predicted(self, function: Callable[..., Any], method: str, X: Any, **options: Any) -> Any:
        """Call a function of `mlp.prediction` for the rows of X, checked as scikit-learn checks them."""
        name = type(self).__name__
        check_is_fitted(self)
        if get_config()["array_api_dispatch"] and library_of(X) != self._library:
            raise ValueError(
                f"Inputs passed to {name}.{method}() must use the same namespace and the same device as "
                f"those passed to fit(): {self._library}, got {library_of(X)}"
            )
        host = is_in_memory(X)
        if host and not self._is_plain(X):
            X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False)
        return function(name, self.network_.models_(name), X, known_finite=host, **options)

    def _is_plain(self, X: Any) -> bool:
        """Return whether X is such an array that scikit-learn's checks would return it as it is."""
        usual = type(X) is np.ndarray and X.dtype in (np.float64, np.float32) and X.ndim == 2 and len(X) > 0
        if not usual or X.shape[1] != self.n_features_in_ or hasattr(self, "feature_names_in_"):
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isfinite(X.sum()))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")
