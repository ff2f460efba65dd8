"""A multi-layer perceptron with hand-derived gradients, written once for every array library.

>>> import numpy as np, xbackprop
>>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
>>> net = xbackprop.MLP((8,), learning_rate_init=0.05, random_state=0).fit(X, [0, 1, 1, 0])
>>> net.predict(X)
array([0, 1, 1, 0])
"""

from xbackprop.activations import ACTIVATIONS, Activation
from xbackprop.backend import Backend
from xbackprop.errors import (
    BackendError,
    ConvergenceWarning,
    DivergenceError,
    GradientCheckError,
    ModelFileError,
    NotFittedError,
)
from xbackprop.initializers import INITIALIZERS
from xbackprop.mlp import MLP

__version__ = "0.1.0"

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "MLP",
    "Activation",
    "Backend",
    "BackendError",
    "ConvergenceWarning",
    "DivergenceError",
    "GradientCheckError",
    "ModelFileError",
    "NotFittedError",
]
