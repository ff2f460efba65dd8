"""Check a user's settings, one by one and together, and convert them to the objects that training needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xbackprop.mlp.setting_table import SETTINGS, TASK_LOSSES, TASKS
from xbackprop.nn.activations import Activation
from xbackprop.nn.backprop import sqrt_layers
from xbackprop.nn.losses import LOSSES, Loss, ascending, linear, quantile_loss
from xbackprop.optim.optimizers import OPTIMIZERS, SGD, Adagrad, Adam, Optimizer, RMSProp
from xbackprop.optim.schedules import make_schedule
from xbackprop.training.checkpoints import Checkpoint
from xbackprop.training.plan import Plan
from xbackprop.validation import one_of

LOG_LOSS = "log_loss"  # scikit-learn's: binary for two classes, which share one output, and for labels in columns
ADAMW_DECAY = 0.01  # as in torch
AUTO_BATCH = 200


class Settings(NamedTuple):
    """Settings that have been checked, one by one and together.

    Parameters
    ----------
    values : all settings of `MLP` by name, in their plain form.
    activations : one for each hidden layer. inits : the name of an initializer for each layer.
    loss : None if the targets decide. log_loss : whether they decide as in scikit-learn, where two classes share one
        output.
    checkpoint_every : k of `backprop.recompute`, 0 to keep all activations.
    plan : the plan of training step by step. checkpoint : the folder and the interval of checkpoints, or None.
    """

    values: Mapping[str, Any]
    activations: tuple[Activation, ...]
    inits: tuple[str, ...]
    loss: Loss | None
    log_loss: bool
    checkpoint_every: int
    plan: Plan
    checkpoint: Checkpoint | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths of the hidden layers."""
        return tuple(self.values["hidden_layer_sizes"])

    @property
    def lbfgs(self) -> bool:
        """Whether the solver is SciPy's L-BFGS, which takes all samples at once."""
        return bool(self.values["solver"] == "lbfgs")

    def to_json(self) -> dict[str, Any]:
        """Return the settings that belong into a file, as JSON has them."""
        return {s.name: _to_json(self.values[s.name], s.default) for s in SETTINGS if s.in_files}

    def rng(self) -> np.random.RandomState:
        """Return the random number generator of a new run: the user's own `RandomState`, or a new one from the seed."""
        given = self.values["random_state"]
        return given if isinstance(given, np.random.RandomState) else np.random.RandomState(given)


def read_settings(where: str, given: Mapping[str, Any]) -> Settings:
    """Check the settings of an `MLP`, a mapping from names to values; ValueError names the first that is not valid."""
    values = {s.name: s.check(where, s.name, given[s.name]) for s in SETTINGS}
    n_hidden = len(values["hidden_layer_sizes"])
    activations, output_like = _activations(where, given["activation"], values["activation"], n_hidden)
    plan = _plan(where, given, values, n_hidden)
    of_steps = any(plan.dropout) or plan.weight_decay or plan.clip_norm or plan.ema_decay is not None
    if values["solver"] == "lbfgs" and of_steps:
        raise ValueError(
            f"{where}: solver 'lbfgs' has no dropout, weight_decay, clip_norm or ema_decay; choose another solver"
        )
    loss = _loss(where, values)
    if values["scale_target"]:
        output = (loss or LOSSES[TASKS[values["task"]]]).output
        if values["task"] != "regression" or output not in (linear, ascending):
            raise ValueError(
                f"{where}: scale_target is for a regression with a linear output, got loss={given['loss']!r}"
            )
    interval = values["checkpoint_activations"]
    return Settings(
        values=values,
        activations=activations,
        inits=_inits(values["init"], (*activations, output_like)),
        loss=loss,
        log_loss=values["loss"] == LOG_LOSS if isinstance(values["loss"], str) else False,
        checkpoint_every=sqrt_layers(n_hidden + 1) if interval == "sqrt" else interval or 0,
        plan=plan,
        checkpoint=_checkpoint(where, values),
    )


def _plan(where: str, given: Mapping[str, Any], values: Mapping[str, Any], n_hidden: int) -> Plan:
    """Return the plan of training step by step."""
    decay, learning_rate = values["weight_decay"], values["learning_rate"]
    if decay == "auto":
        decay = ADAMW_DECAY if values["solver"] == "adamw" else 0.0
    return Plan(
        optimizer=_optimizer(values),
        learning_rate_init=values["learning_rate_init"],
        batch_size=AUTO_BATCH if values["batch_size"] == "auto" else values["batch_size"],
        max_iter=values["max_iter"],
        shuffle=values["shuffle"],
        tol=values["tol"],
        patience=values["n_iter_no_change"],
        adaptive=learning_rate == "adaptive",
        schedule=make_schedule(learning_rate, values["power_t"], values["step_epochs"], values["step_factor"]),
        warmup=values["warmup"],
        clip_norm=values["clip_norm"],
        ema_decay=values["ema_decay"],
        weight_decay=decay,
        dropout=_dropout(where, given["dropout"], values["dropout"], n_hidden),
        early_stopping=values["early_stopping"],
    )


def _optimizer(values: Mapping[str, Any]) -> Optimizer:
    constants: dict[type[Optimizer], tuple[str, ...]] = {
        SGD: ("momentum", "nesterovs_momentum"),
        Adam: ("beta_1", "beta_2", "epsilon"),
        RMSProp: ("rho", "epsilon"),
        Adagrad: ("epsilon",),
    }
    kind = OPTIMIZERS.get(values["solver"], Adam)
    return kind(*(values[name] for name in constants[kind]))


def _dropout(where: str, given: Any, rates: float | tuple[float, ...], n_hidden: int) -> tuple[float, ...]:
    """Return a dropout rate for each hidden layer, or () for no dropout."""
    if not isinstance(rates, tuple):
        return (rates,) * n_hidden
    if len(rates) != n_hidden:
        raise ValueError(
            f"{where}: dropout must be one rate, or one for each of {n_hidden} hidden layers, got {given!r}"
        )
    return rates


def _activations(
    where: str, given: Any, checked: Activation | tuple[Activation, ...], n_hidden: int
) -> tuple[tuple[Activation, ...], Activation]:
    """Return an activation for each hidden layer, and the one that decides the starting weights of the output layer."""
    if isinstance(checked, Activation):
        return (checked,) * n_hidden, checked
    if len(checked) != n_hidden or n_hidden == 0:
        raise ValueError(
            f"{where}: activation must be one, or one for each of the {n_hidden} hidden layers, got {given!r}"
        )
    return checked, checked[-1]


def _inits(init: str, activations: Sequence[Activation]) -> tuple[str, ...]:
    """Return the name of an initializer for each layer; the last activation decides that of the output layer."""
    if init == "auto":  # the paper's rule: by the layer's activation; the output as the layer before it
        return tuple(f.init for f in activations)
    if init == "sklearn":
        return tuple("sklearn_logistic" if f.name == "logistic" else "sklearn" for f in activations)
    return (init,) * len(activations)


def _checkpoint(where: str, values: Mapping[str, Any]) -> Checkpoint | None:
    folder = values["checkpoint"]
    if folder is None:
        if values["resume"]:
            raise ValueError(f"{where}: resume needs the folder of the checkpoint: checkpoint='folder'")
        return None
    if values["solver"] == "lbfgs":
        raise ValueError(f"{where}: solver 'lbfgs' cannot be stopped and resumed; checkpoint must be None")
    return Checkpoint(
        Path(folder), values["checkpoint_epochs"], values["checkpoint_minutes"], values["checkpoint_required"]
    )


def _loss(where: str, values: Mapping[str, Any]) -> Loss | None:
    """Return the loss that is named, or None if the targets decide."""
    loss, task = values["loss"], values["task"]
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, tuple | list | int):  # scikit-learn's MLPRegressor has the loss as its first parameter
        raise ValueError(
            f"{where}: loss must be a name or an xbackprop.Loss; for layers write hidden_layer_sizes={loss!r}"
        )
    name = one_of(where, "loss", loss, ("auto", *TASK_LOSSES[task], *([LOG_LOSS] if task == "classification" else [])))
    if name == "quantile" and values["quantile"] != 0.5:
        return quantile_loss(values["quantile"])
    return None if name in ("auto", LOG_LOSS) else LOSSES[name]


def _to_json(value: Any, default: Any) -> Any:
    """Convert a setting to JSON: activations and losses to names; functions and a `RandomState` to the default."""
    if isinstance(value, Activation | Loss):
        return value.name
    if isinstance(value, tuple | list):
        return [_to_json(v, None) for v in value]
    if isinstance(value, Mapping):  # JSON's keys are text
        return [[_to_json(label, None), _to_json(weight, None)] for label, weight in value.items()]
    if callable(value) or isinstance(value, np.random.RandomState):
        return default
    if isinstance(value, float) and value == math.inf:
        return "inf"
    return value.item() if hasattr(value, "item") else value
