"""`FromScikitLearn`: estimators made of scikit-learn's own, weights and all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from xbackprop.data.scaling import Scaling
from xbackprop.errors import ExportError
from xbackprop.mlp.mlp import MLP, hold

THEIRS: dict[str, type] = {"classification": MLPClassifier, "regression": MLPRegressor}


class FromScikitLearn(BaseEstimator):
    """The way back from `to_sklearn`."""

    _task: str
    feature_names_in_: np.ndarray

    @classmethod
    def from_sklearn(cls, estimator: Any, **settings: Any) -> Self:
        """Return a fitted estimator with the weights, the settings and the loss curve of scikit-learn's.

        Parameters
        ----------
        estimator : scikit-learn's fitted network of the same kind, or a `Pipeline` of a `StandardScaler` and one, which
            becomes `scale_inputs`.
        settings : parameters that it lacks, such as `backend`, or that are to be others.

        Raises
        ------
        ExportError : for anything else; it names what came.
        """
        where = f"{cls.__name__}.from_sklearn"
        scaler, theirs = _parts(where, estimator, THEIRS[cls._task])
        check_is_fitted(theirs)
        names = cls().get_params()
        given = {name: value for name, value in theirs.get_params().items() if name in names}
        scaled = {} if scaler is None else {"scale_inputs": True}
        ours = cls(**{**given, **scaled, **settings})
        return ours._with_weights_of(theirs, scaler)

    def _with_weights_of(self, theirs: Any, scaler: Any) -> Self:
        """Take over the weights of a network, and the scale of its inputs."""
        settings = self._network_settings()
        network = MLP(**settings).initialize(*_samples(theirs))
        network.coefs_, network.intercepts_ = theirs.coefs_, theirs.intercepts_
        model = network.model_
        for loss in getattr(theirs, "loss_curve_", []):
            model.progress.loss_curve.append(loss)
        names = getattr(theirs if scaler is None else scaler, "feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = names
            model = model._replace(feature_names=[str(name) for name in names])
        if scaler is not None:
            model = model._replace(inputs=Scaling(scaler.mean_.copy(), scaler.scale_.copy()))
        self._publish(hold(settings, model, theirs.n_iter_), model.backend.library)
        return self

    def _network_settings(self) -> dict[str, Any]:
        raise NotImplementedError

    def _publish(self, network: MLP, library: str) -> None:
        raise NotImplementedError


def _parts(where: str, estimator: Any, kind: type) -> tuple[Any, Any]:
    """Return the scaler, or None, and the network."""
    steps = [one for _, one in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
    match steps:
        case [network] if isinstance(network, kind):
            return None, network
        case [StandardScaler() as scaler, network] if isinstance(network, kind):
            if not (scaler.with_mean and scaler.with_std):
                raise ExportError(f"{where}: the StandardScaler must have with_mean=True and with_std=True")
            return scaler, network
    came = " and ".join(type(one).__name__ for one in steps)
    raise ExportError(
        f"{where}: expected scikit-learn's {kind.__name__}, or a Pipeline of StandardScaler and it, got {came}"
    )


def _samples(theirs: Any) -> tuple[np.ndarray, Any]:
    """Return rows from which a network takes the shapes and the classes."""
    n_in, n_out = theirs.coefs_[0].shape[0], theirs.coefs_[-1].shape[1]
    dtype = theirs.coefs_[0].dtype
    y: Sequence[Any] | np.ndarray
    if not hasattr(theirs, "classes_"):
        y = np.zeros((2, n_out))[:, 0] if n_out == 1 else np.zeros((2, n_out))
    elif theirs.out_activation_ == "logistic" and n_out > 1:  # labels in columns
        y = np.array([[0] * n_out, [1] * n_out])
    else:
        y = theirs.classes_
    return np.zeros((len(y), n_in), dtype=dtype), y
