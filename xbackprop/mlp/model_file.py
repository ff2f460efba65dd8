"""Model files: safetensors, with the configuration as JSON in the metadata. No pickle: reading a file runs no code.

Tensors `coefs.0`, `intercepts.0`, … hold W_l (n_in, n_out) and b_l (n_out,), C-ordered; a checkpoint has further
tensors. Metadata: `format` ("xbackprop"), `format_version`, `configuration`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Backend
from xbackprop.data.targets import Targets
from xbackprop.errors import ModelFileError
from xbackprop.files import write_atomically
from xbackprop.mlp.model import Model, make_objective
from xbackprop.mlp.setting_table import defaults_of
from xbackprop.mlp.settings import LOG_LOSS, read_settings
from xbackprop.nn.activations import ACTIVATIONS, Activation
from xbackprop.nn.losses import LOSSES, Loss
from xbackprop.nn.parameters import Layout
from xbackprop.training.plan import start_progress

FORMAT = "xbackprop"
FORMAT_VERSION = 1


def write(
    path: str | PathLike[str],
    model: Model,
    loss_curve: Sequence[float],
    progress: Mapping[str, Any] | None = None,
    others: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a model file atomically: a reader finds the complete old file or the complete new one.

    progress, others : for a checkpoint, the numbers and the tensors of the run.

    Raises
    ------
    ValueError : for an activation or a loss of the user's own that has the name of one of xbackprop's.
    """
    _check_names(model)
    targets = model.targets._asdict()
    for name, packed in (("classes", pack_labels), ("weights", np.ndarray.tolist)):
        targets[name] = None if targets[name] is None else packed(targets[name])
    fitted = {
        "targets": targets,
        "feature_names": model.feature_names,
        "loss_curve": [loss if np.isfinite(loss) else None for loss in loss_curve],
    }
    configuration = {"settings": model.settings, "fitted": fitted, "progress": progress}
    layers = [(model.backend.to_host(W), model.backend.to_host(b)) for W, b in model.layers()]
    write_tensors(path, layers, configuration, others or {})


def write_tensors(
    path: str | PathLike[str],
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    configuration: Mapping[str, Any],
    others: Mapping[str, np.ndarray],
) -> None:
    """Write (W_l, b_l), other tensors and the configuration."""
    import json  # imported here and below, so that training does not wait for it

    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(a) for name, a in others.items()}
    for l, (W, b) in enumerate(layers):  # safetensors writes strided arrays wrongly: they must be contiguous
        tensors[f"coefs.{l}"] = np.ascontiguousarray(W)
        tensors[f"intercepts.{l}"] = np.ascontiguousarray(np.reshape(b, -1))
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "configuration": json.dumps(configuration, allow_nan=False),
    }
    write_atomically(Path(path), save(tensors, metadata))


def read(
    path: str | PathLike[str],
) -> tuple[list[tuple[np.ndarray, np.ndarray]], dict[str, Any], dict[str, np.ndarray]]:
    """Read (W_l, b_l) with b_l as a row, the configuration, and other tensors; ModelFileError says what is damaged."""
    import json

    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):  # a missing file is a FileNotFoundError that names it
        pass
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except SafetensorError as error:
        raise ModelFileError(f"MLP.load: {path} is no safetensors file, or is damaged or cut short: {error}") from error
    try:
        configuration = json.loads(metadata["configuration"])
        count = sum(name.startswith("coefs.") for name in tensors)
        layers = [(tensors.pop(f"coefs.{l}"), tensors.pop(f"intercepts.{l}")[None, :]) for l in range(count)]
        widths = [layers[0][0].shape[0], *(W.shape[1] for W, _ in layers)]
        expected = [((n_in, n_out), (1, n_out)) for n_in, n_out in pairwise(widths)]
        if [(W.shape, b.shape) for W, b in layers] != expected:
            raise ValueError(f"tensor shapes {[(W.shape, b.shape) for W, b in layers]} do not fit together")
        if list(configuration["settings"]["hidden_layer_sizes"]) != widths[1:-1]:
            raise ValueError("the tensors do not have the hidden_layer_sizes of the configuration")
        if not all(np.isfinite(a).all() for layer in layers for a in layer):
            raise ValueError("a weight is not finite")
        if {a.dtype.name for layer in layers for a in layer} not in ({"float32"}, {"float64"}):
            raise ValueError("the tensors are not all float32 or all float64")
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ModelFileError(f"MLP.load: {path} is an xbackprop model with parts missing or wrong: {error}") from error
    return layers, configuration, tensors


def read_model(
    path: str | PathLike[str], home: Backend, activations: Sequence[Activation], losses: Sequence[Loss]
) -> tuple[dict[str, Any], Model, list[float]]:
    """Read the settings, the network on a backend, and the loss of every epoch.

    activations, losses : the user's own ones that the network was trained with, found by their names.
    """
    layers, configuration, _ = read(path)
    given = settings_from_json(path, configuration["settings"], activations, losses)
    try:
        if unknown := sorted(set(given) - set(defaults_of())):
            raise KeyError(f"unknown settings {unknown}")
        settings = read_settings("MLP.load", {**defaults_of(), **given})
        fitted = configuration["fitted"]
        targets = _targets(fitted["targets"], settings.values["task"], layers[-1][0].shape[1])
        names, curve = fitted["feature_names"], [np.nan if loss is None else loss for loss in fitted["loss_curve"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"MLP.load: {path} has a configuration that is not valid: {error!r}") from error
    layout = Layout([layers[0][0].shape[0], *(W.shape[1] for W, _ in layers)])
    theta = home.asarray(layout.flatten(np, layers))
    objective = make_objective(settings, home, layout, targets)
    progress = start_progress(home, settings.plan, theta, settings.rng())
    return given, Model(objective, theta, targets, progress, settings.to_json(), names), curve


def _check_format(path: str | PathLike[str], metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"MLP.load: {path} is a safetensors file, but not of xbackprop: its format is {metadata.get('format')!r}"
        )
    version = metadata.get("format_version", "")
    if not version.isdigit() or int(version) > FORMAT_VERSION:
        raise ModelFileError(
            f"MLP.load: {path} has format version {version!r}, and this xbackprop reads up to {FORMAT_VERSION}; "
            f"upgrade xbackprop"
        )


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
    path: str | PathLike[str], settings: Mapping[str, Any], own: Sequence[Activation], own_losses: Sequence[Loss]
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
    read = {
        **settings,
        "loss": losses[loss],
        "activation": [find(name) for name in activation] if isinstance(activation, list) else find(activation),
        "hidden_layer_sizes": tuple(settings["hidden_layer_sizes"]),
    }
    if settings.get("n_iter_no_change") == "inf":
        read["n_iter_no_change"] = math.inf
    if isinstance(settings.get("class_weight"), list):
        read["class_weight"] = dict(settings["class_weight"])
    return read


def _targets(packed: Mapping[str, Any], task: str, n_outputs: int) -> Targets:
    """Rebuild the `Targets` from a file; raise ValueError if they do not suit the task."""
    classes = None if packed["classes"] is None else unpack_labels(packed["classes"])
    weights = None if packed["weights"] is None else np.array(packed["weights"], dtype=np.float64)
    targets = Targets(**{**packed, "classes": classes, "weights": weights})
    outputs = {"numbers": targets.n_outputs, "binary": 1}.get(targets.kind, 0 if classes is None else len(classes))
    fits = (targets.kind == "numbers") == (task == "regression") == (classes is None)
    too_many = targets.kind == "binary" and classes is not None and len(classes) > 2
    if not fits or not outputs == n_outputs == targets.n_outputs or too_many:
        raise ValueError(f"{n_outputs} outputs of a {task}, and the classes {classes}")
    return targets


def pack_labels(classes: np.ndarray) -> dict[str, Any]:
    """Convert labels to JSON: their dtype and their values."""
    kind = classes.dtype.kind
    if kind in "biufU" or (kind == "O" and all(isinstance(c, str) for c in classes)):
        return {"dtype": classes.dtype.str, "values": classes.tolist()}
    if kind in "mM":
        return {"dtype": classes.dtype.str, "values": classes.astype(np.int64).tolist()}
    raise ValueError(f"MLP.save: labels must be numbers, text or dates to be saved, got dtype {classes.dtype}")


def unpack_labels(packed: Mapping[str, Any]) -> np.ndarray:
    """Convert labels from the JSON of `pack_labels` back to an array."""
    dtype = np.dtype(packed["dtype"])
    return np.array(packed["values"], dtype=np.int64 if dtype.kind in "mM" else dtype).astype(dtype)
