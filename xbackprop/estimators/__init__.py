"""scikit-learn's contract around an `MLP`: `MLPClassifier` and `MLPRegressor`."""

from xbackprop.estimators.classifier import MLPClassifier
from xbackprop.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
