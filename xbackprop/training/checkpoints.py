"""Checkpoints: a model file that also holds how far training has come, so that a run can go on as if never stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.optim.optimizers import State
from xbackprop.training.plan import CURVES, Plan, Plateau, Progress

FILE = "checkpoint.safetensors"
#: Fields of `Progress` and their names in files.
_COUNTS = {"seed": "seed", "epoch": "epoch", "samples": "samples", "first_epoch": "begun", "stop_reason": "end"}
_ROWS = {"row_order": "order", "training_rows": "kept", "validation_rows": "held_out"}
_THETAS = ("best_theta", "last_theta")


class Checkpoint(NamedTuple):
    """The folder of checkpoints and their interval: `epochs`, or instead `minutes`, if it is given."""

    folder: Path
    epochs: int = 1
    minutes: float | None = None

    @property
    def path(self) -> Path:
        """The path of the checkpoint file."""
        return self.folder / FILE


class Saver:
    """Call ``write(θ, progress)`` after an epoch when a checkpoint is due, and after the last epoch."""

    def __init__(self, checkpoint: Checkpoint, write: Callable[[Array, Progress], None]) -> None:
        self.checkpoint, self.write = checkpoint, write
        self.saved = time.monotonic()
        checkpoint.folder.mkdir(parents=True, exist_ok=True)
        for left in checkpoint.folder.glob(f".{FILE}.*"):  # temporary files of a run that was killed while it wrote
            left.unlink(missing_ok=True)

    def __call__(self, theta: Array, progress: Progress) -> None:
        """Write a checkpoint after an epoch if it is due."""
        minutes = self.checkpoint.minutes
        if minutes is None:
            due = progress.epoch % self.checkpoint.epochs == 0
        else:
            due = time.monotonic() - self.saved >= 60.0 * minutes
        if due or progress.stop_reason:
            self.write(theta, progress)
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
    tensors |= {name: np.array(getattr(progress, name), dtype=np.float64) for name in CURVES}
    rows = {there: getattr(progress, name) for name, there in _ROWS.items()}
    tensors |= {there: a for there, a in rows.items() if a is not None}
    tensors |= {
        name: backend.to_host(getattr(progress, name)) for name in _THETAS if getattr(progress, name) is not None
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
    restored |= {name: parts[name].tolist() for name in CURVES}
    restored |= {name: parts.get(there) for name, there in _ROWS.items()}
    restored |= {name: backend.copy(backend.asarray(parts[name])) for name in _THETAS if name in parts}
    state = State(numbers["t"], moments)
    return Progress(state, rng, plateau, rate_factor=rate_factor, best_score=best_score, **restored)
