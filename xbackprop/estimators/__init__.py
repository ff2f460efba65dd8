"""`MLPClassifier` and `MLPRegressor`: scikit-learn estimators around an `MLP`.

With scikit-learn's parameters, the same `random_state` and float64 on NumPy they start from the same weights, draw the
same random numbers in the same order and take the same steps as scikit-learn's own. docs/scikit-learn.md lists the
differences.
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "xbackprop's estimators need scikit-learn, which is not installed: pip install scikit-learn"
    ) from error

from xbackprop.estimators.classifier import MLPClassifier
from xbackprop.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
