"""A network's settings: from what a user wrote to what training needs, and to and from JSON."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

from numpy.random import RandomState

from xbackprop import checks
from xbackprop.activations import ACTIVATIONS, Activation
from xbackprop.backend import Backend
from xbackprop.errors import ModelFileError
from xbackprop.initializers import INITIALIZERS
from xbackprop.losses import LOSSES, Loss
from xbackprop.optimizers import SGD, Adam, Optimizer

#: What a task minimises, a row of `losses.LOSSES`.
TASKS = {"classification": "cross_entropy", "regression": "mean_squared_error"}
SOLVERS = ("adam", "sgd")
AUTO_BATCH = 200
_ELSEWHERE = ("backend", "device")  # settings of a process, not of a network: they go into no file


class Settings(NamedTuple):
    """The settings, checked and resolved: one activation per hidden layer, one initializer per layer."""

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    inits: tuple[str, ...]
    task: str
    loss: Loss
    optimizer: Optimizer
    alpha: float
    batch_size: int
    max_iter: int
    shuffle: bool
    tol: float
    n_iter_no_change: int
    random_state: int | RandomState | None
    verbose: bool

    def rng(self) -> RandomState:
        """The stream of random numbers of a run; a RandomState goes on where it stands."""
        return self.random_state if isinstance(self.random_state, RandomState) else RandomState(self.random_state)


def read_settings(where: str, net: Any) -> Settings:
    """The attributes of an `MLP`, checked; ValueError names the first that makes no sense."""
    sizes = checks.layer_sizes(where, net.hidden_layer_sizes)
    hidden, activations = _activations(where, net.activation, len(sizes))
    if net.init == "auto":  # the paper's: a layer starts as suits its activation, the output as the layer before it
        inits = tuple(activation.init for activation in (*activations, hidden))
    else:
        inits = (checks.one_of(where, "init", net.init, INITIALIZERS),) * (len(sizes) + 1)
    rate = checks.positive(where, "learning_rate_init", net.learning_rate_init)
    adam = Adam(
        rate,
        checks.fraction(where, "beta_1", net.beta_1),
        checks.fraction(where, "beta_2", net.beta_2),
        checks.positive(where, "epsilon", net.epsilon),
    )
    momentum = checks.number(where, "momentum", net.momentum, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    sgd = SGD(rate, momentum, bool(net.nesterovs_momentum))
    if net.dtype is not None:
        checks.dtype_of(where, net.dtype)
    if net.backend is not None and not isinstance(net.backend, str | Backend):
        raise ValueError(f"{where}: backend must be a name, a Backend or None, got {net.backend!r}")
    task = checks.one_of(where, "task", net.task, TASKS)
    return Settings(
        sizes=sizes,
        activations=activations,
        inits=inits,
        task=task,
        loss=_loss(where, net.loss, task),
        optimizer=adam if checks.one_of(where, "solver", net.solver, SOLVERS) == "adam" else sgd,
        alpha=checks.non_negative(where, "alpha", net.alpha),
        batch_size=AUTO_BATCH if net.batch_size == "auto" else checks.whole(where, "batch_size", net.batch_size, 1),
        max_iter=checks.whole(where, "max_iter", net.max_iter, 1),
        shuffle=bool(net.shuffle),
        tol=checks.non_negative(where, "tol", net.tol),
        n_iter_no_change=checks.whole(where, "n_iter_no_change", net.n_iter_no_change, 1),
        random_state=_random_state(where, net.random_state),
        verbose=bool(net.verbose),
    )


def changed_settings(net: Any) -> dict[str, Any]:
    """The settings of an `MLP` that are not the defaults."""
    defaults = inspect.signature(type(net)).parameters
    return {name: getattr(net, name) for name, p in defaults.items() if not _equal(getattr(net, name), p.default)}


def settings_to_json(net: Any) -> dict[str, Any]:
    """The settings that belong into a file; activations by name, a RandomState as None."""
    settings = {name: getattr(net, name) for name in inspect.signature(type(net)).parameters if name not in _ELSEWHERE}
    resolved = read_settings("MLP.save", net)
    settings["hidden_layer_sizes"] = list(resolved.sizes)
    settings["activation"] = _name(net.activation)
    settings["loss"] = _name(net.loss)
    settings["dtype"] = None if net.dtype is None else checks.dtype_of("MLP.save", net.dtype)
    if isinstance(net.random_state, RandomState):
        settings["random_state"] = None
    return {name: value.item() if hasattr(value, "item") else value for name, value in settings.items()}


def settings_from_json(
    path: str | PathLike[str], settings: dict[str, Any], own: Sequence[Activation], own_losses: Sequence[Loss]
) -> dict[str, Any]:
    """The settings from a file, with the activations and losses behind the names, the user's own among them."""
    known = {**ACTIVATIONS, **{activation.name: activation for activation in own}}
    losses = {"auto": "auto", **{name: name for name in LOSSES}, **{loss.name: loss for loss in own_losses}}
    loss = settings.get("loss", "auto")
    if loss not in losses:
        raise ModelFileError(
            f"MLP.load: {path} was trained with the loss {loss!r}, which is not one of xbackprop's; "
            f"pass it: MLP.load(path, losses=[xbackprop.Loss(value_and_delta, output, name={loss!r})])"
        )

    def find(name: str) -> str | Activation:
        if name not in known:
            raise ModelFileError(
                f"MLP.load: {path} was trained with the activation {name!r}, which is not one of xbackprop's; "
                f"pass it: MLP.load(path, activations=[xbackprop.Activation(f, df, name={name!r})])"
            )
        return name if name in ACTIVATIONS else known[name]

    activation = settings["activation"]
    found = [find(name) for name in activation] if isinstance(activation, list) else find(activation)
    sizes = tuple(settings["hidden_layer_sizes"])
    return {**settings, "loss": losses[loss], "activation": found, "hidden_layer_sizes": sizes}


def _activations(where: str, value: Any, n_hidden: int) -> tuple[Activation, tuple[Activation, ...]]:
    """The activation before the output (or that of a net without hidden layers), and one for each hidden layer."""
    if isinstance(value, str | Activation):
        activation = _activation(where, "activation", value)
        return activation, (activation,) * n_hidden
    if not isinstance(value, Sequence):
        raise ValueError(
            f"{where}: activation must be a name, an xbackprop.Activation or a sequence of them, got {value!r}"
        )
    if len(value) != n_hidden or n_hidden == 0:
        raise ValueError(
            f"{where}: activation must be one, or one for each of the {n_hidden} hidden layers, got {value!r}"
        )
    activations = tuple(_activation(where, f"activation[{i}]", v) for i, v in enumerate(value))
    return activations[-1], activations


def _activation(where: str, name: str, value: Any) -> Activation:
    return value if isinstance(value, Activation) else ACTIVATIONS[checks.one_of(where, name, value, ACTIVATIONS)]


def _loss(where: str, value: Any, task: str) -> Loss:
    if isinstance(value, Loss):
        return value
    if isinstance(value, str) and value == "auto":
        return LOSSES[TASKS[task]]
    return LOSSES[checks.one_of(where, "loss", value, ("auto", TASKS[task]))]


def _random_state(where: str, value: Any) -> int | RandomState | None:
    if value is None or isinstance(value, RandomState):
        return value
    seed = checks.whole(where, "random_state", value, 0)
    if seed >= 2**32:
        raise ValueError(f"{where}: random_state must be below 2**32, got {value!r}")
    return seed


def _name(value: Any) -> Any:
    """The name of an activation or a loss, or those of a sequence of them."""
    if isinstance(value, str):
        return value
    return value.name if isinstance(value, Activation | Loss) else [_name(v) for v in value]


def _equal(value: Any, default: Any) -> bool:
    return type(value) is type(default) and value == default
