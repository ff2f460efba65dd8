"""`MLP`: the network that people hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from xbackprop import validation
from xbackprop.arrays.backend import Array, Backend, dtype_name
from xbackprop.arrays.discovery import backend_class, get_backend
from xbackprop.data.targets import Targets
from xbackprop.errors import ModelFileError
from xbackprop.mlp import model_file
from xbackprop.mlp.derivatives import Gradients
from xbackprop.mlp.model import Model, make_objective
from xbackprop.mlp.prediction import Prediction
from xbackprop.mlp.settings import changed_settings, read_settings, settings_from_json
from xbackprop.nn.activations import ACTIVATIONS, Activation
from xbackprop.nn.losses import LOSSES, Loss
from xbackprop.nn.parameters import Layout
from xbackprop.training.plan import start_progress

if TYPE_CHECKING:
    from xbackprop.complexity.counting import Complexity


class MLP(Gradients, Prediction):
    """A multi-layer perceptron, trained by hand-derived backpropagation on any array library.

    z_l = h_{l-1} W_l + b_l, h_l = f(z_l) for the hidden layers, h_0 = X; the loss owns the output's function of z_L.
    Training minimises C = loss + α/n Σ_l [(1-ρ)/2 ‖W_l‖² + ρ Σ|W_l|], where the loss is by default the cross-entropy
    -1/n Σ log p(y) or the squared error 1/n Σ‖z_L - y‖².

    Parameters
    ----------
    hidden_layer_sizes : the widths of the hidden layers; () for none.
    activation : a name out of `xbackprop.ACTIVATIONS`, an `xbackprop.Activation`, or a sequence, one per hidden layer.
    task : "classification" or "regression".
    loss : a name out of `xbackprop.LOSSES`, an `xbackprop.Loss` of your own, or "auto": the cross-entropy, for y of 0
        and 1 in columns the binary one, or the squared error; "log_loss" is the binary one for two classes too.
    quantile : the one that the loss of that name looks for.
    label_smoothing : s, for classes: targets are (1-s) y + s/K.
    class_weight : "balanced", n / (K n_k), or a mapping of labels to weights; they multiply the sample weights.
    solver : "adam", "adamw", "sgd", "rmsprop", "adagrad", or "lbfgs", SciPy's, all samples at once, at most `max_fun`
        evaluations.
    alpha, l1_ratio : α and ρ, the strength of the penalty on the weights and the part of L1 in it.
    weight_decay : λ of θ ← (1 - ηλ) θ, apart from the gradient; "auto" is 0.01 for adamw and 0 for the others.
    dropout : the probability with which a hidden unit is left out of a step, or one for each hidden layer.
    clip_norm : the longest gradient; None for any.
    checkpoint_activations : k keeps the activations of every k-th layer only and computes the others again on the way
        back: the same gradients, bit by bit, in less memory and more time. "sqrt" is √L, with memory O(√L).
    batch_size : samples per step; "auto" is min(200, n_samples).
    learning_rate : how the rate changes, see `xbackprop.schedules`: "constant", "invscaling" (with power_t),
        "adaptive", "step" (by step_factor every step_epochs), "cosine", "one_cycle", or a
        function (epoch, epochs) -> factor.
    learning_rate_init : the step size η. warmup : epochs in which it rises from 0.
    max_iter : the most epochs of a call of `fit`.
    momentum, nesterovs_momentum : of sgd. beta_1, beta_2 : of adam. rho : of rmsprop. epsilon : ε, added to √v as it
        stands, as in scikit-learn.
    init : a name out of `xbackprop.INITIALIZERS`; "auto" takes He's for the relu family, LeCun's for selu and Glorot's
        otherwise; "sklearn" starts as scikit-learn does.
    shuffle : draw a new order of the samples for each epoch.
    tol, n_iter_no_change : stop when more than n_iter_no_change epochs in a row improve the best loss by less than tol.
    early_stopping : hold out `validation_fraction` of the samples, stop by their score, and keep the best weights.
    scoring : that score: None for accuracy or R², "loss", or a function (net, X, y) -> number, the larger the better.
    warm_start : `fit` goes on from where the network is, as one run.
    checkpoint : a folder to write "checkpoint.safetensors" into, every checkpoint_epochs epochs, or as soon as
        checkpoint_minutes are over. resume : go on from the file there, if there is one, as if never stopped.
    backend : "numpy", "numba", "torch", "jax", "cupy", another installed backend, a `Backend`, or None, which follows
        the library of X.
    device : as the library names it: "cuda:1" for torch, 0 for CuPy. None is the device of X, or the default one.
    threads : the most that training takes, of BLAS and of updates; None leaves it to the library. Where several
        networks are trained side by side, cores divided by networks is right; joblib's workers see to that themselves.
    dtype : "float32" or "float64"; None keeps what X brings (integers become float64, half precision float32).
    random_state : a seed, a `RandomState`, or None. The same seed gives the same run on every library, to rounding.
    verbose : print a line per epoch.

    Attributes
    ----------
    coefs_, intercepts_ : W_l (n_in, n_out) and b_l (n_out,), views of θ in the backend's library.
    classes_ : the labels, sorted. loss_curve_ : the loss of every epoch. n_iter_ : the epochs of the last `fit`.
    validation_scores_, validation_loss_curve_ : with early stopping, of the held-out samples after every epoch.
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
        quantile: float = 0.5,
        label_smoothing: float = 0.0,
        class_weight: str | Mapping | None = None,
        solver: str = "adam",
        alpha: float = 1e-4,
        l1_ratio: float = 0.0,
        weight_decay: float | str = "auto",
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
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
        shuffle: bool = True,
        tol: float = 1e-4,
        n_iter_no_change: float = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        scoring: str | Callable | None = None,
        warm_start: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_epochs: int = 1,
        checkpoint_minutes: float | None = None,
        resume: bool = False,
        backend: str | Backend | None = None,
        device: Any = None,
        threads: int | None = None,
        dtype: str | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})
        self._model = None
        read_settings("MLP", self)
        if isinstance(backend, str):
            backend_class(backend)  # a missing library is said here, not after the data are loaded

    @property
    def coefs_(self) -> list[Array]:
        """W_1 … W_L: views of θ, so that writing into one changes the network, where arrays can be written.

        To set them, from arrays of any library in these shapes, makes a new θ.
        """
        return [W for W, _ in self._fitted("MLP.coefs_").layers()]

    @coefs_.setter
    def coefs_(self, arrays: Sequence[Array]) -> None:
        self._set("MLP.coefs_", arrays, self.intercepts_)

    @property
    def intercepts_(self) -> list[Array]:
        """b_1 … b_L: views of θ; they can be set, as `coefs_` can."""
        return [b[0, :] for _, b in self._fitted("MLP.intercepts_").layers()]

    @intercepts_.setter
    def intercepts_(self, arrays: Sequence[Array]) -> None:
        self._set("MLP.intercepts_", self.coefs_, arrays)

    def _set(self, where: str, coefs: Sequence[Array], intercepts: Sequence[Array]) -> None:
        model = self._fitted(where)
        theta = self._vector(where, model, ("coefs_", "intercepts_"), coefs, intercepts)
        self._model = model._replace(theta=theta)

    @property
    def classes_(self) -> np.ndarray:
        """The labels, sorted; an AttributeError on a regression."""
        classes = self._fitted("MLP.classes_").targets.classes
        if classes is None:
            raise AttributeError("MLP.classes_: a regression has no classes")
        return classes

    @property
    def n_outputs_(self) -> int:
        """The width of the output: classes, or regression targets."""
        return self._fitted("MLP.n_outputs_").objective.layout.sizes[-1]

    def complexity(self, batch_size: int | None = None) -> Complexity:
        """What a training step of this network costs: multiply-adds, operations, bytes; see `xbackprop.complexity`.

        batch_size : m, by default the one of the settings.
        """
        from xbackprop.complexity.counting import count_step  # which training has no need of

        where = "MLP.complexity"
        model, plan = self._fitted(where), read_settings(where, self).plan
        m = plan.batch_size if batch_size is None else validation.integer(where, "batch_size", batch_size, 1)
        return count_step(model.objective, plan.optimizer, m, dtype_name(model.theta), any(plan.dropout))

    def save(self, path: str | PathLike[str]) -> None:
        """Write a safetensors file: the weights, and the configuration as JSON in its metadata. Atomic, no pickle."""
        model = self._fitted("MLP.save")
        self._write(path, model, self.feature_names_in_, self.loss_curve_)

    def _write(
        self,
        path: str | PathLike[str],
        model: Model,
        feature_names: Sequence[str] | None,
        loss_curve: Sequence[float],
        progress: Mapping[str, Any] | None = None,
        others: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """A model file; a checkpoint has a progress and other tensors besides."""
        for kind, part, known in _named(model):
            if known.get(part.name, part) is not part:
                raise ValueError(
                    f"MLP.save: the {kind} {part.name!r} is not xbackprop's, and a file knows it by its name; give "
                    f"yours another name"
                )
        layers = [tuple(map(model.objective.backend.to_host, layer)) for layer in model.layers()]
        targets = model.targets._asdict()
        for name, pack in (("classes", model_file.pack_labels), ("weights", np.ndarray.tolist)):
            targets[name] = None if targets[name] is None else pack(targets[name])
        fitted = {
            "targets": targets,
            "feature_names": feature_names,
            "loss_curve": [loss if np.isfinite(loss) else None for loss in loss_curve],
        }
        model_file.save(path, layers, {"settings": model.settings, "fitted": fitted, "progress": progress}, others)

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
        home = get_backend(backend or "numpy", device)
        layers, configuration, _ = model_file.load(path)
        settings = settings_from_json(path, configuration["settings"], activations, losses)
        try:
            net = cls(**settings, backend=backend, device=device)
            fitted = configuration["fitted"]
            targets = _targets(fitted["targets"], net.task, layers[-1][0].shape[1])
            net.feature_names_in_ = fitted["feature_names"]
            net.loss_curve_ = [np.nan if loss is None else loss for loss in fitted["loss_curve"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"MLP.load: {path} has a configuration that makes no sense: {error!r}") from error
        layout = Layout([layers[0][0].shape[0], *(W.shape[1] for W, _ in layers)])
        theta = home.asarray(layout.flatten(np, layers))
        loaded = read_settings("MLP.load", net)
        objective = make_objective(loaded, home, layout, targets)
        progress = start_progress(home, loaded.plan, theta, loaded.rng())
        net._model = Model(objective, theta, targets, progress, configuration["settings"])
        net.n_iter_ = len(net.loss_curve_)
        return net

    def __repr__(self) -> str:
        return f"MLP({', '.join(f'{name}={value!r}' for name, value in changed_settings(self).items())})"


def _named(model: Model) -> list[tuple[str, Activation | Loss, Mapping[str, Any]]]:
    """What a file knows by its name, and the rows that have these names already."""
    hidden = [("activation", f, ACTIVATIONS) for f in model.objective.hidden]
    return [*hidden, ("loss", model.objective.loss, LOSSES)]


def _targets(packed: Mapping[str, Any], task: str, n_outputs: int) -> Targets:
    """What the outputs mean, from a file; ValueError where that is not what the task has."""
    classes = None if packed["classes"] is None else model_file.unpack_labels(packed["classes"])
    weights = None if packed["weights"] is None else np.array(packed["weights"], dtype=np.float64)
    targets = Targets(**{**packed, "classes": classes, "weights": weights})
    outputs = {"numbers": targets.n_outputs, "binary": 1}.get(targets.kind, 0 if classes is None else len(classes))
    fits = (targets.kind == "numbers") == (task == "regression") == (classes is None)
    too_many = targets.kind == "binary" and classes is not None and len(classes) > 2
    if not fits or not outputs == n_outputs == targets.n_outputs or too_many:
        raise ValueError(f"{n_outputs} outputs of a {task}, and the classes {classes}")
    return targets
