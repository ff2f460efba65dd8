"""`MLP`: the network that people hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.random import RandomState

from xbackprop import checks, metrics, storage
from xbackprop.activations import Activation
from xbackprop.backend import Array, Backend, Namespace, follow, load, resolve, transfer
from xbackprop.data import Data, dtype_name, read_data
from xbackprop.errors import ConvergenceWarning, DivergenceError, ModelFileError, NotFittedError
from xbackprop.gradients import Gradients
from xbackprop.losses import Loss, linear
from xbackprop.model import Model, make_objective, start_model
from xbackprop.network import Layout
from xbackprop.settings import Settings, changed_settings, read_settings, settings_from_json, settings_to_json
from xbackprop.training import Epoch, print_epoch, train

PREDICT_FLOATS = 2**22  # how many numbers a prediction holds at a time


class MLP(Gradients):
    """A multi-layer perceptron, trained by hand-derived backpropagation on any array library.

    z_l = h_{l-1} W_l + b_l, h_l = f(z_l) for the hidden layers, h_0 = X; the output is softmax(z_L) for a
    classification and z_L for a regression. Training minimises C = loss + α/(2n) Σ‖W_l‖², where the loss is the
    cross-entropy -1/n Σ log p(y) or the squared error 1/n Σ‖z_L - y‖².

    Parameters
    ----------
    hidden_layer_sizes : the widths of the hidden layers; () for none.
    activation : a name out of `xbackprop.ACTIVATIONS`, an `xbackprop.Activation`, or a sequence, one per hidden layer.
    task : "classification" or "regression".
    loss : "auto", the cross-entropy or the squared error, as suits the task; or an `xbackprop.Loss` of your own.
    solver : "adam", or "sgd" with `momentum` and `nesterovs_momentum`.
    alpha : strength of the L2 penalty on the weights.
    batch_size : samples per step; "auto" is min(200, n_samples).
    learning_rate_init : the step size η.
    max_iter : the most epochs.
    momentum, nesterovs_momentum : of SGD.
    beta_1, beta_2, epsilon : of Adam; ε is added to √v as it stands, as in scikit-learn.
    init : a name out of `xbackprop.INITIALIZERS`; "auto" takes He's for the relu family and Glorot's otherwise.
    shuffle : draw a new order of the samples for each epoch.
    tol, n_iter_no_change : stop when more than n_iter_no_change epochs in a row improve the best loss by less than tol.
    backend : "numpy", "torch", "cupy", another installed backend, a `Backend`, or None, which follows the library of X.
    device : as the library names it: "cuda:1" for torch, 0 for CuPy. None is the device of X, or the default one.
    dtype : "float32" or "float64"; None keeps what X brings (integers become float64, half precision float32).
    random_state : a seed, a `RandomState`, or None. The same seed gives the same run on every library, to rounding.
    verbose : print a line per epoch.

    Attributes
    ----------
    coefs_, intercepts_ : W_l (n_in, n_out) and b_l (n_out,), views of θ in the backend's library.
    classes_ : the labels, sorted. loss_curve_ : the loss of every epoch. n_iter_ : the epochs trained.
    n_features_in_, n_outputs_ : widths of input and output. feature_names_in_ : the columns, where X was a frame.

    Raises
    ------
    ValueError : for settings and data that make no sense; the object is left as it was.
    BackendError : for a library or a device that is not there.
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Activation | Sequence[str | Activation] = "relu",
        *,
        task: str = "classification",
        loss: str | Loss = "auto",
        solver: str = "adam",
        alpha: float = 1e-4,
        batch_size: int | str = "auto",
        learning_rate_init: float = 1e-3,
        max_iter: int = 200,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        init: str = "auto",
        shuffle: bool = True,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        backend: str | Backend | None = None,
        device: Any = None,
        dtype: str | None = None,
        random_state: int | RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.task = task
        self.loss = loss
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.init = init
        self.shuffle = shuffle
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.backend = backend
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose
        self._model: Model | None = None
        read_settings("MLP", self)
        if isinstance(backend, str):
            load(backend)  # a missing library is said here, not after the data are loaded

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, callback: Callable[[Epoch], None] | None = None) -> MLP:
        """Train from new starting weights until the loss no longer improves, or for max_iter epochs.

        Parameters
        ----------
        X : (n_samples, n_features), an array of any library, a list or a frame.
        y : (n_samples,) labels; for a regression (n_samples,) or (n_samples, n_outputs) numbers.
        sample_weight : (n_samples,), or None for equal weights.
        callback : called with an `Epoch` after each epoch, in place of what `verbose` prints.
        """
        settings, data, rng = self._begin("MLP.fit", X, y, sample_weight)
        model = start_model(settings, settings_to_json(self), data, rng)
        n = data.X.shape[0]
        with data.backend.scope():
            run = train(
                model.objective,
                settings.optimizer,
                model.theta,
                data.X,
                data.y,
                data.weight,
                batch_size=min(n, settings.batch_size),
                max_iter=settings.max_iter,
                shuffle=settings.shuffle,
                rng=rng,
                tol=settings.tol,
                n_iter_no_change=settings.n_iter_no_change,
                callback=callback or (print_epoch if settings.verbose else None),
            )
        self._set_model(model._replace(theta=run.theta), X)
        self.loss_curve_ = run.loss_curve
        self.n_iter_ = len(run.loss_curve)
        if run.diverged is not None:
            raise DivergenceError(
                f"MLP.fit: the loss or a weight became infinite or NaN in epoch {run.diverged}; the network keeps its "
                f"weights from before that epoch. Try a smaller learning_rate_init than {self.learning_rate_init}, or "
                f"standardise X"
            )
        if not run.converged:
            warnings.warn(
                f"MLP.fit: stopped at max_iter={self.max_iter} before the loss had settled to within tol={self.tol}",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def initialize(self, X: Any, y: Any) -> MLP:
        """Take shapes and classes from the data, and the weights that `fit` would start from; train nothing."""
        settings, data, rng = self._begin("MLP.initialize", X, y)
        self._set_model(start_model(settings, settings_to_json(self), data, rng), X)
        self.loss_curve_ = []
        self.n_iter_ = 0
        return self

    def predict(self, X: Any) -> Array:
        """The label with the largest probability, or the regression's output, in the library and on the device of X.

        Shape (n_samples,); (n_samples, n_outputs) where y had two axes. Text labels come as a NumPy array.
        """
        model = self._fitted("MLP.predict")
        if model.classes is None:
            outputs = self._outputs("MLP.predict", X, linear)
            return outputs[:, 0] if model.vector else outputs
        winners = self._outputs("MLP.predict", X, lambda xp, z: xp.argmax(z, axis=-1))
        home = follow(X)
        if model.classes.dtype.kind not in "biuf":
            return model.classes[home.to_host(winners)]
        return home.xp.take(home.asarray(model.classes), winners, axis=0)

    def predict_proba(self, X: Any) -> Array:
        """softmax(z_L), (n_samples, n_classes), in the library and on the device of X."""
        model = self._fitted("MLP.predict_proba")
        if model.classes is None:
            raise ValueError("MLP.predict_proba: a regression has no probabilities; call predict")
        return self._outputs("MLP.predict_proba", X, model.objective.loss.output)

    def score(self, X: Any, y: Any) -> float:
        """Accuracy, or for a regression R²: see `xbackprop.metrics`."""
        model = self._fitted("MLP.score")
        prediction = self.predict(X)
        prediction = follow(prediction).to_host(prediction)
        if model.classes is not None:
            y = checks.labels("MLP.score", y, prediction.shape[0])
            checks.class_numbers("MLP.score", y, model.classes)
            return metrics.accuracy(y, prediction)
        y = checks.targets("MLP.score", y, prediction.shape[0], self.n_outputs_)
        return metrics.r2(follow(y).to_host(y).astype(np.float64).reshape(prediction.shape), prediction)

    @property
    def coefs_(self) -> list[Array]:
        """W_1 … W_L: views of θ, so that writing into one changes the network, where arrays can be written."""
        return [W for W, _ in self._fitted("MLP.coefs_").layers()]

    @property
    def intercepts_(self) -> list[Array]:
        """b_1 … b_L: views of θ."""
        return [b[0, :] for _, b in self._fitted("MLP.intercepts_").layers()]

    @property
    def classes_(self) -> np.ndarray:
        """The labels, sorted; an AttributeError on a regression."""
        classes = self._fitted("MLP.classes_").classes
        if classes is None:
            raise AttributeError("MLP.classes_: a regression has no classes")
        return classes

    @property
    def n_features_in_(self) -> int:
        """The width of X."""
        return self._fitted("MLP.n_features_in_").objective.layout.sizes[0]

    @property
    def n_outputs_(self) -> int:
        """The width of the output: classes, or regression targets."""
        return self._fitted("MLP.n_outputs_").objective.layout.sizes[-1]

    def save(self, path: str | PathLike[str]) -> None:
        """Write a safetensors file: the weights, and the configuration as JSON in its metadata. Atomic, no pickle."""
        model = self._fitted("MLP.save")
        layers = [tuple(map(model.objective.backend.to_host, layer)) for layer in model.layers()]
        fitted = {
            "classes": None if model.classes is None else storage.pack_labels(model.classes),
            "vector": model.vector,
            "feature_names": self.feature_names_in_,
            "loss_curve": self.loss_curve_,
        }
        storage.save(path, layers, {"settings": model.settings, "fitted": fitted})

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        backend: str | Backend | None = None,
        device: Any = None,
        activations: Sequence[Activation] = (),
        losses: Sequence[Loss] = (),
    ) -> MLP:
        """A network from a file that `save` wrote, whatever backend wrote it.

        backend, device : where it is to live; NumPy if none is named.
        activations, losses : the user's own that the network was trained with, found by their names.
        """
        home = resolve(backend or "numpy", device)
        layers, configuration = storage.load(path)
        settings = settings_from_json(path, configuration["settings"], activations, losses)
        try:
            net = cls(**settings, backend=backend, device=device)
            fitted = configuration["fitted"]
            classes = None if fitted["classes"] is None else storage.unpack_labels(fitted["classes"])
            vector, net.feature_names_in_ = fitted["vector"], fitted["feature_names"]
            net.loss_curve_ = fitted["loss_curve"]
            n_outputs = layers[-1][0].shape[1]
            expected = None if net.task == "regression" else n_outputs
            if (None if classes is None else len(classes)) != expected:
                raise ValueError(f"{n_outputs} outputs of a {net.task}, and the classes {classes}")
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"MLP.load: {path} has a configuration that makes no sense: {error!r}") from error
        layout = Layout([layers[0][0].shape[0], *(W.shape[1] for W, _ in layers)])
        theta = home.asarray(layout.flatten(np, layers))
        objective = make_objective(read_settings("MLP.load", net), home, layout)
        net._model = Model(objective, theta, classes, vector, configuration["settings"])
        net.n_iter_ = len(net.loss_curve_)
        return net

    def __repr__(self) -> str:
        return f"MLP({', '.join(f'{name}={value!r}' for name, value in changed_settings(self).items())})"

    def _begin(self, where: str, X: Any, y: Any, sample_weight: Any = None) -> tuple[Settings, Data, RandomState]:
        """Everything that a new network is made from, checked before anything is changed."""
        settings = read_settings(where, self)
        backend = resolve(self.backend, self.device, like=X)
        data = read_data(where, backend, settings.task, self.dtype, checks.table(where, X), y, sample_weight)
        return settings, data, settings.rng()

    def _same(self, where: str, X: Any, y: Any, sample_weight: Any, dtype: str | None = None) -> Data:
        """X, y and weights as the network has them already: its backend, widths, classes and dtype."""
        model = self._fitted(where)
        X = checks.table(where, X, self.n_features_in_, self.feature_names_in_)
        backend, dtype = model.objective.backend, dtype or dtype_name(model.theta)
        task = "regression" if model.classes is None else "classification"
        return read_data(where, backend, task, dtype, X, y, sample_weight, model.classes, self.n_outputs_)

    def _set_model(self, model: Model, X: Any) -> None:
        self._model = model
        self.feature_names_in_ = checks.feature_names(X)

    def _fitted(self, where: str) -> Model:
        if self._model is None:
            raise NotFittedError(f"{where}: the network has no weights yet; call fit or initialize first")
        return self._model

    def _outputs(self, where: str, X: Any, function: Callable[[Namespace, Array], Array]) -> Array:
        """function(z_L) for the rows of X, a bounded number of them at a time, where X lives."""
        model = self._fitted(where)
        objective, backend = model.objective, model.objective.backend
        X = checks.table(where, X, self.n_features_in_, self.feature_names_in_)
        home = follow(X)
        rows = max(1, PREDICT_FLOATS // (2 * sum(objective.layout.sizes)))
        chunks = []
        with backend.scope():
            for start in range(0, X.shape[0], rows):
                stop = min(start + rows, X.shape[0])
                chunk = transfer(X[start:stop, :], home, backend, dtype_name(model.theta))
                z = objective.forward(model.theta, chunk).z[-1]
                chunks.append(function(backend.xp, z))
            outputs = backend.xp.concat(chunks) if len(chunks) > 1 else chunks[0]
        return transfer(outputs, backend, home)
