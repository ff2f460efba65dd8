"""A network with weights: what `MLP` holds once it has seen data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.data.dataset import Data
from xbackprop.data.targets import Targets
from xbackprop.errors import NotFittedError
from xbackprop.mlp.settings import Settings
from xbackprop.nn.initializers import draw_layers
from xbackprop.nn.objective import Objective
from xbackprop.nn.parameters import Layout
from xbackprop.training.plan import Progress, start_progress


class Model(NamedTuple):
    """C(θ), θ, what its outputs mean, and how far training has come.

    settings : those it was made with, as JSON; the object's own may change afterwards.
    """

    objective: Objective
    theta: Array
    targets: Targets
    progress: Progress
    settings: dict[str, Any]

    def layers(self) -> list[tuple[Array, Array]]:
        """(W_l, b_l), views of θ where the library has views."""
        return self.objective.layout.layers(self.objective.backend.xp, self.theta)


def make_objective(settings: Settings, backend: Backend, layout: Layout, targets: Targets) -> Objective:
    """The C(θ) that the settings describe."""
    loss = targets.loss(settings.loss)
    return Objective(
        backend, layout, settings.activations, loss, settings.alpha, settings.l1_ratio, settings.checkpoint_every
    )


def start_model(settings: Settings, as_json: dict[str, Any], data: Data, rng: np.random.RandomState) -> Model:
    """A network of starting weights, drawn layer by layer."""
    layout = Layout((data.X.shape[1], *settings.sizes, data.targets.n_outputs))
    theta = data.backend.asarray(layout.flatten(np, draw_layers(settings.inits, rng, layout.sizes)), data.dtype)
    objective = make_objective(settings, data.backend, layout, data.targets)
    return Model(objective, theta, data.targets, start_progress(data.backend, settings.plan, theta, rng), as_json)


class Holder:
    """An object that holds a model, or none yet, and the settings that `MLP` has: what its parts stand on."""

    _model: Model | None
    feature_names_in_: list[str] | None
    n_iter_: int

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The settings."""

    def _fitted(self, where: str) -> Model:
        if self._model is None:
            raise NotFittedError(f"{where}: the network has no weights yet; call fit or initialize first")
        return self._model

    @property
    def n_features_in_(self) -> int:
        """The width of X."""
        return self._fitted("MLP.n_features_in_").objective.layout.sizes[0]
