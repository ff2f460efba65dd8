"""Model files: a network with its settings, as tensors and JSON.

Tensors `coefs.0`, `intercepts.0`, … hold W_l (n_in, n_out) and b_l (n_out,), C-ordered; a checkpoint has further
tensors. `tensor_file` writes the file, `file_schema` describes the JSON.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Backend
from xbackprop.data.scaling import Scaling
from xbackprop.data.targets import Targets
from xbackprop.distributed.launch import find_communicator
from xbackprop.errors import ModelFileError
from xbackprop.mlp.file_schema import CONFIGURATION, fields, list_of, pack_labels, setting
from xbackprop.mlp.model import Model, make_objective
from xbackprop.mlp.setting_table import SETTINGS, defaults_of
from xbackprop.mlp.settings import LOG_LOSS, read_settings
from xbackprop.mlp.tensor_file import checked, read_tensors, write_tensors
from xbackprop.nn.activations import ACTIVATIONS, Activation
from xbackprop.nn.losses import LOSSES, Loss
from xbackprop.nn.parameters import Layout
from xbackprop.training.checkpoints import BEST_THETA
from xbackprop.training.curve import Curve
from xbackprop.training.plan import start_progress


class Contents(NamedTuple):
    """The contents of a model file: (W_l, b_l) with b_l as a row, the checked configuration, and other tensors."""

    layers: list[tuple[np.ndarray, np.ndarray]]
    settings: dict[str, Any]
    fitted: dict[str, Any]
    progress: dict[str, Any] | None
    others: dict[str, np.ndarray]

    @property
    def layout(self) -> Layout:
        """The layout of θ in the file."""
        return Layout([self.layers[0][0].shape[0], *(W.shape[1] for W, _ in self.layers)])


def write(
    path: str | PathLike[str],
    model: Model,
    progress: Mapping[str, Any] | None = None,
    others: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a model file atomically: a reader finds the complete old file or the complete new one.

    progress, others : for a checkpoint, the numbers and the tensors of the run.

    Raises
    ------
    ValueError : for an activation or a loss of the user's own that has the name of one of xbackprop's.
    """
    write_tensors(path, *pack(model, progress, others))


def pack(
    model: Model, progress: Mapping[str, Any] | None = None, others: Mapping[str, np.ndarray] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors and the configuration of a model."""
    _check_names(model)
    targets = model.targets._asdict()
    for name, packed in (("classes", pack_labels), ("weights", np.ndarray.tolist), ("scaling", _pack_scaling)):
        targets[name] = None if targets[name] is None else packed(targets[name])
    curve = model.progress.loss_curve.tolist()
    fitted = {
        "targets": targets,
        "inputs": model.inputs and _pack_scaling(model.inputs),
        "feature_names": model.feature_names,
        "loss_curve": [loss if math.isfinite(loss) else None for loss in curve],
    }
    tensors = dict(others or {})
    for l, (W, b) in enumerate(model.layers()):
        tensors[f"coefs.{l}"] = model.backend.to_host(W)
        tensors[f"intercepts.{l}"] = model.backend.to_host(b).reshape(-1)
    return tensors, {"settings": model.settings, "fitted": fitted, "progress": progress}


def save(where: str, path: str | PathLike[str], models: Sequence[Model], settings: Mapping[str, Any]) -> None:
    """Write a model file, of one network or an ensemble; warn of present settings that are functions or generators,
    which it does not hold. Of several ranks the first one writes it, and the others do nothing.
    """
    if find_communicator(where, settings.get("communicator")).rank:
        return
    if len(models) == 1:
        write(path, models[0])
    else:
        tensors, configurations = pack_several(models)
        write_tensors(path, tensors, {"networks": configurations})
    names = [s.name for s in SETTINGS if s.in_files and s.name in settings]
    own = {name: settings[name] for name in names if not isinstance(settings[name], Activation | Loss)}
    left_out = [f"{name}={v!r}" for name, v in own.items() if callable(v) or isinstance(v, np.random.RandomState)]
    if left_out:
        message = f"{where}: {path} does not hold {', '.join(left_out)}; set it again before training further"
        warnings.warn(message, stacklevel=3)


def pack_several(models: Sequence[Model]) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Return the tensors of several models, whose names begin with "networks.j.", and the configuration of each."""
    packed = [pack(model) for model in models]
    tensors = {f"networks.{j}.{name}": a for j, (own, _) in enumerate(packed) for name, a in own.items()}
    return tensors, [configuration for _, configuration in packed]


def several(where: str, tensors: Mapping[str, np.ndarray], configurations: Sequence[Any]) -> list[Contents]:
    """Check the tensors and the configurations of several networks; the reverse of `pack_several`."""
    parts: list[dict[str, np.ndarray]] = [{} for _ in configurations]
    for name, a in tensors.items():
        _, number, rest = name.split(".", 2)
        parts[int(number)][rest] = a
    return [contents_of(where, part, given) for part, given in zip(parts, configurations, strict=True)]


def read(where: str, path: str | PathLike[str]) -> Contents:
    """Read and check the file of one network; ModelFileError says what is damaged."""
    contents = read_all(where, path)
    if len(contents) > 1:
        raise ModelFileError(f"{where}: {path} is of an ensemble of {len(contents)} networks, expected one network")
    return contents[0]


def read_all(where: str, path: str | PathLike[str]) -> list[Contents]:
    """Read and check the networks in a model file, of which there are several if it is of an ensemble."""
    tensors, configuration = read_tensors(where, path)
    if isinstance(configuration, dict) and "tabular" in configuration:
        raise ModelFileError(f"{where}: {path} is of a model for tables; xbackprop.load_tabular reads it")
    with checked(where, path):
        if not (isinstance(configuration, dict) and "networks" in configuration):
            return [contents_of(where, tensors, configuration)]
        each = fields({"networks": list_of(setting)})(where, "configuration", configuration)["networks"]
        found = several(where, tensors, each)
        if len(found) < 2 or len({(c.layout.sizes, c.layers[0][0].dtype) for c in found}) > 1:
            raise ValueError(f"an ensemble of {len(found)} networks that do not have one shape")
        return found


def contents_of(where: str, tensors: dict[str, np.ndarray], configuration: Any) -> Contents:
    """Check the tensors and the configuration of a network; raise ValueError if they do not fit together."""
    configuration = CONFIGURATION(where, "configuration", configuration)
    count = sum(name.startswith("coefs.") for name in tensors)
    layers = [(tensors.pop(f"coefs.{l}"), tensors.pop(f"intercepts.{l}")[None, :]) for l in range(count)]
    widths = [layers[0][0].shape[0], *(W.shape[1] for W, _ in layers)]
    expected = [((n_in, n_out), (1, n_out)) for n_in, n_out in pairwise(widths)]
    if [(W.shape, b.shape) for W, b in layers] != expected:
        raise ValueError(f"tensor shapes {[(W.shape, b.shape) for W, b in layers]} do not fit together")
    if configuration["settings"]["hidden_layer_sizes"] != widths[1:-1]:
        raise ValueError("the tensors do not have the hidden_layer_sizes of the configuration")
    if not all(np.isfinite(a).all() for layer in layers for a in layer):
        raise ValueError("a weight is not finite")
    if {a.dtype.name for layer in layers for a in layer} not in ({"float32"}, {"float64"}):
        raise ValueError("the tensors are not all float32 or all float64")
    names = configuration["fitted"]["feature_names"]
    if names is not None and len(names) != widths[0]:
        raise ValueError(f"{len(names)} feature_names for {widths[0]} inputs")
    return Contents(layers, **configuration, others=tensors)


def read_models(
    where: str, path: str | PathLike[str], home: Backend, activations: Sequence[Activation], losses: Sequence[Loss]
) -> list[tuple[dict[str, Any], Model]]:
    """Read the settings, and the networks on a backend, several of an ensemble; of a checkpoint, the best so far.

    activations, losses : the user's own ones that the networks were trained with, found by their names.
    """
    return [model_of(where, path, contents, home, activations, losses) for contents in read_all(where, path)]


def model_of(
    where: str,
    path: str | PathLike[str],
    contents: Contents,
    home: Backend,
    activations: Sequence[Activation],
    losses: Sequence[Loss],
) -> tuple[dict[str, Any], Model]:
    """Return the settings in a file, and the network on a backend."""
    with checked(where, path):
        given = settings_from_json(where, path, contents.settings, activations, losses)
        settings, layout = read_settings(where, {**defaults_of(), **given}), contents.layout
        targets = _targets(contents.fitted["targets"], settings.values["task"], layout.sizes[-1])
        inputs = _scaling(contents.fitted.get("inputs"), layout.sizes[0])
        theta: np.ndarray = layout.flatten(np, contents.layers)
        best = contents.others.get(BEST_THETA, theta)
        if (best.shape, best.dtype) != (theta.shape, theta.dtype):
            raise ValueError(f"{BEST_THETA} has the shape {best.shape}, where θ has {theta.shape}")
    theta = home.asarray(best)
    objective = make_objective(settings, home, layout, targets)
    progress = start_progress(home, settings.plan, theta, settings.rng())
    progress.loss_curve = Curve(contents.fitted["loss_curve"])
    kept = {**settings.to_json(), "scoring": contents.settings.get("scoring")}
    return given, Model(objective, theta, targets, progress, kept, contents.fitted["feature_names"], inputs)


def _check_names(model: Model) -> None:
    """Raise ValueError if a user's own activation or loss has a name that `read_model` takes for xbackprop's."""
    named: list[tuple[str, Activation | Loss, Mapping[str, Any]]] = [
        *(("activation", f, ACTIVATIONS) for f in model.objective.hidden),
        ("loss", model.objective.loss, LOSSES),
    ]
    for kind, part, known in named:
        if known.get(part.name, part) is not part:
            raise ValueError(
                f"MLP.save: the {kind} {part.name!r} is not xbackprop's, and a file knows it by its name; give "
                f"yours another name"
            )


def settings_from_json(
    where: str,
    path: str | PathLike[str],
    settings: Mapping[str, Any],
    own: Sequence[Activation],
    own_losses: Sequence[Loss],
) -> dict[str, Any]:
    """Return the settings from a file, with names replaced by activations and losses, xbackprop's or the user's own."""
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
            f"{where}: {path} was trained with the loss {loss!r}, which is not one of xbackprop's; "
            f"pass it: MLP.load(path, losses=[xbackprop.Loss(value_and_delta, output, name={loss!r})])"
        )

    def find(name: str) -> str | Activation:
        if name not in known:
            raise ModelFileError(
                f"{where}: {path} was trained with the activation {name!r}, which is not one of xbackprop's; "
                f"pass it: MLP.load(path, activations=[xbackprop.Activation(f, df, name={name!r})])"
            )
        return name if name in ACTIVATIONS else known[name]

    activation = settings["activation"]
    read = {
        **settings,
        "loss": losses[loss],
        "activation": [find(name) for name in activation] if isinstance(activation, list) else find(activation),
        "hidden_layer_sizes": tuple(settings["hidden_layer_sizes"]),
    }
    if settings.get("n_iter_no_change") == "inf":
        read["n_iter_no_change"] = math.inf
    if isinstance(settings.get("scoring"), str) and settings["scoring"] != "loss":
        read["scoring"] = None  # the name of a scorer of scikit-learn's, which the estimators alone can use
    if isinstance(weights := settings.get("class_weight"), list | dict):
        read["class_weight"] = dict(iter(weights))  # pairs, since the keys of JSON's mappings are text
    return read


def _targets(packed: Mapping[str, Any], task: str, n_outputs: int) -> Targets:
    """Rebuild the `Targets` from a file; raise ValueError if they do not suit the task."""
    classes, weights = packed["classes"], packed["weights"]
    weights = None if weights is None else np.array(weights, dtype=np.float64)
    scaling = _scaling(packed.get("scaling"), n_outputs)
    targets = Targets(**{**packed, "weights": weights, "scaling": scaling})
    known = 0 if classes is None else len(classes)
    outputs = {"numbers": targets.n_outputs, "binary": 1}.get(targets.kind, known)
    fits = (targets.kind == "numbers") == (task == "regression") == (classes is None)
    too_many = targets.kind == "binary" and known > 2
    if (
        not fits
        or not outputs == n_outputs == targets.n_outputs
        or too_many
        or n_outputs % targets.copies
        or (weights is not None and len(weights) != known)
    ):
        raise ValueError(f"{n_outputs} outputs of a {task}, the classes {classes} and the weights {weights}")
    return targets


def _pack_scaling(scaling: Scaling) -> dict[str, list[float]]:
    return {name: a.tolist() for name, a in scaling._asdict().items()}


def _scaling(packed: Mapping[str, Any] | None, width: int) -> Scaling | None:
    if packed is None:
        return None
    scaling = Scaling(**{name: np.array(values, dtype=np.float64) for name, values in packed.items()})
    if {len(a) for a in scaling} != {width}:
        raise ValueError(f"a scaling of {[len(a) for a in scaling]} columns for {width}")
    return scaling
