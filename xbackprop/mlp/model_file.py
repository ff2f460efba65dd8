"""Model files: safetensors, with the configuration as JSON in the metadata. No pickle: reading a file runs no code.

Tensors `coefs.0`, `intercepts.0`, … hold W_l (n_in, n_out) and b_l (n_out,), C-ordered; a checkpoint has others
beside them. Metadata: `format` ("xbackprop"), `format_version`, `configuration`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from xbackprop.errors import ModelFileError
from xbackprop.files import write_atomically

FORMAT = "xbackprop"
FORMAT_VERSION = 1


def save(
    path: str | PathLike[str],
    layers: Sequence[Sequence[np.ndarray]],
    configuration: Mapping[str, Any],
    others: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a file atomically: whoever looks finds the old one or the new one, whole."""
    import json  # here and below: what training need not wait for

    from safetensors.numpy import save as to_bytes

    tensors = {name: np.ascontiguousarray(a) for name, a in (others or {}).items()}
    for l, (W, b) in enumerate(layers):  # safetensors writes strided arrays wrongly: they must be contiguous
        tensors[f"coefs.{l}"] = np.ascontiguousarray(W)
        tensors[f"intercepts.{l}"] = np.ascontiguousarray(np.reshape(b, -1))
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "configuration": json.dumps(configuration, allow_nan=False),
    }
    write_atomically(Path(path), to_bytes(tensors, metadata))


def load(
    path: str | PathLike[str],
) -> tuple[list[tuple[np.ndarray, np.ndarray]], dict[str, Any], dict[str, np.ndarray]]:
    """(W_l, b_l) with b_l as a row, the configuration, other tensors; ModelFileError says what is wrong with a file."""
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


def pack_labels(classes: np.ndarray) -> dict[str, Any]:
    """Labels as JSON: their dtype and their values."""
    kind = classes.dtype.kind
    if kind in "biufU" or (kind == "O" and all(isinstance(c, str) for c in classes)):
        return {"dtype": classes.dtype.str, "values": classes.tolist()}
    if kind in "mM":
        return {"dtype": classes.dtype.str, "values": classes.astype(np.int64).tolist()}
    raise ValueError(f"MLP.save: labels must be numbers, text or dates to be saved, got dtype {classes.dtype}")


def unpack_labels(packed: Mapping[str, Any]) -> np.ndarray:
    """The inverse of `pack_labels`."""
    dtype = np.dtype(packed["dtype"])
    return np.array(packed["values"], dtype=np.int64 if dtype.kind in "mM" else dtype).astype(dtype)
