"""Write checkpoints of a run during training, and read one to resume the run."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.errors import ModelFileError
from xbackprop.mlp import model_file
from xbackprop.mlp.model import Model
from xbackprop.mlp.setting_table import SETTINGS, defaults_of
from xbackprop.mlp.settings import Settings
from xbackprop.mlp.tensor_file import checked
from xbackprop.training.checkpoints import Saver, check_tensors, pack, unpack
from xbackprop.training.plan import Progress

DEFAULTS = defaults_of()
#: Settings that must be the same in the run that wrote a checkpoint and in the run that resumes it.
FIXED = tuple(s.name for s in SETTINGS if s.in_files and not s.changes_on_resume)


def make_saver(where: str, settings: Settings, model: Model, n: int) -> Saver | None:
    """Return the function that writes a checkpoint when one is due, or None if the settings ask for none."""
    if settings.checkpoint is None:
        return None
    path, digest = settings.checkpoint.path, model.progress.digest

    def write(theta: Array, progress: Progress) -> None:
        numbers, tensors = pack(model.backend, progress)
        now = model._replace(theta=theta, progress=progress)
        model_file.write(path, now, {**numbers, "rows": n, "digest": digest}, tensors)

    return Saver(where, settings.checkpoint, write)


def read_checkpoint(where: str, settings: Settings, model: Model, n: int) -> Model:
    """Return the model in the checkpoint.

    Raises
    ------
    ValueError : if its network, its settings or its n samples were others. ModelFileError : if the file is damaged.
    """
    assert settings.checkpoint is not None
    path, digest = settings.checkpoint.path, model.progress.digest
    contents = model_file.read(where, path)
    backend, numbers, ours, theirs = model.backend, contents.progress, model.settings, contents.settings
    if numbers is None:
        raise ModelFileError(f"{where}: {path} is a model file and not the checkpoint of a run")
    sizes, layout = contents.layout.sizes, model.objective.layout
    differ = [name for name in FIXED if ours[name] != theirs.get(name, DEFAULTS[name])]  # older files lack some
    if (
        ours["random_state"] is None and "random_state" in differ
    ):  # without a seed the run goes on with that of the file
        differ.remove("random_state")
    if (sizes, numbers["rows"]) != (layout.sizes, n) or differ:
        raise ValueError(
            f"{where}: {path} is of another run: layers {sizes} and {numbers['rows']} rows, where "
            f"here are {layout.sizes} and {n}" + (f"; other settings: {', '.join(differ)}" if differ else "")
        )
    if "digest" not in numbers:
        message = f"{where}: {path} is of an older version, which has no digest of the data to compare with"
        warnings.warn(message, RuntimeWarning, stacklevel=5)
    elif numbers["digest"] != digest:
        raise ValueError(f"{where}: {path} is of another run: its samples, weights or classes were others")
    theta = layout.flatten(np, contents.layers)
    with checked(where, path):
        check_tensors(contents.others, theta, n, len(model.progress.state.moments))
        progress = unpack(backend, settings.plan, numbers, contents.others)
    theta = backend.copy(backend.asarray(theta, model.dtype))
    return model._replace(theta=theta, progress=replace(progress, digest=digest))
