"""The description of everything that a model file may hold beside its tensors: each entry with the check of its value.

A file is read through `CONFIGURATION` before anything is made of it, so that damage is an error in words, whatever was
damaged. Checks are those of `setting` and `validation`: ``check(where, name, value)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from xbackprop.data.targets import DEFAULT_LOSSES
from xbackprop.mlp.setting import Check, at_least, choice, optional
from xbackprop.mlp.setting_table import SETTINGS
from xbackprop.validation import fraction, integer, non_negative, number, positive


def fields(description: Mapping[str, Check], optional_names: tuple[str, ...] = ()) -> Check:
    """Return a check for a mapping that has these entries, each with a value that its check accepts."""

    def checked(where: str, name: str, value: Any) -> dict[str, Any]:
        """Check the entries of a mapping."""
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: {name} must have entries, got {value!r}")
        if unknown := sorted(set(value) - set(description)):
            raise ValueError(f"{where}: {name} must have no entries but {sorted(description)}, got {unknown}")
        if missing := sorted(set(description) - set(value) - set(optional_names)):
            raise ValueError(f"{where}: {name} must have the entries {missing}")
        return {key: description[key](where, f"{name}.{key}", entry) for key, entry in value.items()}

    return checked


def list_of(check: Check) -> Check:
    """Return a check for a list whose items this check accepts."""

    def checked(where: str, name: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError(f"{where}: {name} must be a list, got {value!r}")
        return [check(where, f"{name}[{i}]", item) for i, item in enumerate(value)]

    return checked


def below(bound: int) -> Check:
    """Return a check for a whole number of at least 0 and less than `bound`."""

    def checked(where: str, name: str, value: Any) -> int:
        if integer(where, name, value, 0) >= bound:
            raise ValueError(f"{where}: {name} must be less than {bound}, got {value!r}")
        return int(value)

    return checked


def boolean(where: str, name: str, value: Any) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{where}: {name} must be true or false, got {value!r}")
    return value


def text(where: str, name: str, value: Any) -> str:
    """Check for a text."""
    if not isinstance(value, str):
        raise ValueError(f"{where}: {name} must be text, got {value!r}")
    return value


def loss_or_nothing(where: str, name: str, value: Any) -> float:
    """Check for a number, or None for one that was not finite, and return it."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
        raise ValueError(f"{where}: {name} must be a number or null, got {value!r}")
    return np.nan if value is None else float(value)


def finite(where: str, name: str, value: Any) -> float:
    """Check for a finite number."""
    return number(where, name, value, math.isfinite, "a finite number")


def label(where: str, name: str, value: Any) -> Any:
    """Check for a label as JSON has it: a number, text, true or false."""
    if not isinstance(value, str | bool | Real):
        raise ValueError(f"{where}: {name} must be a number, text, true or false, got {value!r}")
    return value


def labels(where: str, name: str, value: Any) -> np.ndarray:
    """Return the array of labels that `pack_labels` made JSON of; they must be sorted and distinct."""
    packed = fields({"dtype": text, "values": list_of(label)})(where, name, value)
    dtype, values = np.dtype(packed["dtype"]), packed["values"]
    if dtype.kind not in "biufUOmM" or not 0 <= dtype.itemsize <= 2**16:  # of text of that length nothing is allocated
        raise ValueError(f"{where}: {name}.dtype must be one of numbers, text or dates, got {packed['dtype']!r}")
    array = np.array(values, dtype=np.int64 if dtype.kind in "mM" else dtype).astype(dtype)
    if array.ndim != 1 or pack_labels(array) != packed or not np.all(array[:-1] < array[1:]):
        raise ValueError(f"{where}: {name}.values must be distinct labels of {dtype}, sorted, got {values!r:.100}")
    return array


def pack_labels(classes: np.ndarray) -> dict[str, Any]:
    """Convert labels to JSON: their dtype and their values."""
    kind = classes.dtype.kind
    if kind in "biufU" or (kind == "O" and all(isinstance(c, str) for c in classes)):
        return {"dtype": classes.dtype.str, "values": classes.tolist()}
    if kind in "mM":
        return {"dtype": classes.dtype.str, "values": classes.astype(np.int64).tolist()}
    raise ValueError(f"MLP.save: labels must be numbers, text or dates to be saved, got dtype {classes.dtype}")


def setting(where: str, name: str, value: Any) -> Any:
    """Accept a setting as it is, since `read_settings` checks it after names have become functions."""
    return value


SCALING = fields({"mean": list_of(finite), "deviation": list_of(positive)})
#: The meaning of the outputs, the fields of `Targets`.
TARGETS = {
    "kind": choice(DEFAULT_LOSSES),
    "classes": optional(labels),
    "n_outputs": at_least(1),
    "vector": boolean,
    "smoothing": fraction,
    "weights": optional(list_of(non_negative)),
    "scaling": optional(SCALING),
    "copies": at_least(1),
    "soft": boolean,
}
FITTED = {
    "targets": fields(TARGETS, ("scaling", "copies", "soft")),
    "inputs": optional(SCALING),
    "feature_names": optional(list_of(text)),
    "loss_curve": list_of(loss_or_nothing),
}
#: The numbers of a run, in checkpoints alone; its tensors are described in `training.checkpoints`.
PROGRESS = {
    "seed": below(2**32),
    "epoch": at_least(0),
    "samples": at_least(0),
    "begun": at_least(0),
    "end": choice(("", "max_iter", "converged", "diverged", "interrupted", "time_limit", "stopped")),
    "t": at_least(0),
    "count": at_least(0),
    "position": below(625),  # in the 624 words of NumPy's generator, which takes others without a check
    "has_gauss": below(2),
    "rows": at_least(1),
    "digest": text,
}
CONFIGURATION = fields(
    {
        "settings": fields(
            dict.fromkeys([s.name for s in SETTINGS if s.in_files], setting), tuple(s.name for s in SETTINGS)
        ),
        "fitted": fields(FITTED, ("inputs",)),
        "progress": optional(fields(PROGRESS, ("digest",))),
    }
)
