"""The attributes of an estimator after fits of several kinds: those that training changes, and no others."""

import numpy as np
import pytest
from numpy.random import RandomState
from sklearn import config_context

from xbackprop import MLPClassifier

pd = pytest.importorskip("pandas", reason="frames are pandas's")
pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")

X = RandomState(0).standard_normal((40, 3))
y = (X[:, 0] > 0).astype(int)
FRAME = pd.DataFrame(X, columns=list("abc"))


def make(**how):
    return MLPClassifier((4,), max_iter=3, random_state=0, **how)


def test_a_fit_on_an_array_forgets_the_columns_of_a_frame():
    net = make().fit(FRAME, y).fit(X, y)
    assert not hasattr(net, "feature_names_in_")
    assert net.network_.feature_names_in_ is None
    assert net.predict(FRAME.rename(columns=str.upper).to_numpy()).shape == (40,)


def test_attributes_that_a_callback_sets_stay():
    net = make()
    net.calls = 0

    def callback(epoch):
        net.calls += 1
        net.set_params(learning_rate_init=0.5)

    net.fit(X, y, callback=callback)
    assert net.calls == 3
    assert net.learning_rate_init == 0.5


def test_a_subclass_that_drops_an_attribute_in_pickles_keeps_it_in_fit():
    class Own(MLPClassifier):
        def __getstate__(self):
            return {name: value for name, value in super().__getstate__().items() if name != "handle"}

    net = Own((4,), max_iter=3, random_state=0)
    net.handle = object()
    assert net.fit(X, y).handle is net.handle


def test_nan_is_found_where_scikit_learn_is_told_to_assume_that_there_is_none():
    net = make().fit(X, y)
    before = [W.copy() for W in net.coefs_]
    bad = X.copy()
    bad[3, 1] = np.nan
    with config_context(assume_finite=True), pytest.raises(ValueError, match=r"X must be finite, got nan at \(3, 1\)"):
        net.fit(bad, y)
    for W, old in zip(net.coefs_, before, strict=True):
        np.testing.assert_array_equal(W, old)


def test_a_scorer_is_given_the_held_out_rows_once_and_a_copy_each_time():
    seen = []

    def scorer(estimator, X, y):
        seen.append((estimator, X))
        estimator.coefs_ = [0.0 * W for W in estimator.coefs_]
        return -estimator.loss_

    net = make(early_stopping=True, scoring=scorer).fit(X, y)
    assert len({id(estimator) for estimator, _ in seen}) == 3
    assert len({id(rows) for _, rows in seen}) == 1
    assert all(np.any(W) for W in net.coefs_)
