"""The settings of training, `Plan`, and its state after an epoch, `Progress`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.optim.optimizers import Optimizer, State
from xbackprop.optim.schedules import Schedule, TrainingTime, constant
from xbackprop.training.curve import Curve

CURVES = ("loss_curve", "validation_scores", "validation_losses")  # fields of a `Progress`
REDRAWN = 16  # permutations that a rewind of the random numbers draws again at the most
THETAS = ("best_theta", "last_theta")  # and those that are None or like θ


class Plateau:
    """scikit-learn's rule: stop when more than `patience` epochs in a row improve the best loss by less than tol."""

    def __init__(self, tol: float, patience: float) -> None:
        self.tol, self.patience = tol, patience
        self.best, self.count = np.inf, 0

    def reached(self, loss: float) -> bool:
        """Take the loss of one more epoch into account; return whether training should stop."""
        self.count = self.count + 1 if loss > self.best - self.tol else 0
        self.best = min(self.best, loss)
        return self.count > self.patience

    def copy(self) -> Plateau:
        """Return a copy with a state of its own."""
        other = Plateau(self.tol, self.patience)
        other.best, other.count = self.best, self.count
        return other


@dataclass(frozen=True)
class Plan:
    """The settings of training that stay the same from the first epoch to the last.

    Parameters
    ----------
    batch_size : the rows of a step. max_iter : the most epochs. shuffle : whether every epoch reorders the rows,
        all of them or, "blocks", those of blocks and the blocks.
    tol, patience : the parameters of `Plateau`.
    adaptive : whether a plateau divides the rate by 5, until it is 1e-6, before it ends training.
    learning_rate_init, schedule, warmup : η, the factor by which it changes, and the epochs over which it rises from 0.
    clip_norm : the upper bound of the gradient's norm, or None for no bound.
    weight_decay : λ of the decay that is not part of the gradient.
    dropout : a rate for every hidden layer, or () for no dropout.
    ema_decay : β of the average of θ that predictions use, or None to use θ itself.
    early_stopping : whether the score of held-out rows decides when to stop, and the best θ is kept.
    infinite_loss : whether training goes on when the loss or θ is not finite.
    shared_stream : whether the random number generator is the user's own, who may draw from it in a callback.
    """

    optimizer: Optimizer
    learning_rate_init: float = 1e-3
    batch_size: int = 200
    max_iter: int = 200
    shuffle: bool | str = True
    tol: float = 1e-4
    patience: float = 10
    adaptive: bool = False
    schedule: Schedule = constant
    warmup: float = 0.0
    clip_norm: float | None = None
    weight_decay: float = 0.0
    dropout: tuple[float, ...] = ()
    ema_decay: float | None = None
    early_stopping: bool = False
    infinite_loss: bool = False
    shared_stream: bool = False

    def rate(self, at: TrainingTime, factor: float, n_steps: int) -> float:
        """Return η of the step at this time, in an epoch of `n_steps`; `factor` is `Progress.rate_factor`."""
        warm = min(1.0, (at.epoch + 1.0 / n_steps) / self.warmup) if self.warmup else 1.0
        return self.learning_rate_init * factor * self.schedule(at) * warm

    def start(self, backend: Backend, theta: Array) -> State:
        """Return the state of the optimizer before the first step, and with it the average, as the last moment."""
        state = self.optimizer.start(backend, theta)
        if self.ema_decay is None:
            return state
        with backend.device_context():
            return State(state.t, (*state.moments, backend.copy(theta)))

    def shown(self, theta: Array, state: State) -> Array:
        """Return the weights that predictions use: the average, if there is one, else θ."""
        return theta if self.ema_decay is None else state.moments[-1]


@dataclass
class Progress:
    """The state of training: together with θ and the plan it is enough to go on as if training had never stopped.

    Parameters
    ----------
    state, plateau : the states of the optimizer and of the stopping rule.
    rng : the random number generator. seed : the seed of the dropout masks.
    epoch, samples : the epochs and the samples so far. first_epoch : `epoch` as the present call of `fit` began.
    rate_factor : the factor by which learning_rate="adaptive" has changed the rate.
    row_order : the order of the rows in the last epoch; the next one shuffles it further.
    loss_curve, validation_scores, validation_losses : a number for every epoch.
    best_theta, best_score : with early stopping, the best θ and its score.
    last_theta : the θ to go on from, where training has ended with another one: the best, or an average.
    training_rows, validation_rows : with early stopping, the rows to train on, and those held out.
    stop_reason : "max_iter", "converged", "diverged", "interrupted", "time_limit" or "stopped", by a callback; empty
        while training goes on.
    digest : of the data (`Data.digest`), or empty where nothing needs it.
    """

    state: State
    rng: np.random.RandomState
    plateau: Plateau
    seed: int = 0
    epoch: int = 0
    samples: int = 0
    first_epoch: int = 0
    rate_factor: float = 1.0
    row_order: np.ndarray | None = None
    loss_curve: Curve = field(default_factory=Curve)
    validation_scores: Curve = field(default_factory=Curve)
    validation_losses: Curve = field(default_factory=Curve)
    best_theta: Array | None = None
    best_score: float = -np.inf
    last_theta: Array | None = None
    training_rows: np.ndarray | None = None
    validation_rows: np.ndarray | None = None
    stop_reason: str = ""
    digest: str = ""

    def snapshot(self, stream: Stream) -> Callable[[], None]:
        """Return a function that puts everything back as it is now, but for the arrays of the optimizer's state."""
        fields, rewind = {**vars(self), **self._own_curves(), "plateau": self.plateau.copy()}, stream.mark()

        def restore() -> None:
            vars(self).update(fields)
            rewind()

        return restore

    def copy(self, copy_array: Callable[[Array], Array]) -> Progress:
        """Return a copy to train on with, so that this one stays as it is; both share the random number generator."""
        own = self._own_curves()
        own |= {name: None if (a := getattr(self, name)) is None else copy_array(a) for name in THETAS}
        state = State(self.state.t, tuple(map(copy_array, self.state.moments)))
        return replace(self, state=state, plateau=self.plateau.copy(), **own)

    def _own_curves(self) -> dict[str, Any]:
        return {name: getattr(self, name).copy() for name in CURVES}

    def begin_anew(self) -> None:
        """Forget what was measured on other data: the best score, the patience, held-out rows, the rate's decrease."""
        self.plateau = Plateau(self.plateau.tol, self.plateau.patience)
        self.rate_factor, self.best_score = 1.0, -np.inf
        self.best_theta = self.last_theta = self.row_order = self.training_rows = self.validation_rows = None


class Stream:
    """The random numbers from which a run draws its permutations, and nothing else.

    A generator takes longer to say its state than to shuffle some hundred rows. So `mark` asks for it now and then
    only, and a rewind draws again what was drawn since.

    n : the rows that a permutation has. shared : whether others draw from the generator too: then every mark asks.
    """

    def __init__(self, rng: np.random.RandomState, n: int, shared: bool) -> None:
        self._rng, self._n, self._most = rng, n, 0 if shared else REDRAWN
        self._state, self._drawn = rng.get_state(), 0

    def permutation(self) -> np.ndarray:
        """Draw a permutation of the rows."""
        self._drawn += 1
        return self._rng.permutation(self._n)

    def mark(self) -> Callable[[], None]:
        """Return a function that puts the generator back to where it is now."""
        if self._drawn >= self._most:
            self._state, self._drawn = self._rng.get_state(), 0
        state, drawn = self._state, self._drawn

        def rewind() -> None:
            self._rng.set_state(state)
            for _ in range(drawn):
                self._rng.permutation(self._n)

        return rewind


def start_progress(backend: Backend, plan: Plan, theta: Array, rng: np.random.RandomState) -> Progress:
    """Return the progress before the first epoch; only with dropout is a number drawn from `rng`, for its seed."""
    seed = draw_seed(rng) if any(plan.dropout) else 0
    return Progress(plan.start(backend, theta), rng, Plateau(plan.tol, plan.patience), seed)


def draw_seed(rng: np.random.RandomState) -> int:
    """Draw the seed of the dropout masks of a run."""
    return int(rng.randint(2**32, dtype=np.uint64))
