"""What scikit-learn's contract asks of an estimator, around an `MLP`; the estimators themselves are in `estimators`.

They take scikit-learn's parameters in scikit-learn's order, then those of `MLP`. With the
same `random_state` they start from the same weights, draw the same random numbers in the same order, and go the same
way. The network itself is in `network_`, an `MLP` with all its tools: gradients, verification, files.

scikit-learn is imported here, and nowhere else in the library but for `datasets`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from os import PathLike
from types import SimpleNamespace
from typing import Any, Self

import numpy as np

try:
    from sklearn import get_config
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
    from sklearn.metrics import get_scorer
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "xbackprop's estimators need scikit-learn, which is not installed: pip install 'xbackprop[sklearn]'"
    ) from error

from xbackprop.arrays.backend import Array, is_host_array, is_sparse
from xbackprop.arrays.discovery import library_of, on_host
from xbackprop.data import tables
from xbackprop.data.dataset import pick
from xbackprop.mlp.fitting import Split
from xbackprop.mlp.mlp import MLP
from xbackprop.mlp.settings import read_settings
from xbackprop.training.loop import Epoch

__all__ = [
    "ClassifierMixin", "Perceptron", "RegressorMixin", "_check_partial_fit_first_call", "available_if",
    "check_is_fitted", "step_by_step",
]  # fmt: skip

_DEFAULTS = {name: p.default for name, p in inspect.signature(MLP).parameters.items()}
_OUTPUTS = {"softmax": "softmax", "logistic": "logistic", "linear": "identity", "exponential": "exp"}
#: scikit-learn's schedules, which it applies to sgd alone.
_OF_SGD = ("invscaling", "adaptive")


def step_by_step(estimator: Any) -> bool:
    """Whether its solver is one for `partial_fit`; an AttributeError where it is not."""
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


def _print_epoch(epoch: Epoch) -> None:
    print(f"Iteration {epoch.number}, loss = {epoch.loss:.8f}")
    if epoch.score is not None:
        print(f"Validation score: {epoch.score:f}")


class Perceptron(BaseEstimator):
    """What the classifier and the regressor share."""

    _task: str
    network_: MLP

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, callback: Callable[[Epoch], None] | None = None
    ) -> Self:
        """Train from new starting weights, or with `warm_start` on from where the network is.

        Parameters
        ----------
        X : (n_samples, n_features): an array of any library, a frame, a sparse matrix.
        y : labels (n_samples,), or 0 and 1 (n_samples, n_labels); or numbers (n_samples,) or (n_samples, n_outputs).
        sample_weight : (n_samples,), or None for equal weights.
        callback : called with an `xbackprop.training.Epoch` after each epoch.
        """
        again = self.warm_start and hasattr(self, "network_")
        X, y, sample_weight = self._validated(X, y, sample_weight, reset=not again)
        if again and self._task == "classification":
            self._check_same_classes(y)
        network = self._network(again)
        return self._train(network, X, y, sample_weight, go_on=again, callback=callback)

    @available_if(step_by_step)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch, on from where the network is."""
        return self._partial_fit(X, y, sample_weight)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        again = hasattr(self, "network_")
        X, y, sample_weight = self._validated(X, y, sample_weight, reset=not again)
        network = self._network(again)
        if again:  # scikit-learn's random numbers start anew with every call
            progress = network._fitted("partial_fit").progress
            progress.rng, progress.order = check_random_state(self.random_state), None
        return self._train(network, X, y, sample_weight, go_on=True, classes=classes, epochs=1)

    def predict(self, X: Any) -> Array:
        """The labels, or the numbers, for the rows of X, in the library and on the device of X."""
        X = self._table(X, "predict")
        return self.network_._predict(X)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a safetensors file, as `MLP.save`: no pickle, readable by every backend, and by `MLP.load` too."""
        check_is_fitted(self)
        self.network_.save(path)

    @classmethod
    def load(cls, path: str | PathLike[str], **options: Any) -> Self:
        """An estimator from a file that `save` wrote; the options are those of `MLP.load`."""
        network = MLP.load(path, **options)
        if network.task != cls._task:
            raise ValueError(f"{cls.__name__}.load: {path} has a {network.task}")
        estimator = cls(**{name: getattr(network, name) for name in cls().get_params()})
        estimator.network_ = network
        estimator._library = network._fitted(cls.__name__).objective.backend.library
        if network.feature_names_in_ is not None:
            estimator.feature_names_in_ = np.array(network.feature_names_in_, dtype=object)
        estimator._publish()
        return estimator

    def _settings(self) -> dict[str, Any]:
        """The parameters as those of `MLP`."""
        given = self.get_params(deep=False)
        sgd = self.solver == "sgd"
        learning_rate = "constant" if self.learning_rate in _OF_SGD and not sgd else self.learning_rate
        scoring = self.scoring if self.scoring == "loss" else None
        own = {"task": self._task, "learning_rate": learning_rate, "scoring": scoring}
        if self.random_state is None:
            own["random_state"] = check_random_state(None)  # the global one, which np.random.seed sets
        if isinstance(self.scoring, str) and self.scoring != "loss":
            get_scorer(self.scoring)  # an unknown name is said here
        settings = {**given, **own}
        read_settings(type(self).__name__, SimpleNamespace(**{**_DEFAULTS, **settings}))
        return settings

    def _network(self, again: bool) -> MLP:
        """The network as it is, or a new one, with the parameters as they are now."""
        settings = self._settings()
        if not again:
            return MLP(**settings)
        vars(self.network_).update(settings)
        return self.network_

    def _train(self, network: MLP, X: Any, y: Any, sample_weight: Any, **how: Any) -> Self:
        """Train the network, and publish what came of it."""
        where = f"{type(self).__name__}.fit"
        split = self._split(X, y) if self.early_stopping and "epochs" not in how else None
        score = self._scorer(network, X, y) if split else None
        if how.get("callback") is None and self.verbose:
            how["callback"] = _print_epoch
        n = X.shape[0]
        if isinstance(self.batch_size, int) and self.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=3
            )
        before = dict(vars(self))
        try:
            end = network._fit(where, X, y, sample_weight, split=split, score=score, infinite_loss=True, **how)
        except BaseException:  # a scorer has seen networks that are not to stay
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        if hasattr(self, "feature_names_in_"):  # the network has seen an array
            network.feature_names_in_ = [str(name) for name in self.feature_names_in_]
        self.network_ = network
        self._library = library_of(X)
        self._publish()
        xp, theta = network._model.objective.backend.xp, network._model.theta  # type: ignore[union-attr]
        if not bool(xp.all(xp.isfinite(theta))):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be"
                " preprocessed."
            )
        if end == "interrupted":
            warnings.warn("Training interrupted by user.", stacklevel=3)
        if end == "max_iter" and "epochs" not in how:
            what = f"lbfgs failed to converge: {network._words}" if self.solver == "lbfgs" else "Stochastic Optimizer"
            warnings.warn(
                f"{what}: Maximum iterations ({self.max_iter}) reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _publish(self) -> None:
        """scikit-learn's attributes."""
        network = self.network_
        model = network._fitted(type(self).__name__)
        progress = model.progress
        self.n_features_in_ = network.n_features_in_
        self.n_outputs_, self.n_iter_ = network.n_outputs_, network.n_iter_
        self.n_layers_, self.t_ = len(network.coefs_) + 1, progress.samples
        self.out_activation_ = _OUTPUTS.get(model.objective.loss.output.__name__, "custom")
        self.loss_curve_, self.loss_ = network.loss_curve_, (network.loss_curve_ or [np.inf])[-1]
        stopping = self.early_stopping and self.solver != "lbfgs"
        self.best_loss_ = None if stopping else progress.plateau.best
        self.validation_scores_ = list(progress.validation_scores) if stopping else None
        self.validation_loss_curve_ = list(progress.validation_losses) if stopping else None
        self.best_validation_score_ = progress.best_score if stopping else None

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

    def _table(self, X: Any, method: str) -> Any:
        """X for a prediction."""
        check_is_fitted(self)
        if get_config()["array_api_dispatch"] and library_of(X) != self._library:
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same device as "
                f"those passed to fit(): {self._library}, got {library_of(X)}"
            )
        if not is_host_array(X):
            return tables.feature_table(type(self).__name__, X, self.n_features_in_)
        return validate_data(self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False)

    def _validated(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[Any, Any, Any]:
        """X, y and weights: by scikit-learn's checks where they are on the host, else by ours, where they are."""
        if is_host_array(X):
            X, y = validate_data(
                self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=(np.float64, np.float32),
                y_numeric=self._task == "regression", reset=reset,
            )  # fmt: skip
            if sample_weight is not None:
                sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        else:
            X = tables.feature_table(type(self).__name__, X, None if reset else self.n_features_in_)
            y = np.asarray(y) if is_host_array(y) else y
            self.n_features_in_ = X.shape[1]
        if is_sparse(y):
            y = y.toarray()
        if y.ndim == 2 and y.shape[1] == 1:
            warnings.warn(
                "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
                "(n_samples, ), for example using ravel().",
                DataConversionWarning,
                stacklevel=4,
            )
            y = y[:, 0]
        if self._task == "classification":
            check_classification_targets(on_host(y))
        return X, y, sample_weight

    def _split(self, X: Any, y: Any) -> Split:
        """scikit-learn's split, stratified for two classes, on the numbers of the rows."""

        def split(rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
            labels = on_host(y)
            two_classes = self._task == "classification" and labels.ndim == 1 and len(np.unique(labels)) == 2
            stratify = (labels == np.unique(labels)[1])[:, None] if two_classes else None  # as scikit-learn has them
            rows = np.arange(X.shape[0])
            kept, held_out = train_test_split(
                rows, random_state=rng, test_size=self.validation_fraction, stratify=stratify
            )
            if len(held_out) < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
                )
            return kept, held_out

        return split

    def _check_same_classes(self, y: Any) -> None:
        """For warm_start."""
        labels = on_host(y)
        classes = np.unique(labels) if labels.ndim == 1 else np.arange(labels.shape[1])
        if set(classes.tolist()) != set(self.network_.classes_.tolist()):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.network_.classes_}, `y` has {classes}"
            )

    def _scorer(self, network: MLP, X: Any, y: Any) -> Callable[[], float] | None:
        """The score of the held-out rows by a scorer of scikit-learn's; None for the network's own."""
        if self.scoring is None or self.scoring == "loss":
            return None
        scorer = get_scorer(self.scoring) if isinstance(self.scoring, str) else self.scoring

        def score() -> float:
            rows = network._fitted("scoring").progress.held_out
            assert rows is not None
            self.network_ = network
            self._publish()
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "X does not have valid feature names")  # they have been taken off
                return scorer(self, pick(X, rows), pick(y, rows))

        return score

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        return tags
