"""`MLPRegressor`: scikit-learn's regressor, on any array library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

from xbackprop.arrays.backend import Backend, is_host_array
from xbackprop.estimators.base import (
    Perceptron,
    RegressorMixin,
    check_is_fitted,
)
from xbackprop.nn.activations import Activation
from xbackprop.nn.losses import Loss


class MLPRegressor(RegressorMixin, Perceptron):
    """A regressor with the parameters, the attributes and the results of `sklearn.neural_network.MLPRegressor`.

    Parameters
    ----------
    loss : "squared_error", ½‖z - y‖², and "poisson", half the deviance, as scikit-learn's; "mean_squared_error", the
        paper's; "absolute_error", "huber", "quantile"; or an `xbackprop.Loss`.
    hidden_layer_sizes … max_fun : scikit-learn's. `activation`, `solver` and `learning_rate` take what `MLP` takes.
    quantile, l1_ratio, weight_decay, dropout, clip_norm, checkpoint_activations, rho, step_epochs, step_factor,
    warmup, checkpoint, checkpoint_epochs, checkpoint_minutes, resume, backend, device, threads, dtype : `MLP`'s.
    scoring : of early stopping: None for R², "loss", or any scorer of scikit-learn, by name or as a function.
    init : "sklearn", U(±√(6/(n_in + n_out))) for weights and biases; or as in `MLP`.

    Attributes
    ----------
    scikit-learn's; `network_`, the `MLP` inside; `validation_loss_curve_`.

    Raises
    ------
    ValueError : for parameters and data that make no sense, and for weights that are no longer finite.
    """

    _task = "regression"

    def __init__(
        self,
        loss: str | Loss = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Activation | Sequence[str | Activation] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Callable[[float, int], float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        quantile: float = 0.5,
        scoring: str | Callable | None = None,
        init: str = "sklearn",
        l1_ratio: float = 0.0,
        weight_decay: float | str = "auto",
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        checkpoint_activations: int | str | None = None,
        rho: float = 0.9,
        step_epochs: int = 10,
        step_factor: float = 0.1,
        warmup: float = 0.0,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_epochs: int = 1,
        checkpoint_minutes: float | None = None,
        resume: bool = False,
        backend: str | Backend | None = None,
        device: Any = None,
        threads: int | None = None,
        dtype: str | None = None,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R²."""
        if is_host_array(X):
            return super().score(X, y, sample_weight)
        check_is_fitted(self)
        return self.network_.score(X, y, sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
