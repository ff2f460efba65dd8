"""`MLP`: the network class for users; its methods call the functions on `Model`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Backend
from xbackprop.arrays.discovery import backend_class, get_backend
from xbackprop.callbacks.protocol import Callback
from xbackprop.data.dataset import Data, pick
from xbackprop.data.stream import read_stream
from xbackprop.distributed.communicator import Communicator
from xbackprop.mlp import model_file
from xbackprop.mlp.early_stopping import Score
from xbackprop.mlp.exports import from_network
from xbackprop.mlp.fitted_network import FittedNetwork
from xbackprop.mlp.fitting import Fitting, fit, report
from xbackprop.mlp.many import ensemble
from xbackprop.mlp.many.fit_many import fit_ensemble
from xbackprop.mlp.many.tasks import Trainable
from xbackprop.mlp.model import Model, start_model
from xbackprop.mlp.run import FitResult, result_of
from xbackprop.mlp.setting_table import defaults_of, parameters_in_words
from xbackprop.mlp.settings import Settings, read_settings
from xbackprop.mlp.watching import watching
from xbackprop.nn.activations import Activation
from xbackprop.nn.losses import Loss
from xbackprop.training.loop import Epoch

DEFAULTS = defaults_of()


class MLP(FittedNetwork):
    """A multi-layer perceptron, trained by hand-derived backpropagation on any array library.

    z_l = h_{l-1} W_l + b_l and h_l = f(z_l) for the hidden layers, h_0 = X; the loss includes the output's function.
    Training minimises C = loss + α/n Σ_l [(1-ρ)/2 ‖W_l‖² + ρ Σ|W_l|], where the loss is by default the cross-entropy
    -1/n Σ log p(y) or the squared error 1/n Σ‖z_L - y‖².

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    coefs_, intercepts_ : the weights W_1, …, W_L (n_in, n_out) and biases b_1, …, b_L (n_out,), in the backend's
        library: views of the parameter vector θ. Assigning lists of arrays replaces them.
    classes_ : the class labels, sorted, in the order of the columns of `predict_proba`.
    loss_curve_, n_iter_ : the loss of each epoch, penalty included; the number of epochs of the last call of `fit`.
    stop_reason_ : why training ended: "max_iter", "converged", "interrupted", or what a callback said.
    validation_scores_, validation_loss_curve_ : with `early_stopping`, of the held-out samples after each epoch.
    networks_ : the networks of an ensemble, each an `MLP`; weights, curves and derivatives are theirs.
    n_features_in_, n_outputs_, feature_names_in_ : the widths of input and output; the columns' names of a frame X.

    Raises
    ------
    ValueError : for settings and data that are not valid; the object is left as it was.
    BackendError : for a library or a device that is not available.

    Examples
    --------
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> MLP((8,), learning_rate_init=0.05, random_state=0).fit(X, y).predict(X)
    array([0, 1, 1, 0])
    """

    task: str
    max_iter: int
    learning_rate_init: float
    early_stopping: bool
    warm_start: bool
    n_networks: int
    _networks: tuple[MLP, ...]
    n_iter_: int

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Activation | Sequence[str | Activation] = "relu",
        *,
        task: str = "classification",
        loss: str | Loss = "auto",
        quantile: float | Sequence[float] = 0.5,
        label_smoothing: float = 0.0,
        class_weight: str | Mapping | None = None,
        soft_targets: bool = False,
        scale_inputs: bool = False,
        scale_target: bool = False,
        solver: str = "adam",
        alpha: float = 1e-4,
        l1_ratio: float = 0.0,
        weight_decay: float | str = "auto",
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        ema_decay: float | None = None,
        checkpoint_activations: int | str | None = None,
        batch_size: int | str = "auto",
        learning_rate: str | Callable[[float, int], float] = "constant",
        learning_rate_init: float = 1e-3,
        power_t: float = 0.5,
        step_epochs: int = 10,
        step_factor: float = 0.1,
        warmup: float = 0.0,
        max_iter: int = 200,
        max_fun: int = 15000,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        rho: float = 0.9,
        epsilon: float = 1e-8,
        init: str = "auto",
        shuffle: bool | str = True,
        tol: float = 1e-4,
        n_iter_no_change: float = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        scoring: str | Callable | None = None,
        n_networks: int = 1,
        warm_start: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_epochs: int = 1,
        checkpoint_minutes: float | None = None,
        checkpoint_required: bool = False,
        resume: bool = False,
        backend: str | Backend | None = None,
        device: Any = None,
        threads: int | None = None,
        communicator: str | Communicator | None = None,
        shard: bool = False,
        dtype: str | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})
        self._model: Model | None = None
        read_settings("MLP", vars(self))
        if isinstance(backend, str):
            backend_class(backend)  # a missing library is reported here, not after the data are loaded

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        callback: Callable[[Epoch], None] | None = None,
        callbacks: Sequence[Callback] = (),
        validation_data: tuple[Any, ...] | None = None,
    ) -> MLP:
        """Train until the loss no longer improves, or for max_iter epochs.

        Training begins with new starting weights; with `warm_start` it goes on from the present ones, as one run.

        Parameters
        ----------
        X : (n_samples, n_features), an array of any library, a list, a frame or a sparse matrix.
        y : (n_samples,) labels, or (n_samples, n_labels) of 0 and 1; for a regression (n_samples,) or (n_samples,
            n_outputs) numbers.
        sample_weight : (n_samples,), or None for equal weights.
        callback : called with an `Epoch` after each epoch, instead of the lines that `verbose` prints.
        callbacks : objects of `xbackprop.callbacks`, which watch, log and stop the training of a single network.
        validation_data : ``(X, y)`` or ``(X, y, sample_weight)``, on which early stopping scores the network, in place
            of rows held out of X.

        If anything raises, also the callback or the scoring function, the network is as it was before the call.
        Ctrl-C ends training with a warning; the network keeps the weights of its last whole epoch.

        Raises
        ------
        DivergenceError : if the loss or a weight became infinite or NaN; the weights are those of the epoch before. A
            network of an ensemble is named in a warning instead.
        """
        watch = watching("MLP.fit", callbacks, validation_data)
        if self.n_networks > 1:
            fit_ensemble("MLP.fit", self, (X, y, sample_weight), callback, watch)
            return self
        call = self._fitting(self._settings("MLP.fit"), X, y, sample_weight, callback)
        result = fit(*call.arguments, **{**call.options, **watch})
        call.finish(result)
        where, settings, *_ = call.arguments
        report(where, settings, result)
        return self

    def fit_stream(
        self,
        chunks: Callable[[], Iterable[Any]],
        *,
        callback: Callable[[Epoch], None] | None = None,
        callbacks: Sequence[Callback] = (),
        validation_data: tuple[Any, ...] | None = None,
    ) -> MLP:
        """Train on a table that comes in chunks, as `fit` trains on all of them together with `shuffle=False`.

        Parameters
        ----------
        chunks : a function that returns an iterable of (X, y) or (X, y, sample_weight), equal at each call: of row
            groups of Parquet, a query, a generator. It is called once to read y and the shapes, once more with
            `scale_inputs`, and then for each epoch. Batches are full whatever the chunks' sizes.
        callback, callbacks, validation_data : as in `fit`; early stopping needs `validation_data` here.

        Raises
        ------
        ValueError : for a stream that yields nothing, changes its width or ends early; it says where.
        """
        where = "MLP.fit_stream"
        watch = watching(where, callbacks, validation_data)
        settings = read_settings(where, {**vars(self), "shuffle": False})
        if self.n_networks > 1:
            raise ValueError(f"{where}: a stream trains one network, got n_networks={self.n_networks}")
        if self.early_stopping and validation_data is None:
            raise ValueError(
                f"{where}: early_stopping needs validation_data, since no rows can be held out of a stream"
            )
        call = self._fitting(settings, *read_stream(where, chunks), callback, where)
        result = fit(*call.arguments, **{**call.options, **watch})
        call.finish(result)
        report(where, settings, result)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLP:
        """Train for one epoch from the present weights, or from new ones in the first call.

        classes : all the classes, needed in the first call if its y lacks some.
        """
        where, settings = "MLP.partial_fit", self._settings("MLP.partial_fit")
        if settings.lbfgs or settings.plan.early_stopping:
            raise ValueError(f"{where}: cannot be used with solver 'lbfgs' or with early_stopping")
        if self.n_networks > 1:
            networks = [copy.copy(net) for net in self._networks or self._members()]
            self._assemble([net.partial_fit(X, y, sample_weight, classes) for net in networks])
            return self
        result = fit(where, settings, self._model, X, y, sample_weight, classes=classes, epochs=1)
        self._assign(result)
        if result.stop_reason == "diverged":
            report(where, settings, result)
        return self

    def initialize(self, X: Any, y: Any) -> MLP:
        """Take shapes and classes from the data and draw the weights that `fit` would start from, without training."""
        if self.n_networks > 1:
            self._assemble([net.initialize(X, y) for net in self._members()])
            return self
        settings = self._settings("MLP.initialize")
        model, _ = start_model("MLP.initialize", settings, settings.rng(), X, y)
        self._assign(result_of(model))
        return self

    def save(self, path: str | PathLike[str]) -> None:
        """Write a safetensors file atomically: weights and settings, no pickle; a warning names functions left out."""
        model_file.save("MLP.save", path, self.models_("MLP.save"), vars(self))

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
        """Read a network from a file that `save` wrote, on any backend.

        Parameters
        ----------
        backend, device : the backend and the device to put it on; by default NumPy.
        activations, losses : your own activations and losses that the network was trained with, found by name.

        Raises
        ------
        ModelFileError : for a file that is damaged, or not xbackprop's.
        """
        home = get_backend(backend or "numpy", device)
        networks = []
        for given, model in model_file.read_models("MLP.load", path, home, activations, losses):
            net = cls(**given, backend=backend, device=device)
            net._model, net.n_iter_ = model, len(model.progress.loss_curve)
            networks.append(net)
        return networks[0] if len(networks) == 1 else hold_ensemble(vars(networks[0]), networks)

    @classmethod
    def from_torch(cls, module: Any, *, task: str = "auto", loss: str = "auto", classes: Any = None) -> MLP:
        """Return the network that a torch module is: Linear, activations and Dropout in `nn.Sequential`s.

        Parameters
        ----------
        module : it ends with logits, or with the Softmax or Sigmoid of them. Its weights are copied.
        task, loss : as `MLP` takes them. "auto" is a regression, with `classes` or a Softmax at the end a
            classification; and a Sigmoid at the end makes the loss "binary_cross_entropy".
        classes : the labels in the order of the outputs, two of them for a single output; by default 0, 1, ….

        Raises
        ------
        ExportError : for a module that is no multi-layer perceptron; it names the layer.
        """
        from xbackprop.export.torch_modules import from_torch

        return from_network(cls, "MLP.from_torch", *from_torch("MLP.from_torch", module), task, loss, classes)

    def __repr__(self) -> str:
        texts = {name: repr(getattr(self, name)) for name in DEFAULTS}
        return f"MLP({', '.join(f'{name}={text}' for name, text in texts.items() if text != repr(DEFAULTS[name]))})"

    def _settings(self, where: str) -> Settings:
        """Check the settings, and return them."""
        return read_settings(where, vars(self))

    def __trainable__(self, where: str) -> Trainable:
        """Return the network as `fit_many` sees it."""
        settings = self._settings(where)
        return Trainable(
            settings,
            start=self._start(),
            fitting=partial(self._fitting, settings),
            progress=lambda: self._fitted(where).progress,
            members=self._members,
            assemble=self._assemble,
        )

    def _start(self) -> Model | None:
        """Return the network to train further, or None to begin with a new one."""
        return self._model if self.warm_start else None

    def _fitting(
        self, settings: Settings, X: Any, y: Any, sample_weight: Any, callback: Any, where: str = "MLP.fit"
    ) -> Fitting:
        """Return a call of `fit` in its parts."""
        options = {"score": self._score(settings, X, y), "callback": callback, "network": self._with}
        return Fitting((where, settings, self._start(), X, y, sample_weight), options, self._assign)

    def _members(self) -> list[MLP]:
        """Return the networks of an ensemble, new or to be trained further; [] for a single network."""
        if self.n_networks == 1:
            return []
        own = {name: getattr(self, name) for name in DEFAULTS}
        members = [MLP(**given) for given in ensemble.member_settings(own, self.n_networks)]
        for member, former in zip(members, self._networks if self.warm_start else (), strict=False):
            member._model = former._model
        return members

    def _assemble(self, networks: Sequence[MLP]) -> None:
        """Take over the networks of an ensemble."""
        self._model, self._networks = None, tuple(networks)
        self.n_iter_ = max(net.n_iter_ for net in networks)

    def _score(self, settings: Settings, X: Any, y: Any) -> Score | None:
        """Return the user's scoring function in the form of early stopping, which gives it a network of its own."""
        scoring = settings.values["scoring"]
        if not callable(scoring):
            return None

        def score_of(rows: np.ndarray, y_held_out: Any, model: Model, held_out: Data) -> float:
            net = self._with(model)  # which standardises X by itself
            return float(scoring(net, held_out.X if held_out.inputs is None else pick(X, rows), y_held_out))

        return lambda rows: partial(score_of, rows, pick(y, rows))

    def _with(self, model: Model) -> MLP:
        """Return a copy of the object around another network."""
        net = copy.copy(self)
        net._assign(result_of(model))
        return net

    def _assign(self, result: FitResult) -> str:
        """Take over a trained network: the one place where training changes the object."""
        self._model, self._networks, progress = result.model, (), result.model.progress
        self.n_iter_ = result.n_iter
        self.stop_reason_ = result.message if result.stop_reason == "stopped" and result.message else result.stop_reason
        if self.early_stopping:
            self.validation_scores_ = progress.validation_scores.tolist()
            self.validation_loss_curve_ = progress.validation_losses.tolist()
        return result.stop_reason


def hold(given: Mapping[str, Any], model: Model, n_iter: int | None = None, message: str = "") -> MLP:
    """Return an `MLP` with these checked settings around a model that was trained for n_iter epochs."""
    net = MLP.__new__(MLP)
    vars(net).update(DEFAULTS, **given)
    net._assign(result_of(model, n_iter, message))
    return net


def hold_ensemble(given: Mapping[str, Any], networks: Sequence[MLP]) -> MLP:
    """Return an `MLP` with these checked settings around the networks of an ensemble."""
    net = MLP.__new__(MLP)
    vars(net).update({name: given[name] for name in DEFAULTS} | {"n_networks": len(networks)})
    net._assemble(networks)
    return net


MLP.__doc__ = (MLP.__doc__ or "").replace("{parameters}", parameters_in_words("MLP").replace("\n", "\n    "))
