"""`Model`: a network with weights, and functions that make one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend, dtype_name
from xbackprop.arrays.discovery import get_backend, transfer
from xbackprop.data import tables
from xbackprop.data.dataset import Data, SampleStore, read_samples
from xbackprop.data.scaling import Scaling
from xbackprop.data.targets import TargetRule, Targets, continue_targets
from xbackprop.errors import NotFittedError
from xbackprop.mlp.settings import Settings
from xbackprop.nn.initializers import draw_theta
from xbackprop.nn.objective import Objective
from xbackprop.nn.parameters import Layout
from xbackprop.optim.optimizers import State
from xbackprop.training.plan import Progress, draw_seed, start_progress


class Model(NamedTuple):
    """A network with weights: all data that predictions, derivatives, files and further training need.

    Parameters
    ----------
    objective, theta : C(θ), and θ (P,).
    targets : the conversion between y and the outputs.
    progress : the state of training.
    settings : the settings that the network was made with, as JSON; those of the `MLP` may
        change afterwards.
    feature_names : the names of X's columns if X was a frame; else None.
    inputs : how X is standardised, or None if it is not.
    """

    objective: Objective
    theta: Array
    targets: Targets
    progress: Progress
    settings: Mapping[str, Any]
    feature_names: list[str] | None = None
    inputs: Scaling | None = None

    @property
    def backend(self) -> Backend:
        """The backend whose array θ is."""
        return self.objective.backend

    @property
    def dtype(self) -> str:
        """ "float32" or "float64"."""
        return dtype_name(self.theta)

    @property
    def n_features(self) -> int:
        """The number of columns of X."""
        return self.objective.layout.sizes[0]

    def layers(self) -> list[tuple[Array, Array]]:
        """Return (W_l, b_l) for every layer, as views of θ if the library has views."""
        return self.objective.layout.layers(self.backend.xp, self.theta)


def fitted(where: str, model: Model | None) -> Model:
    """Return the model; raise NotFittedError if there is none yet."""
    if model is None:
        raise NotFittedError(f"{where}: the network has no weights yet; call fit or initialize first")
    return model


#: The smallest number of rows of a forward pass where there are more: matrix products of fewer rows are slow.
LEAST_ROWS = 256


def rows_at_a_time(model: Model) -> int:
    """Return the most rows of a forward pass, so that its activations take a bounded memory."""
    return max(LEAST_ROWS, model.backend.prediction_chunk // (2 * sum(model.objective.layout.sizes)))


def make_objective(settings: Settings, backend: Backend, layout: Layout, targets: Targets) -> Objective:
    """Return C(θ) as the settings describe it."""
    loss, values = targets.loss(settings.loss), settings.values
    return Objective(
        backend, layout, settings.activations, loss, values["alpha"], values["l1_ratio"], settings.checkpoint_every
    )


def target_rule(settings: Settings, classes: Any = None) -> TargetRule:
    """Return the settings by which y is read; classes : all the classes, if y may lack some."""
    values = settings.values
    return TargetRule(
        values["task"], settings.loss, settings.log_loss, classes, values["label_smoothing"], values["class_weight"],
        values["scale_target"], values["soft_targets"],
    )  # fmt: skip


def start_model(
    where: str,
    settings: Settings,
    rng: np.random.RandomState,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    classes: Any = None,
    known_finite: bool = False,
    store: SampleStore | None = None,
) -> tuple[Model, Data]:
    """Return a network with starting weights, drawn layer by layer, and the samples converted for it.

    rng : the generator from which weights, and later the orders of the rows, are drawn.
    classes : all the classes, if y may lack some. known_finite : see `read_samples`.
    store : the samples that other networks have read.
    """
    values = settings.values
    backend = get_backend(values["backend"], values["device"], like=X)
    rule = target_rule(settings, classes)
    read = read_samples if store is None or classes is not None else store.read
    how = {"inputs": values["scale_inputs"], "known_finite": known_finite}
    data = read(where, backend, rule, values["dtype"], X, y, sample_weight, **how)
    layout = Layout((data.X.shape[1], *settings.sizes, data.targets.n_outputs))
    theta = backend.asarray(draw_theta(settings.inits, rng, layout, data.dtype))
    progress = start_progress(backend, settings.plan, theta, rng)
    objective = make_objective(settings, backend, layout, data.targets)
    names = tables.feature_names(X)
    return Model(objective, theta, data.targets, progress, settings.to_json(), names, data.inputs), data


def same_samples(
    where: str, model: Model, X: Any, y: Any, sample_weight: Any = None, *, dtype: str | None = None,
    known_finite: bool = False,
) -> Data:  # fmt: skip
    """Convert samples for the network: to its backend, columns and classes, and to its dtype if none is given."""
    return read_samples(
        where, model.backend, model.targets, dtype or model.dtype, X, y, sample_weight,
        n_features=model.n_features, names=model.feature_names, inputs=model.inputs, known_finite=known_finite,
    )  # fmt: skip


def continue_model(where: str, settings: Settings, model: Model, y: Any) -> Model:
    """Return the network with its weights, the present settings, and a progress of its own, to be trained on y.

    Raises
    ------
    ValueError : for settings that the network cannot go on with: other layers, or another meaning of the outputs.
    """
    layout = model.objective.layout
    if settings.sizes != layout.sizes[1:-1]:
        raise ValueError(f"{where}: the network has hidden layers {layout.sizes[1:-1]}, got {settings.sizes}")
    if settings.values["scale_inputs"] != (model.inputs is not None):
        raise ValueError(
            f"{where}: the network was trained with scale_inputs={model.inputs is not None}; train a new network, with "
            f"warm_start=False"
        )
    targets = continue_targets(where, target_rule(settings), model.targets, y)
    model = _moved(settings, model)
    objective, progress = make_objective(settings, model.backend, layout, targets), model.progress
    if any(settings.plan.dropout) and not progress.seed:  # dropout was switched on
        progress.seed = draw_seed(progress.rng)
    fresh = settings.plan.start(model.backend, model.theta)
    solvers = (settings.values["solver"], model.settings["solver"])
    same = solvers[0] == solvers[1] or set(solvers) == {"adam", "adamw"}
    same = same and (settings.values["ema_decay"] is None) == (model.settings.get("ema_decay") is None)
    if not same or len(fresh.moments) != len(progress.state.moments):  # momentum was switched on or off
        progress.state = fresh
    return model._replace(objective=objective, targets=targets, progress=progress, settings=settings.to_json())


def _moved(settings: Settings, model: Model) -> Model:
    """Return the network with copies of its arrays, in the dtype and on the backend that are set, if they are."""
    values, source = settings.values, model.backend
    named = values["backend"] is not None or values["device"] is not None
    backend = get_backend(values["backend"], values["device"], like=model.theta) if named else source
    backend = source if backend == source else backend  # which knows its bound functions
    dtype = values["dtype"] or model.dtype

    def move(x: Array) -> Array:
        return backend.copy(transfer(x, source, backend, dtype))

    return model._replace(
        theta=model.theta if (backend, dtype) == (source, model.dtype) else move(model.theta),
        objective=replace(model.objective, backend=backend),
        progress=model.progress.copy(move),
    )


def tensors_of(model: Model, vector: Array) -> tuple[list[Array], list[Array]]:
    """Split a vector like θ (P,) into lists like `MLP.coefs_` and `MLP.intercepts_`."""
    layers = model.objective.layout.layers(model.backend.xp, vector)
    return [W for W, _ in layers], [b[0, :] for _, b in layers]


def with_weights(where: str, model: Model, coefs: Sequence[Array], intercepts: Sequence[Array]) -> Model:
    """Return the network with other weights; its progress begins anew, since it was that of the former ones."""
    theta = vector_of(where, model, ("coefs_", "intercepts_"), coefs, intercepts)
    progress = model.progress.copy(model.backend.copy)
    progress.begin_anew()
    if model.settings.get("ema_decay") is not None:  # the average of the former weights means nothing
        t, moments = progress.state
        progress.state = State(t, (*moments[:-1], model.backend.copy(theta)))
    return model._replace(theta=theta, progress=progress)


def vector_of(
    where: str, model: Model, names: tuple[str, str], coefs: Sequence[Array], intercepts: Sequence[Array]
) -> Array:
    """Join lists like `MLP.coefs_` and `MLP.intercepts_` into a vector like θ (P,); `names` are for error messages."""
    backend, layout = model.backend, model.objective.layout
    checked = [
        tables.arrays_like(where, names[0], coefs, layout.shapes),
        tables.arrays_like(where, names[1], intercepts, [shape[1:] for shape in layout.shapes]),
    ]
    moved = [
        [tables.to_device(where, f"{name}[{l}]", a, backend, model.dtype) for l, a in enumerate(arrays)]
        for name, arrays in zip(names, checked, strict=True)
    ]
    with backend.device_context():
        return layout.flatten(backend.xp, list(zip(*moved, strict=True)))
