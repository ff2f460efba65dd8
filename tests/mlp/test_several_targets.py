"""Several targets of which some are missing, and several quantiles of one target."""

import warnings

import numpy as np
import pytest
from helpers import problem, relative, weights_of
from hypothesis import given
from hypothesis import strategies as st

import xbackprop
from xbackprop import MLP

X, _ = problem("classification", n=60)
NUMBERS = np.stack([np.tanh(X[:, 0]), 3.0 + X[:, 1] * X[:, 2], 100.0 * X[:, 3]], axis=1)
KNOWN = np.random.RandomState(5).rand(60, 3) < 0.6
KNOWN[:2] = False  # two rows have no target at all
GAPS = np.where(KNOWN, NUMBERS, np.nan)
WEIGHT = np.linspace(0.5, 2.0, 60)
ELEMENTWISE = ("mean_squared_error", "squared_error", "absolute_error", "huber", "quantile")


def fit(y, backend=None, weight=None, **how):
    settings = {
        "hidden_layer_sizes": (8,), "activation": "tanh", "task": "regression", "random_state": 0, "backend": backend,
        "max_iter": 5, "batch_size": 16, **how,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return MLP(**settings).fit(X, y, weight)


@pytest.mark.parametrize("loss", ELEMENTWISE)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_each_column_has_the_mean_loss_of_the_targets_it_has(backend, loss, weight):
    net = fit(NUMBERS, backend, loss=loss, alpha=0.0)
    total = 0.0
    for k in range(3):
        rows = KNOWN[:, k]
        alone = np.where(np.arange(3) == k, NUMBERS, net.predict(X))[rows]  # the other columns' residuals are zero
        total += net.loss_and_gradient(X[rows], alone, None if weight is None else weight[rows])[0]
    assert net.loss_and_gradient(X, GAPS, weight)[0] == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_rows_without_a_target_do_not_count(backend, weight):
    net = fit(NUMBERS, backend, alpha=0.5, l1_ratio=0.5)
    some = KNOWN.any(axis=1)
    found = [
        net.loss_and_gradient(X[rows], GAPS[rows], None if weight is None else weight[rows])
        for rows in (some, np.full(60, True))
    ]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-13)
    for part in (1, 2):
        for ours, theirs in zip(found[0][part], found[1][part], strict=True):
            assert relative(backend.to_host(ours), backend.to_host(theirs)) < 1e-13


@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_no_check_fails_a_loss_with_gaps(backend, loss):
    pytest.importorskip("torch", reason="torch is the oracle")
    pytest.importorskip("mpmath", reason="mpmath is the reference")
    net = fit(GAPS, backend, loss=loss, alpha=0.3, l1_ratio=0.5)
    few = [0, 8, 21, 40]
    methods = ["complex step", "dot product", "oracle", "reference", "paper"]
    report = xbackprop.verify(net, X[few], GAPS[few], WEIGHT[few], methods=methods, pictures=False)
    assert {f.method for run in report.runs for f in run.findings} == set(methods)
    assert not [f for run in report.runs for f in run.findings if f.verdict is xbackprop.Verdict.FAIL]


@pytest.mark.parametrize(
    "how", [{}, {"alpha": 0.3, "l1_ratio": 0.5, "scale_target": True}, {"dropout": 0.2, "clip_norm": 0.1}],
    ids=["plain", "penalty", "dropout"],
)  # fmt: skip
def test_every_backend_trains_as_numpy_does(backend, how):
    for weight in (None, WEIGHT):
        ours, theirs = (fit(GAPS, home, weight, **how) for home in (backend, "numpy"))
        for a, b in zip(weights_of(ours), weights_of(theirs), strict=True):
            assert relative(a, b) < 1e-9
        assert ours.score(X, GAPS) == pytest.approx(theirs.score(X, GAPS), rel=1e-9)


def test_many_networks_end_where_each_ends_alone(backend):
    nets = [MLP((8,), task="regression", random_state=i, backend=backend, max_iter=3) for i in range(3)]
    alone = [fit(GAPS, backend, activation="relu", batch_size="auto", random_state=i, max_iter=3) for i in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        xbackprop.fit_many(nets, X, GAPS)
    for net, one in zip(nets, alone, strict=True):
        for a, b in zip(weights_of(net), weights_of(one), strict=True):
            assert relative(a, b) < 1e-9


def test_targets_are_standardised_by_those_that_are_known(backend):
    scaling = fit(GAPS, backend, scale_target=True).model_.targets.scaling
    np.testing.assert_allclose(scaling.mean, np.nanmean(GAPS, axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaling.deviation, np.nanstd(GAPS, axis=0), rtol=1e-12)


def test_the_score_is_the_mean_of_each_columns_own(backend):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
    net = fit(GAPS, backend, early_stopping=True, validation_fraction=0.3)
    predicted = net.predict(X)
    each = [metrics.r2_score(NUMBERS[rows, k], predicted[rows, k]) for k, rows in enumerate(KNOWN.T)]
    assert net.score(X, GAPS) == pytest.approx(np.mean(each), rel=1e-9)


def test_lbfgs_and_batches_of_a_stream_take_gaps(backend):
    pytest.importorskip("scipy", reason="scipy has L-BFGS")
    net = fit(GAPS, backend, solver="lbfgs", max_iter=60)
    assert net.loss_curve_[-1] < 0.2 * net.loss_curve_[0]
    stream = MLP((8,), task="regression", random_state=0, backend=backend)
    for part in (slice(0, 30), slice(30, 60)):
        stream.partial_fit(X[part], GAPS[part])
    assert np.isfinite(stream.predict(X)).all()


BAD = {
    "one target": (GAPS[:, 1], "y must be finite, got nan"),
    "one column": (GAPS[:, 1:2], "y must be finite, got nan"),
    "an infinite one": (np.where(KNOWN, NUMBERS, np.inf), "y must be finite, got inf"),
    "a column without any": (np.where(np.arange(3) == 1, np.nan, NUMBERS), "a number in every column, got only NaN in"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_tells_nothing_is_an_error(backend, case):
    y, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        fit(y, backend)


QUANTILES = (0.1, 0.5, 0.8)


def test_one_network_estimates_several_quantiles(backend):
    y = np.random.RandomState(0).standard_normal(60)
    how = {"loss": "quantile", "hidden_layer_sizes": (), "learning_rate_init": 0.01, "max_iter": 400, "tol": 0.0,
           "n_iter_no_change": 400, "batch_size": 60, "alpha": 0.0}  # fmt: skip
    net = fit(y, backend, quantile=QUANTILES, **how)
    predicted = net.predict(X)
    assert predicted.shape == (60, 3)
    np.testing.assert_allclose((y[:, None] < predicted).mean(axis=0), QUANTILES, atol=0.1)
    W, b = weights_of(net)
    z = X @ W + b
    np.testing.assert_allclose(predicted, np.sort(z, axis=1), rtol=1e-12)


def test_their_loss_is_the_sum_of_each_ones_own(backend):
    net = fit(NUMBERS[:, 0], backend, loss="quantile", quantile=QUANTILES, alpha=0.0)
    W_1, W_2, b_1, b_2 = weights_of(net)
    z = np.tanh(X @ W_1 + b_1) @ W_2 + b_2
    r = z - NUMBERS[:, :1]
    expected = np.where(r > 0, (1 - np.array(QUANTILES)) * r, -np.array(QUANTILES) * r).sum(axis=1)
    assert net.loss_and_gradient(X, NUMBERS[:, 0])[0] == pytest.approx(expected.mean(), rel=1e-12)
    assert net.loss_and_gradient(X, NUMBERS[:, 0], WEIGHT)[0] == pytest.approx(
        np.average(expected, weights=WEIGHT), rel=1e-12
    )


def test_no_check_fails_several_quantiles(backend):
    pytest.importorskip("torch", reason="torch is the oracle")
    net = fit(NUMBERS[:, 0], backend, loss="quantile", quantile=QUANTILES, scale_target=True)
    report = xbackprop.verify(net, X[:10], NUMBERS[:10, 0], pictures=False)
    assert "oracle" in {f.method for run in report.runs for f in run.findings}
    assert not [f for run in report.runs for f in run.findings if f.verdict is xbackprop.Verdict.FAIL]


@given(st.lists(st.floats(0.01, 0.99), min_size=2, max_size=5, unique=True).map(sorted))
def test_quantiles_never_cross(quantiles):
    net = MLP((4,), task="regression", loss="quantile", quantile=quantiles, random_state=0)
    net.initialize(X, NUMBERS[:, 0])
    assert (np.diff(net.predict(10.0 * X), axis=1) >= 0).all()


def test_a_file_keeps_them(tmp_path):
    net = fit(NUMBERS[:, 0], loss="quantile", quantile=QUANTILES)
    net.save(tmp_path / "net.safetensors")
    again = MLP.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    assert again.loss_and_gradient(X, NUMBERS[:, 0])[0] == net.loss_and_gradient(X, NUMBERS[:, 0])[0]
    again.quantile, again.warm_start = 0.5, True
    with pytest.raises(ValueError, match="gives another meaning"):
        again.fit(X, NUMBERS[:, 0])


@pytest.mark.parametrize(("quantile", "message"), [
    ((0.9, 0.1), "in ascending order"), ((0.5, 0.5), "in ascending order"), ((), "in ascending order"),
    ((0.1, 1.0), r"quantile\[1\] must be a number between 0 and 1"), ("0.5", "between 0 and 1"),
])  # fmt: skip
def test_quantiles_that_are_none(quantile, message):
    with pytest.raises(ValueError, match=message):
        MLP(task="regression", loss="quantile", quantile=quantile)


def test_several_quantiles_are_of_one_target(backend):
    with pytest.raises(ValueError, match="several quantiles are of one target"):
        fit(NUMBERS, backend, loss="quantile", quantile=QUANTILES)
