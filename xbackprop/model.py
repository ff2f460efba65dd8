"""A network with weights: what `MLP` holds once it has seen data."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.random import RandomState

from xbackprop.backend import Array, Backend
from xbackprop.data import Data
from xbackprop.initializers import draw_layers
from xbackprop.network import Layout
from xbackprop.objective import Objective
from xbackprop.settings import Settings
from xbackprop.targets import Targets


class Model(NamedTuple):
    """C(θ), θ, and what its outputs mean.

    settings : those it was made with, as JSON; the object's own may change afterwards.
    """

    objective: Objective
    theta: Array
    targets: Targets
    settings: dict[str, Any]

    def layers(self) -> list[tuple[Array, Array]]:
        """(W_l, b_l), views of θ where the library has views."""
        return self.objective.layout.layers(self.objective.backend.xp, self.theta)


def make_objective(settings: Settings, backend: Backend, layout: Layout, targets: Targets) -> Objective:
    """The C(θ) that the settings describe."""
    loss = targets.loss(settings.loss)
    return Objective(backend, layout, settings.activations, loss, settings.alpha, settings.l1_ratio)


def start_model(settings: Settings, as_json: dict[str, Any], data: Data, rng: RandomState) -> Model:
    """A network of starting weights, drawn layer by layer."""
    layout = Layout((data.X.shape[1], *settings.sizes, data.targets.n_outputs))
    theta = data.backend.asarray(layout.flatten(np, draw_layers(settings.inits, rng, layout.sizes)), data.dtype)
    return Model(make_objective(settings, data.backend, layout, data.targets), theta, data.targets, as_json)
