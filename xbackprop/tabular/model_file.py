"""Files of tabular models: networks as in `mlp.model_file`, their encoders and what is known of the fit as JSON."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from xbackprop.arrays.discovery import get_backend
from xbackprop.distributed.launch import find_communicator
from xbackprop.errors import ModelFileError
from xbackprop.mlp.file_schema import labels, pack_labels
from xbackprop.mlp.mlp import MLP, hold
from xbackprop.mlp.model_file import model_of, pack_several, several
from xbackprop.mlp.tensor_file import checked, read_tensors, write_tensors
from xbackprop.tabular.base import BaseTabular, Group
from xbackprop.tabular.blocks import Block, ColumnReport
from xbackprop.tabular.categories import OneHotCode, TargetCode
from xbackprop.tabular.classifier import TabularClassifier
from xbackprop.tabular.encoder import TableEncoder
from xbackprop.tabular.evaluation import pack_evaluation, unpack_evaluation
from xbackprop.tabular.numbers import NumberCode
from xbackprop.tabular.regressor import TabularRegressor

MODELS: dict[str, type[BaseTabular]] = {cls.__name__: cls for cls in (TabularClassifier, TabularRegressor)}
CODES = {cls.__name__: cls for cls in (NumberCode, OneHotCode, TargetCode)}
#: Attributes that a file keeps as they are; it leaves out the validation predictions, which are as long as the table.
ATTRIBUTES = (
    "curves_", "n_features_in_", "n_iter_", "metric_", "validation_score_", "time_limit_reached_", "fit_seconds_",
    "leaderboard_",
)  # fmt: skip


def save_tabular(model: BaseTabular, path: str | PathLike[str]) -> None:
    """Write a fitted tabular model to a safetensors file, atomically: no pickle, and reading it runs no code."""
    where = f"{type(model).__name__}.save"
    if find_communicator(where, model.communicator).rank:
        return  # the first rank writes
    networks = model.networks_
    tensors, configurations = pack_several([net.model_ for net in networks])
    fitted = {name: getattr(model, name) for name in ATTRIBUTES}
    fitted["curves_"] = [{name: _plain(v) for name, v in curve.items()} for curve in model.curves_]
    fitted["columns"] = {name: [_plain(v) for v in report] for name, report in model.columns_.items()}
    fitted["evaluation"] = pack_evaluation(model.evaluation_) if hasattr(model, "evaluation_") else None
    fitted["leaderboard_"] = [{name: _plain(v) for name, v in row.items()} for row in model.leaderboard_]
    fitted["feature_names"] = list(model.feature_names_in_) if hasattr(model, "feature_names_in_") else None
    fitted["classes"] = pack_labels(model.classes_) if isinstance(model, TabularClassifier) else None
    fitted["range"] = [np.asarray(a).tolist() for a in model.range_] if isinstance(model, TabularRegressor) else None
    groups = [{"encoder": pack_encoder(g.encoder), "networks": len(g.networks)} for g in model.groups_]
    known, left_out = _parameters(model)
    write_tensors(
        path, tensors,
        {"tabular": {"model": type(model).__name__, "parameters": known, "fitted": fitted, "groups": groups},
         "networks": configurations},
    )  # fmt: skip
    if left_out:
        warnings.warn(f"{where}: {path} does not hold {', '.join(left_out)}", stacklevel=3)


def load_tabular(path: str | PathLike[str], *, backend: Any = None, device: Any = None) -> Any:
    """Read a `TabularClassifier` or `TabularRegressor` from a file that its `save` wrote, on any backend.

    Raises
    ------
    ModelFileError : for a file that is damaged, or of something else.
    """
    where = "load_tabular"
    tensors, configuration = read_tensors(where, path)
    home = get_backend(backend or "numpy", device)
    if not (isinstance(configuration, Mapping) and "tabular" in configuration):
        raise ModelFileError(f"{where}: {path} is of a network, not of a model for tables; MLP.load reads it")
    with checked(where, path):
        given = configuration["tabular"]
        model = MODELS[given["model"]](
            **{**_read_parameters(given["parameters"]), "backend": backend, "device": device}
        )
        contents = several(where, tensors, configuration["networks"])
        held = [model_of(where, path, content, home, (), ()) for content in contents]
        networks = [
            hold({**settings, "backend": backend, "device": device}, m, len(m.progress.loss_curve))
            for settings, m in held
        ]
        _take_over(model, given, networks)
    return model


def _take_over(model: BaseTabular, given: Mapping[str, Any], networks: list[MLP]) -> None:
    """Set the attributes of a fitted model."""
    fitted, left = given["fitted"], list(networks)
    groups = []
    for group in given["groups"]:
        n = int(group["networks"])
        groups.append(Group(unpack_encoder(group["encoder"]), left[:n]))
        left = left[n:]
    if left or not groups or any(not group.networks for group in groups):
        raise ValueError(f"{len(networks)} networks do not fit the groups")
    for encoder, of in groups:
        width = len(encoder.get_feature_names_out())
        if any(net.n_features_in_ != width for net in of):
            raise ValueError(f"an encoder of {width} columns for networks of {[net.n_features_in_ for net in of]}")
    model.groups_ = groups
    for name in ATTRIBUTES:
        setattr(model, name, fitted[name])
    model.columns_ = _read_columns(fitted["columns"])
    if fitted["evaluation"] is not None:
        model.evaluation_ = unpack_evaluation(fitted["evaluation"])
    for row in model.leaderboard_:
        row["score"] = math.nan if row["score"] is None else row["score"]
    if fitted["feature_names"] is not None:
        model.feature_names_in_ = np.array(fitted["feature_names"], dtype=object)
    if isinstance(model, TabularClassifier):
        model.classes_ = labels("load_tabular", "classes", fitted["classes"])
        model.n_classes_ = len(model.classes_)
        if any(len(net.classes_) != model.n_classes_ for net in networks):
            raise ValueError(f"networks of other classes than {model.classes_.tolist()}")
    elif isinstance(model, TabularRegressor):
        low, high = (np.array(a) for a in fitted["range"])
        model.range_ = low, high


def pack_encoder(encoder: TableEncoder) -> dict[str, Any]:
    """Return a fitted encoder as JSON has it."""
    return {
        "parameters": {name: _plain(v) for name, v in encoder.get_params().items()},
        "n_features": encoder.n_features_in_,
        "feature_names": list(encoder.feature_names_in_) if hasattr(encoder, "feature_names_in_") else None,
        "columns": {name: [_plain(v) for v in report] for name, report in encoder.columns_.items()},
        "blocks": [
            {"column": b.column, "kind": b.kind, "part": b.part, "code": type(b.code).__name__, "with": _packed(b.code)}
            for b in encoder.blocks_
        ],
    }


def unpack_encoder(packed: Mapping[str, Any]) -> TableEncoder:
    """Return the encoder; the reverse of `pack_encoder`."""
    encoder = TableEncoder(**packed["parameters"])
    encoder.n_features_in_ = int(packed["n_features"])
    if packed["feature_names"] is not None:
        encoder.feature_names_in_ = np.array(packed["feature_names"], dtype=object)
    encoder.columns_ = _read_columns(packed["columns"])
    encoder.blocks_ = [
        Block(b["column"], b["kind"], b["part"], _unpacked(CODES[b["code"]], b["with"])) for b in packed["blocks"]
    ]
    return encoder


def _read_columns(packed: Mapping[str, Any]) -> dict[str, ColumnReport]:
    return {
        name: ColumnReport(kind, becomes, tuple(levels), missing, tuple(features))
        for name, (kind, becomes, levels, missing, features) in packed.items()
    }


def _packed(code: Any) -> dict[str, Any]:
    return {name: v.tolist() if isinstance(v, np.ndarray) else _plain(v) for name, v in code._asdict().items()}


def _unpacked(cls: Any, fields: Mapping[str, Any]) -> Any:
    """Return an encoding; its arrays are lists in the file, its levels too."""
    text = ("levels", "rare")
    return cls(
        **{
            name: tuple(v) if name in text else np.array(v, dtype=np.float64) if isinstance(v, list) else v
            for name, v in fields.items()
        }
    )


def _parameters(model: BaseTabular) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters that a file can hold, and those that it cannot, in words."""
    known, left_out = {}, []
    for name, value in model.get_params(deep=False).items():
        if name in ("backend", "device", "communicator"):
            continue
        if isinstance(value, TableEncoder):
            value = {"encoder": {key: _plain(v) for key, v in value.get_params().items()}}
        try:
            known[name] = json.loads(json.dumps(_plain(value), allow_nan=False))
        except (TypeError, ValueError):
            left_out.append(f"{name}={value!r}")
    return known, left_out


def _read_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in parameters.items()}
    if isinstance(own := read.get("encoder"), Mapping):
        read["encoder"] = TableEncoder(**own["encoder"])
    return read


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: NumPy's numbers as Python's, NaN as None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value
