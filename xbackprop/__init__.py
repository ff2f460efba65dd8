"""A multi-layer perceptron with hand-derived gradients, written once for every array library.

>>> import numpy as np, xbackprop
>>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
>>> net = xbackprop.MLP((8,), learning_rate_init=0.05, random_state=0).fit(X, [0, 1, 1, 0])
>>> net.predict(X)
array([0, 1, 1, 0])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xbackprop.arrays.backend import Backend
from xbackprop.arrays.discovery import set_default_backend
from xbackprop.errors import (
    BackendError,
    ConvergenceWarning,
    DivergenceError,
    ExportError,
    GradientCheckError,
    ModelFileError,
    NotFittedError,
    RankError,
)
from xbackprop.mlp.many.fit_many import fit_many
from xbackprop.mlp.mlp import MLP
from xbackprop.nn.activations import ACTIVATIONS, Activation
from xbackprop.nn.initializers import INITIALIZERS
from xbackprop.nn.losses import LOSSES, Loss, huber_loss, quantile_loss
from xbackprop.version import __version__ as __version__

if TYPE_CHECKING:
    from xbackprop.display.loss_curve import LossCurveDisplay
    from xbackprop.display.weights import WeightsDisplay
    from xbackprop.estimators.classifier import MLPClassifier
    from xbackprop.estimators.regressor import MLPRegressor
    from xbackprop.mlp.verify import verify
    from xbackprop.tabular import TableEncoder, TabularClassifier, TabularRegressor, load_tabular
    from xbackprop.verification.check_foreign import check_jax, check_scipy, check_torch
    from xbackprop.verification.check_gradient import check_gradient
    from xbackprop.verification.check_products import check_jvp, check_vjp
    from xbackprop.verification.findings import Verdict
    from xbackprop.verification.report.report import Report

#: What is imported when it is first used: training needs none of it, and it takes longer than all the rest.
_LATER = {
    "LossCurveDisplay": "xbackprop.display.loss_curve",
    "MLPClassifier": "xbackprop.estimators",
    "MLPRegressor": "xbackprop.estimators",
    "Report": "xbackprop.verification.report",
    "TableEncoder": "xbackprop.tabular",
    "TabularClassifier": "xbackprop.tabular",
    "TabularRegressor": "xbackprop.tabular",
    "Verdict": "xbackprop.verification.findings",
    "WeightsDisplay": "xbackprop.display.weights",
    "check_gradient": "xbackprop.verification.check_gradient",
    "check_jax": "xbackprop.verification.check_foreign",
    "check_jvp": "xbackprop.verification.check_products",
    "check_scipy": "xbackprop.verification.check_foreign",
    "check_torch": "xbackprop.verification.check_foreign",
    "check_vjp": "xbackprop.verification.check_products",
    "load_tabular": "xbackprop.tabular",
    "verify": "xbackprop.mlp.verify",
}

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "LOSSES",
    "MLP",
    "Activation",
    "Backend",
    "BackendError",
    "ConvergenceWarning",
    "DivergenceError",
    "ExportError",
    "GradientCheckError",
    "Loss",
    "LossCurveDisplay",
    "MLPClassifier",
    "MLPRegressor",
    "ModelFileError",
    "NotFittedError",
    "RankError",
    "Report",
    "TableEncoder",
    "TabularClassifier",
    "TabularRegressor",
    "Verdict",
    "WeightsDisplay",
    "check_gradient",
    "check_jax",
    "check_jvp",
    "check_scipy",
    "check_torch",
    "check_vjp",
    "fit_many",
    "huber_loss",
    "load_tabular",
    "quantile_loss",
    "set_default_backend",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'xbackprop' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, those that are not imported yet among them, so that they are completed."""
    return sorted({*globals(), *__all__})
