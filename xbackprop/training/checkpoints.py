"""Checkpoints: a model file that also holds how far training has come, so that a run can go on as if never stopped."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.files import remove_left_behind
from xbackprop.optim.optimizers import State
from xbackprop.training.curve import Curve
from xbackprop.training.plan import CURVES, THETAS, Plan, Plateau, Progress

FILE = "checkpoint.safetensors"
#: Fields of `Progress` and their names in files.
_COUNTS = {"seed": "seed", "epoch": "epoch", "samples": "samples", "first_epoch": "begun", "stop_reason": "end"}
_ROWS = {"row_order": "order", "training_rows": "kept", "validation_rows": "held_out"}
BEST_THETA = "progress.best_theta"  # the tensor with the best θ so far, with early stopping


class Checkpoint(NamedTuple):
    """The folder of checkpoints, their interval, and whether training ends if one cannot be written.

    The interval is `epochs`, or instead `minutes`, if it is given.
    """

    folder: Path
    epochs: int = 1
    minutes: float | None = None
    required: bool = False

    @property
    def path(self) -> Path:
        """The path of the checkpoint file."""
        return self.folder / FILE


class Saver:
    """Call ``write(θ, progress)`` after an epoch when a checkpoint is due, and after the last epoch.

    A checkpoint that cannot be written is a RuntimeWarning, since training has lost nothing; if it is `required`,
    training ends after this epoch.
    """

    def __init__(self, where: str, checkpoint: Checkpoint, write: Callable[[Array, Progress], None]) -> None:
        self.where, self.checkpoint, self.write = where, checkpoint, write
        self.saved = time.monotonic()
        checkpoint.folder.mkdir(parents=True, exist_ok=True)
        remove_left_behind(checkpoint.path)

    def __call__(self, theta: Array, progress: Progress) -> None:
        """Write a checkpoint after an epoch if it is due."""
        minutes = self.checkpoint.minutes
        if minutes is None:
            due = progress.epoch % self.checkpoint.epochs == 0
        else:
            due = time.monotonic() - self.saved >= 60.0 * minutes
        if not (due or progress.stop_reason):
            return
        try:
            self.checkpoint.folder.mkdir(parents=True, exist_ok=True)  # it may have been removed meanwhile
            self.write(theta, progress)
        except OSError as error:
            then = "training ends" if self.checkpoint.required else "training goes on"
            reason = error.strerror or str(error)
            message = f"{self.where}: {self.checkpoint.path} could not be written, and {then}: {reason}"
            warnings.warn(message, RuntimeWarning, stacklevel=4)
            if self.checkpoint.required:
                progress.stop_reason = progress.stop_reason or "interrupted"
        self.saved = time.monotonic()


def pack(backend: Backend, progress: Progress) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Split a progress into JSON and tensors: numbers that may be infinite, and long lists, become tensors."""
    _, keys, position, has_gauss, gauss = progress.rng.get_state(legacy=True)  # type: ignore[misc]
    plateau, state = progress.plateau, progress.state
    numbers = {
        **{there: getattr(progress, name) for name, there in _COUNTS.items()},
        "t": state.t, "count": plateau.count, "position": int(position), "has_gauss": int(has_gauss),
    }  # fmt: skip
    floats = [progress.rate_factor, progress.best_score, plateau.best, gauss]
    tensors = {"rng": np.asarray(keys), "floats": np.array(floats, dtype=np.float64)}
    tensors |= {name: np.array(getattr(progress, name).tolist(), dtype=np.float64) for name in CURVES}
    rows = {there: getattr(progress, name) for name, there in _ROWS.items()}
    tensors |= {there: a for there, a in rows.items() if a is not None}
    tensors |= {
        name: backend.to_host(getattr(progress, name)) for name in THETAS if getattr(progress, name) is not None
    }
    tensors |= {f"moments.{i}": backend.to_host(m) for i, m in enumerate(state.moments)}
    return numbers, {f"progress.{name}": a for name, a in tensors.items()}


def unpack(backend: Backend, plan: Plan, numbers: dict[str, Any], tensors: dict[str, np.ndarray]) -> Progress:
    """Rebuild a progress from the JSON and the tensors of `pack`."""
    parts = {name.removeprefix("progress."): a for name, a in tensors.items()}
    rate_factor, best_score, best, gauss = parts["floats"].tolist()
    plateau = Plateau(plan.tol, plan.patience)
    plateau.best, plateau.count = best, numbers["count"]
    rng = np.random.RandomState()
    rng.set_state(("MT19937", parts["rng"], numbers["position"], numbers["has_gauss"], gauss))
    n_moments = sum(name.startswith("moments.") for name in parts)
    moments = tuple(backend.copy(backend.asarray(parts[f"moments.{i}"])) for i in range(n_moments))
    restored: dict[str, Any] = {name: numbers[there] for name, there in _COUNTS.items()}
    restored |= {name: Curve(parts[name].tolist()) for name in CURVES}
    restored |= {name: parts.get(there) for name, there in _ROWS.items()}
    restored |= {name: backend.copy(backend.asarray(parts[name])) for name in THETAS if name in parts}
    state = State(numbers["t"], moments)
    return Progress(state, rng, plateau, rate_factor=rate_factor, best_score=best_score, **restored)


def check_tensors(tensors: Mapping[str, np.ndarray], theta: np.ndarray, n: int, n_moments: int) -> None:
    """Raise ValueError if the tensors are not those of `pack`, for this θ, n rows and so many moments."""
    of_theta = [f"moments.{i}" for i in range(n_moments)]
    of_theta += [name for name in THETAS if f"progress.{name}" in tensors]
    expected = {
        "rng": ("u", (624,)), "floats": ("f", (4,)), **dict.fromkeys(CURVES, ("f", (None,))),
        **dict.fromkeys(of_theta, (theta.dtype.kind, theta.shape)),
        **{name: ("iu", (None,)) for name in _ROWS.values() if f"progress.{name}" in tensors},
    }  # fmt: skip
    for name, (kinds, shape) in expected.items():
        a = tensors.get(f"progress.{name}")
        if a is None or a.dtype.kind not in kinds or a.ndim != len(shape) or (shape != (None,) and a.shape != shape):
            got = "none" if a is None else f"{a.dtype} {a.shape}"
            raise ValueError(f"the tensor progress.{name} must have the shape {shape}, got {got}")
        if name in of_theta and a.dtype != theta.dtype:
            raise ValueError(f"the tensor progress.{name} must be {theta.dtype}, got {a.dtype}")
    parts = [tensors[f"progress.{name}"] for name in ("kept", "held_out") if f"progress.{name}" in tensors]
    orders = [(np.concatenate(parts), n)] if parts else []
    if "progress.order" in tensors:
        orders.append((tensors["progress.order"], len(parts[0]) if parts else n))
    for rows, count in orders:
        if not np.array_equal(np.sort(rows), np.arange(count)):
            raise ValueError(f"the rows of a run must be the numbers from 0 to {count - 1}, each once")
