"""A network's settings: from what a user wrote to what training needs, and to and from JSON."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xbackprop import validation
from xbackprop.arrays.backend import Backend
from xbackprop.errors import ModelFileError
from xbackprop.nn import backprop
from xbackprop.nn.activations import ACTIVATIONS, Activation
from xbackprop.nn.initializers import INITIALIZERS
from xbackprop.nn.losses import LOSSES, Loss, quantile_loss
from xbackprop.optim.optimizers import OPTIMIZERS, SGD, Adagrad, Adam, Optimizer, RMSProp
from xbackprop.optim.schedules import SCHEDULES, make_schedule
from xbackprop.training.checkpoints import Checkpoint
from xbackprop.training.plan import Plan

#: What a task minimises if nothing else is said, a row of `losses.LOSSES`; and all that it can minimise.
TASKS = {"classification": "cross_entropy", "regression": "mean_squared_error"}
TASK_LOSSES = {
    "classification": ("cross_entropy", "binary_cross_entropy"),
    "regression": ("mean_squared_error", "squared_error", "absolute_error", "huber", "poisson", "quantile"),
}
LOG_LOSS = "log_loss"  # scikit-learn's: binary for two classes, which share one output, and for labels in columns
SOLVERS = (*OPTIMIZERS, "lbfgs")
DECAY = 0.01  # of adamw, as in torch
AUTO_BATCH = 200
#: Settings of a process, not of a network: they go into no file.
_ELSEWHERE = ("backend", "device", "threads", "checkpoint", "resume")


class Settings(NamedTuple):
    """The settings, checked and resolved: one activation per hidden layer, one initializer per layer.

    loss : None where the targets decide. log_loss : whether they do as scikit-learn's: two classes share one output.
    checkpoint_every : of the layers, how many there are from one whose activations are kept to the next.
    plan : of training by steps. lbfgs : whether SciPy trains instead.
    """

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    inits: tuple[str, ...]
    task: str
    loss: Loss | None
    log_loss: bool
    alpha: float
    l1_ratio: float
    checkpoint_every: int
    label_smoothing: float
    class_weight: Any
    plan: Plan
    lbfgs: bool
    max_fun: int
    validation_fraction: float
    checkpoint: Checkpoint | None
    resume: bool
    random_state: int | np.random.RandomState | None
    verbose: bool
    threads: int | None

    def rng(self) -> np.random.RandomState:
        """The stream of random numbers of a run; a `RandomState` goes on where it stands."""
        given = self.random_state
        return given if isinstance(given, np.random.RandomState) else np.random.RandomState(given)


def read_settings(where: str, net: Any) -> Settings:
    """The attributes of an `MLP`, checked; ValueError names the first that makes no sense."""
    sizes = validation.layer_sizes(where, net.hidden_layer_sizes)
    hidden, activations = _activations(where, net.activation, len(sizes))
    if net.dtype is not None:
        validation.dtype_of(where, net.dtype)
    if net.backend is not None and not isinstance(net.backend, str | Backend):
        raise ValueError(f"{where}: backend must be a name, a Backend or None, got {net.backend!r}")
    task = validation.one_of(where, "task", net.task, TASKS)
    if not (net.scoring is None or callable(net.scoring) or net.scoring == "loss"):
        raise ValueError(
            f"{where}: scoring must be None, 'loss' or a function (net, X, y) -> number, got {net.scoring!r}"
        )
    plan = _plan(where, net, len(sizes))
    lbfgs = net.solver == "lbfgs"
    if lbfgs and (any(plan.dropout) or plan.weight_decay or plan.clip_norm):
        raise ValueError(f"{where}: solver 'lbfgs' has no dropout, weight_decay or clip_norm; choose another solver")
    return Settings(
        sizes=sizes,
        activations=activations,
        inits=_inits(where, net.init, (*activations, hidden)),
        task=task,
        loss=_loss(where, net.loss, task, net.quantile),
        log_loss=isinstance(net.loss, str) and net.loss == LOG_LOSS,
        alpha=validation.non_negative(where, "alpha", net.alpha),
        l1_ratio=validation.fraction(where, "l1_ratio", net.l1_ratio, one_allowed=True),
        checkpoint_every=backprop.checkpoint_interval(where, net.checkpoint_activations, len(sizes) + 1),
        label_smoothing=validation.fraction(where, "label_smoothing", net.label_smoothing),
        class_weight=net.class_weight,
        plan=plan,
        lbfgs=lbfgs,
        max_fun=validation.integer(where, "max_fun", net.max_fun, 1),
        validation_fraction=validation.number(
            where, "validation_fraction", net.validation_fraction, lambda v: 0 <= v < 1, "a number in [0, 1)"
        ),
        checkpoint=_checkpoint(where, net),
        resume=bool(net.resume),
        random_state=_random_state(where, net.random_state),
        verbose=bool(net.verbose),
        threads=None if net.threads is None else validation.integer(where, "threads", net.threads, 1),
    )


def _plan(where: str, net: Any, n_hidden: int) -> Plan:
    """How to train, step by step."""
    validation.one_of(where, "solver", net.solver, SOLVERS)
    decay = DECAY if net.weight_decay == "auto" and net.solver == "adamw" else net.weight_decay
    learning_rate = net.learning_rate
    if not callable(learning_rate):
        validation.one_of(where, "learning_rate", learning_rate, SCHEDULES)
    schedule = make_schedule(
        learning_rate,
        validation.non_negative(where, "power_t", net.power_t),
        validation.integer(where, "step_epochs", net.step_epochs, 1),
        validation.positive(where, "step_factor", net.step_factor),
    )
    clip = net.clip_norm
    patience = net.n_iter_no_change
    return Plan(
        optimizer=_optimizer(where, net),
        learning_rate_init=validation.positive(where, "learning_rate_init", net.learning_rate_init),
        batch_size=AUTO_BATCH
        if net.batch_size == "auto"
        else validation.integer(where, "batch_size", net.batch_size, 1),
        max_iter=validation.integer(where, "max_iter", net.max_iter, 1),
        shuffle=bool(net.shuffle),
        tol=validation.non_negative(where, "tol", net.tol),
        patience=patience if patience == math.inf else validation.integer(where, "n_iter_no_change", patience, 1),
        adaptive=learning_rate == "adaptive",
        schedule=schedule,
        warmup=validation.non_negative(where, "warmup", net.warmup),
        clip_norm=None if clip is None else validation.positive(where, "clip_norm", clip),
        weight_decay=0.0 if decay == "auto" else validation.non_negative(where, "weight_decay", decay),
        dropout=_dropout(where, net.dropout, n_hidden),
        early_stopping=bool(net.early_stopping),
    )


def _optimizer(where: str, net: Any) -> Optimizer:
    """All constants are checked, those of other solvers too."""
    beta_1, beta_2 = validation.fraction(where, "beta_1", net.beta_1), validation.fraction(where, "beta_2", net.beta_2)
    rho, epsilon = validation.fraction(where, "rho", net.rho), validation.positive(where, "epsilon", net.epsilon)
    momentum = validation.fraction(where, "momentum", net.momentum, one_allowed=True)
    constants: dict[type[Optimizer], tuple[Any, ...]] = {
        SGD: (momentum, bool(net.nesterovs_momentum)),
        Adam: (beta_1, beta_2, epsilon),
        RMSProp: (rho, epsilon),
        Adagrad: (epsilon,),
    }
    kind = OPTIMIZERS.get(net.solver, Adam)
    return kind(*constants[kind])


def _dropout(where: str, value: Any, n_hidden: int) -> tuple[float, ...]:
    if not isinstance(value, Sequence):
        return (validation.fraction(where, "dropout", value),) * n_hidden
    if len(value) != n_hidden:
        raise ValueError(
            f"{where}: dropout must be one rate, or one for each of {n_hidden} hidden layers, got {value!r}"
        )
    return tuple(validation.fraction(where, f"dropout[{i}]", v) for i, v in enumerate(value))


def _inits(where: str, init: Any, activations: Sequence[Activation]) -> tuple[str, ...]:
    """One for each layer; the last activation stands for the output's."""
    if init == "auto":  # the paper's: a layer starts as suits its activation, the output as the layer before it
        return tuple(f.init for f in activations)
    if init == "sklearn":
        return tuple("sklearn_logistic" if f.name == "logistic" else "sklearn" for f in activations)
    return (validation.one_of(where, "init", init, ("auto", "sklearn", *INITIALIZERS)),) * len(activations)


def _checkpoint(where: str, net: Any) -> Checkpoint | None:
    epochs = validation.integer(where, "checkpoint_epochs", net.checkpoint_epochs, 1)
    minutes = net.checkpoint_minutes
    minutes = None if minutes is None else validation.non_negative(where, "checkpoint_minutes", minutes)
    if net.checkpoint is None:
        if net.resume:
            raise ValueError(f"{where}: resume needs the folder of the checkpoint: checkpoint='folder'")
        return None
    if not isinstance(net.checkpoint, str | PathLike):
        raise ValueError(f"{where}: checkpoint must be a folder or None, got {net.checkpoint!r}")
    if net.solver == "lbfgs":
        raise ValueError(f"{where}: solver 'lbfgs' cannot be stopped and resumed; checkpoint must be None")
    return Checkpoint(Path(net.checkpoint), epochs, minutes)


def changed_settings(net: Any) -> dict[str, Any]:
    """The settings of an `MLP` that are not the defaults."""
    defaults = inspect.signature(type(net)).parameters
    return {name: getattr(net, name) for name, p in defaults.items() if not _equal(getattr(net, name), p.default)}


def settings_to_json(net: Any) -> dict[str, Any]:
    """The settings that belong into a file; activations by name, a `RandomState` as None."""
    settings = {name: getattr(net, name) for name in inspect.signature(type(net)).parameters if name not in _ELSEWHERE}
    resolved = read_settings("MLP.save", net)
    settings["hidden_layer_sizes"] = list(resolved.sizes)
    settings["activation"] = _name(net.activation)
    settings["loss"] = _name(net.loss)
    if callable(net.learning_rate):  # no function goes into a file
        settings["learning_rate"] = "constant"
    if callable(net.scoring):
        settings["scoring"] = None
    if net.n_iter_no_change == math.inf:
        settings["n_iter_no_change"] = "inf"
    if isinstance(net.class_weight, Mapping):  # JSON's keys are text
        settings["class_weight"] = [[_plain(label), _plain(weight)] for label, weight in net.class_weight.items()]
    settings["dropout"] = list(resolved.plan.dropout) if isinstance(net.dropout, Sequence) else net.dropout
    settings["dtype"] = None if net.dtype is None else validation.dtype_of("MLP.save", net.dtype)
    if isinstance(net.random_state, np.random.RandomState):
        settings["random_state"] = None
    return {name: _plain(value) for name, value in settings.items()}


def settings_from_json(
    path: str | PathLike[str], settings: dict[str, Any], own: Sequence[Activation], own_losses: Sequence[Loss]
) -> dict[str, Any]:
    """The settings from a file, with the activations and losses behind the names, the user's own among them."""
    known = {**ACTIVATIONS, **{activation.name: activation for activation in own}}
    losses = {
        "auto": "auto",
        LOG_LOSS: LOG_LOSS,
        **{name: name for name in LOSSES},
        **{loss.name: loss for loss in own_losses},
    }
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
    read = {**settings, "loss": losses[loss], "activation": found}
    read["hidden_layer_sizes"] = tuple(settings["hidden_layer_sizes"])
    if settings.get("n_iter_no_change") == "inf":
        read["n_iter_no_change"] = math.inf
    if isinstance(settings.get("class_weight"), list):
        read["class_weight"] = dict(settings["class_weight"])
    return read


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
    return value if isinstance(value, Activation) else ACTIVATIONS[validation.one_of(where, name, value, ACTIVATIONS)]


def _loss(where: str, value: Any, task: str, quantile: Any) -> Loss | None:
    """None where the targets decide."""
    quantile = validation.number(where, "quantile", quantile, lambda v: 0 < v < 1, "a number between 0 and 1")
    if isinstance(value, Loss):
        return value
    name = validation.one_of(
        where, "loss", value, ("auto", *TASK_LOSSES[task], *([LOG_LOSS] if task == "classification" else []))
    )
    if name == "quantile" and quantile != 0.5:
        return quantile_loss(quantile)
    return None if name in ("auto", LOG_LOSS) else LOSSES[name]


def _random_state(where: str, value: Any) -> int | np.random.RandomState | None:
    if value is None or isinstance(value, np.random.RandomState):
        return value
    seed = validation.integer(where, "random_state", value, 0)
    if seed >= 2**32:
        raise ValueError(f"{where}: random_state must be below 2**32, got {value!r}")
    return seed


def _plain(value: Any) -> Any:
    """A NumPy number as Python's."""
    return value.item() if hasattr(value, "item") else value


def _name(value: Any) -> Any:
    """The name of an activation or a loss, or those of a sequence of them."""
    if isinstance(value, str):
        return value
    return value.name if isinstance(value, Activation | Loss) else [_name(v) for v in value]


def _equal(value: Any, default: Any) -> bool:
    return type(value) is type(default) and value == default
