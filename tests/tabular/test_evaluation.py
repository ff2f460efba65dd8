"""What a model for tables is worth, and what it looks at: scores, importance, gradients, pictures; quantiles, gaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from xbackprop import TableEncoder, TabularClassifier, TabularRegressor, load_tabular
from xbackprop.tabular.numbers import learn_numbers
from xbackprop.tabular.plots import panels, write_pictures

SMALL = {"preset": "fast", "max_iter": 60, "width": 16, "random_state": 0, "folds": 2}


def table_of(n=160, seed=0):
    rng = np.random.RandomState(seed)
    table = {"x": rng.normal(size=n), "noise": rng.normal(size=n), "c": rng.choice(["a", "b"], size=n)}
    return table, 2.0 * table["x"] + (table["c"] == "b") + 0.1 * rng.normal(size=n)


TABLE, Y = table_of()
OTHERS, Y_OTHERS = table_of(n=120, seed=1)
CLASSES, CLASSES_OTHERS = (np.digitize(y, [-1.0, 1.0]).astype(str) for y in (Y, Y_OTHERS))


@pytest.fixture(scope="module")
def classifier():
    return TabularClassifier(**SMALL).fit(TABLE, CLASSES)


@pytest.fixture(scope="module")
def regressor():
    return TabularRegressor(**SMALL).fit(TABLE, Y)


def test_scores_are_scikit_learns_and_lie_in_their_intervals(classifier, regressor):
    p, found = classifier.predict_proba(OTHERS), classifier.evaluate(OTHERS, CLASSES_OTHERS).scores
    labels = classifier.predict(OTHERS)
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(CLASSES_OTHERS, labels))
    assert found["log_loss"].value == pytest.approx(metrics.log_loss(CLASSES_OTHERS, p), rel=1e-6)
    values, of_numbers = regressor.predict(OTHERS), regressor.evaluate(OTHERS, Y_OTHERS).scores
    assert of_numbers["rmse"].value == pytest.approx(metrics.root_mean_squared_error(Y_OTHERS, values))
    assert of_numbers["r2"].value == pytest.approx(metrics.r2_score(Y_OTHERS, values))
    for score in (*found.values(), *of_numbers.values()):
        assert score.low < score.value < score.high


def test_confusion_counts_and_reliability_have_every_row_once(classifier):
    found = classifier.evaluate(OTHERS, CLASSES_OTHERS)
    expected = metrics.confusion_matrix(CLASSES_OTHERS, classifier.predict(OTHERS), labels=classifier.classes_)
    np.testing.assert_array_equal(found.confusion, expected)
    assert sum(b.rows for b in found.reliability) == len(CLASSES_OTHERS)
    right = classifier.predict(OTHERS) == CLASSES_OTHERS
    assert np.average([b.observed for b in found.reliability], weights=[b.rows for b in found.reliability]) == (
        pytest.approx(right.mean())
    )
    assert 0.0 <= found.calibration_error <= 1.0


def test_importance_tells_what_matters_from_noise(classifier, regressor):
    for model, y in ((classifier, CLASSES_OTHERS), (regressor, Y_OTHERS)):
        importance = model.evaluate(OTHERS, y).importance
        assert next(iter(importance)) == "x"
        mean, deviation = importance["noise"]
        assert abs(mean) < 0.1 * importance["x"][0] + 3.0 * deviation


def test_the_histogram_of_values_counts_every_row(regressor):
    (histogram,) = regressor.evaluate(OTHERS, Y_OTHERS).values
    assert np.sum(histogram.counts) == len(Y_OTHERS)
    assert np.trace(histogram.counts, offset=0) > 0  # a good model has rows on the diagonal


def test_a_file_keeps_curves_columns_and_the_evaluation(regressor, tmp_path):
    found = regressor.evaluate(OTHERS, Y_OTHERS)
    regressor.save(tmp_path / "model")
    again = load_tabular(tmp_path / "model")
    assert again.evaluation_ == found
    assert again.curves_ == regressor.curves_
    assert again.columns_ == regressor.columns_
    assert len(again.curves_) == len(again.networks_)


def test_missing_cells_are_counted_over_the_whole_table():
    table = {**TABLE, "x": np.where(np.arange(160) % 8 == 0, np.nan, TABLE["x"])}
    assert TabularRegressor(**{**SMALL, "max_iter": 2}).fit(table, Y).columns_["x"].missing == 20


def test_every_picture_is_drawn(classifier, regressor, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib draws")
    expected = {"curves", "reliability", "importance"}
    for model, y, own in ((classifier, CLASSES_OTHERS, "confusion"), (regressor, Y_OTHERS, "residuals")):
        evaluation = model.evaluate(OTHERS, y)
        names = set(panels(model, evaluation))
        assert names == (expected | {own} if model is classifier else (expected - {"reliability"}) | {own})
        files = write_pictures(model, evaluation, tmp_path / own, "<a title>")
        assert {path.name for path in files} == {*(f"{n}.{e}" for n in names for e in ("png", "svg")), "index.html"}
        assert all(path.stat().st_size > 500 for path in files)
        page = (tmp_path / own / "index.html").read_text("utf-8")
        assert page.count("<svg") == len(names)
        assert "&lt;a title&gt;" in page
        assert all(name in page for name in model.columns_)


numbers = st.lists(st.floats(-1e3, 1e3, width=32), min_size=12, max_size=60, unique=True)


@given(numbers, st.floats(-2e3, 2e3))
def test_the_derivative_of_an_encoding_is_its_slope(values, at):
    x = np.array(values)
    code = learn_numbers(x, 6, None, "regression", 3.0, 2)
    edges = np.append(code.edges, at)
    h = 1e-6 * max(1.0, abs(at))
    if np.min(np.abs(np.delete(edges, -1) - at), initial=np.inf) < 4 * h or np.min(np.diff(np.sort(x))) < 1e-3:
        return  # an edge is a kink
    up, down = (np.empty((1, len(code.names))) for _ in range(2))
    code.write(np.array([at + h]), up)
    code.write(np.array([at - h]), down)
    np.testing.assert_allclose(code.derivative(np.array([at])), (up - down) / (2 * h), rtol=1e-4, atol=1e-6)


def test_the_gradient_by_columns_is_that_of_the_loss(regressor):
    """Differences of a float32 network, in directions of whole columns, around rows that are no edges of bins."""
    model = TabularRegressor(**SMALL, bins="none").fit(TABLE, Y)
    gradient = model.input_gradient(OTHERS, Y_OTHERS)
    assert set(gradient) == {"x", "noise"}

    def cost(table):
        costs = [
            net.loss_and_gradient(encoder.transform(table).astype(np.float64), Y_OTHERS)[0]
            for encoder, networks in model.groups_
            for net in networks
        ]
        penalty_free = np.mean(costs)  # which the penalty does not change
        return float(penalty_free)

    h = 1e-2
    for name, g in gradient.items():
        slope = (cost({**OTHERS, name: OTHERS[name] + h}) - cost({**OTHERS, name: OTHERS[name] - h})) / (2 * h)
        assert g.sum() == pytest.approx(slope, rel=1e-2, abs=1e-4)


def test_a_missing_number_has_no_derivative():
    table = {"x": np.where(np.arange(160) % 8 == 0, np.nan, TABLE["x"]), "c": TABLE["c"]}
    encoder = TableEncoder(bins="quantile").fit(table, Y)
    ones = np.ones((160, len(encoder.get_feature_names_out())))
    assert (encoder.pull_back(table, ones)["x"][::8] == 0.0).all()


def test_quantiles_have_their_share_of_the_rows_and_never_cross(tmp_path):
    rng = np.random.RandomState(0)
    table = {"x": rng.normal(size=600)}
    y = table["x"] + rng.normal(size=600)
    model = TabularRegressor(**SMALL, quantile=(0.1, 0.5, 0.9)).fit(table, y)
    predicted = model.predict(table)
    assert (np.diff(predicted, axis=1) >= 0).all()
    np.testing.assert_allclose((y[:, None] < predicted).mean(axis=0), (0.1, 0.5, 0.9), atol=0.08)
    d2 = [metrics.d2_pinball_score(y, predicted[:, k], alpha=q) for k, q in enumerate((0.1, 0.5, 0.9))]
    loss = [metrics.mean_pinball_loss(y, predicted[:, k], alpha=q) for k, q in enumerate((0.1, 0.5, 0.9))]
    assert model.evaluate(table, y).scores["pinball"].value == pytest.approx(np.mean(loss))
    whole = [1 - d for d in d2]
    assert model.score(table, y) == pytest.approx(1 - np.sum(loss) / np.sum(np.divide(loss, whole)), rel=1e-6)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load_tabular(tmp_path / "model").predict(table), predicted)
    with pytest.raises(ValueError, match="quantiles are of one target"):
        TabularRegressor(**SMALL, quantile=0.5).fit(table, np.stack([y, y], axis=1))


def test_targets_may_be_missing_where_there_are_several():
    both = np.stack([Y, -3.0 * Y + TABLE["noise"]], axis=1)
    gaps = np.where(np.random.RandomState(3).rand(*both.shape) < 0.3, np.nan, both)
    model = TabularRegressor(**SMALL).fit(TABLE, gaps)
    assert np.isfinite(model.predict(TABLE)).all()
    assert model.score(TABLE, both) > 0.6
    assert model.score(TABLE, gaps) == pytest.approx(
        np.mean([metrics.r2_score(both[~np.isnan(g), k], model.predict(TABLE)[~np.isnan(g), k])
                 for k, g in enumerate(gaps.T)])
    )  # fmt: skip
    with pytest.raises(ValueError, match="contains NaN"):
        TabularRegressor(**SMALL).fit(TABLE, gaps[:, 0])
    with pytest.raises(ValueError, match="a number in every column"):
        TabularRegressor(**SMALL).fit(TABLE, np.stack([Y, np.full(160, np.nan)], axis=1))
