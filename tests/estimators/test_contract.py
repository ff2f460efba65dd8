"""scikit-learn's own checks of estimators, array API checks among them: none is expected to fail."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import xbackprop


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [xbackprop.MLPClassifier(max_iter=100), xbackprop.MLPRegressor(max_iter=100)], expected_failed_checks=lambda _: {}
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
