"""Write checkpoints of a run during training, and read one to resume the run."""

from __future__ import annotations

from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.mlp import model_file
from xbackprop.mlp.model import Model
from xbackprop.mlp.setting_table import SETTINGS
from xbackprop.mlp.settings import Settings
from xbackprop.training.checkpoints import Saver, pack, unpack
from xbackprop.training.plan import Progress

#: Settings that must be the same in the run that wrote a checkpoint and in the run that resumes it.
FIXED = tuple(s.name for s in SETTINGS if s.in_files and not s.changes_on_resume)


def make_saver(settings: Settings, model: Model, n: int, fingerprint: Any) -> Saver | None:
    """Return the function that writes a checkpoint when one is due, or None if the settings ask for none."""
    if settings.checkpoint is None:
        return None
    path = settings.checkpoint.path

    def write(theta: Array, progress: Progress) -> None:
        numbers, tensors = pack(model.backend, progress)
        tensors["progress.data"] = fingerprint
        now = model._replace(theta=theta, progress=progress)
        model_file.write(path, now, progress.loss_curve, {**numbers, "rows": n}, tensors)

    return Saver(settings.checkpoint, write)


def read_checkpoint(where: str, settings: Settings, model: Model, n: int, fingerprint: Any) -> Model:
    """Return the model in the checkpoint; raise ValueError if its network or its n rows of data were others."""
    assert settings.checkpoint is not None
    path = settings.checkpoint.path
    layers, configuration, tensors = model_file.read(path)
    backend, layout = model.backend, model.objective.layout
    numbers = configuration["progress"]
    sizes = (layers[0][0].shape[0], *(W.shape[1] for W, _ in layers))
    ours, theirs = model.settings, configuration["settings"]
    differ = [name for name in FIXED if ours[name] != theirs.get(name)]
    if (sizes, numbers["rows"]) != (layout.sizes, n) or differ:
        raise ValueError(
            f"{where}: {path} is of another run: layers {sizes} and {numbers['rows']} rows, where "
            f"here are {layout.sizes} and {n}" + (f"; other settings: {', '.join(differ)}" if differ else "")
        )
    if not np.allclose(tensors["progress.data"], fingerprint, rtol=1e-5, atol=1e-8):
        raise ValueError(f"{where}: {path} is of another run: its data were others")
    theta = backend.copy(backend.asarray(layout.flatten(np, layers), model.dtype))
    return model._replace(theta=theta, progress=unpack(backend, settings.plan, numbers, tensors))
