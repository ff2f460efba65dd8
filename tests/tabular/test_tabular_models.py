"""`TabularClassifier` and `TabularRegressor`: honest selection, reproducible, kept in files; scikit-learn's checks."""

import pickle

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator

from xbackprop import MLP, ModelFileError, TabularClassifier, TabularRegressor, load_tabular
from xbackprop.tabular.selection import METRICS, select_greedily
from xbackprop.tabular.splits import make_splits

SMALL = {"preset": "fast", "max_iter": 8, "width": 16, "random_state": 0}


def table_of(n=120, seed=0):
    rng = np.random.RandomState(seed)
    table = {"x": rng.normal(size=n), "c": rng.choice(["a", "b", "c"], size=n), "z": rng.normal(size=n)}
    return table, table["x"] + (table["c"] == "b") + 0.1 * rng.normal(size=n)


def test_a_classifier_learns_predicts_and_is_kept(tmp_path):
    table, target = table_of()
    y = np.where(target > 0.3, "yes", "no")
    model = TabularClassifier(**{**SMALL, "max_iter": 40}).fit(table, y)
    p = model.predict_proba(table)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-6)
    assert model.score(table, y) > 0.2 + max(np.mean(y == "yes"), np.mean(y == "no"))  # than the commonest class
    assert (model.predict(table) == model.classes_[p.argmax(axis=1)]).all()
    again = TabularClassifier(**{**SMALL, "max_iter": 40}).fit(table, y)
    np.testing.assert_array_equal(again.predict_proba(table), p)
    model.save(tmp_path / "model.safetensors")
    for copy in (load_tabular(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(copy.predict_proba(table), p)
        assert copy.leaderboard_ == model.leaderboard_
        assert copy.columns_ == model.columns_
    with pytest.raises(ModelFileError, match="load_tabular reads it"):
        MLP.load(tmp_path / "model.safetensors")


def test_a_regressor_stays_in_the_range_of_its_targets_and_says_how_sure_it_is(tmp_path):
    table, y = table_of()
    model = TabularRegressor(**{**SMALL, "max_iter": 100}).fit(table, y)
    values, deviation = model.predict({**table, "x": table["x"] * 100.0}, return_std=True)
    assert y.min() <= values.min() <= values.max() <= y.max()
    assert deviation.shape == y.shape
    assert (deviation >= 0).all()
    assert model.score(table, y) > 0.7
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(load_tabular(tmp_path / "model.safetensors").predict(table), model.predict(table))
    both = np.stack([y, -y], axis=1)
    assert TabularRegressor(**SMALL).fit(table, both).predict(table).shape == both.shape


def test_validation_predictions_are_of_networks_that_did_not_see_the_row():
    """y is noise, with a level of its own for each row: whoever saw a row's target would know it."""
    rng = np.random.RandomState(0)
    n = 400
    table = {"c": np.repeat([f"level {i}" for i in range(n // 2)], 2), "x": rng.normal(size=n)}
    y = rng.normal(size=n)
    model = TabularRegressor(**{**SMALL, "max_iter": 30}, folds=4, bins="tree").fit(table, y)
    assert abs(np.corrcoef(model.validation_predictions_, y)[0, 1]) < 0.2
    assert model.validation_score_ > 0.9 * y.std()


def test_the_leaderboard_says_how_the_ensemble_came_about():
    table, y = table_of()
    model = TabularRegressor(**SMALL, n_networks=4).fit(table, y)
    rows = model.leaderboard_
    assert sorted(row["candidate"] for row in rows) == [0, 1, 2, 3]
    assert [row["score"] for row in rows] == sorted(row["score"] for row in rows)
    assert rows[0]["chosen"] == 1
    assert model.validation_score_ <= rows[0]["score"]
    known = ~np.isnan(model.validation_predictions_)
    rmse = np.sqrt(np.mean((model.validation_predictions_ - y)[known] ** 2))
    assert rmse == pytest.approx(model.validation_score_)


def test_time_limit_groups_time_and_validation_data():
    table, y = table_of()
    assert TabularRegressor(preset="best", time_limit=3.0, random_state=0).fit(table, y).fit_seconds_ < 6.0
    groups = np.repeat(np.arange(12), 10)
    rng = np.random.RandomState(0)
    for split in make_splits("here", y, "regression", 4, 0.2, rng, groups=groups):
        assert not set(groups[split.train]) & set(groups[split.validation])
    (split,) = make_splits("here", y, "regression", 1, 0.2, rng, time=-np.arange(120.0))
    assert split.validation.max() < split.train.min()
    model = TabularRegressor(**SMALL).fit(table, y, validation_data=table_of(50, 1))
    assert model.validation_predictions_.shape == (50,)
    assert not np.isnan(model.validation_predictions_).any()


def test_a_class_that_a_fold_lacks_has_its_probability():
    table, _ = table_of(40)
    y = np.array(["often"] * 20 + ["too"] * 19 + ["once"])
    assert TabularClassifier(**SMALL).fit(table, y).predict_proba(table).shape == (40, 3)


@pytest.mark.parametrize("task", METRICS)
def test_greedy_selection_never_makes_the_mean_worse(task):
    rng = np.random.RandomState(0)
    if task == "classification":
        y = rng.randint(3, size=80)
        predictions = [rng.dirichlet(np.ones(3) + 3 * np.eye(3)[k]) for _ in range(6) for k in y]
        predictions = list(np.array(predictions).reshape(6, 80, 3))
    else:
        y = rng.normal(size=80)
        predictions = [y + rng.normal(size=80) for _ in range(6)]
    for metric in METRICS[task].values():
        steps = select_greedily(predictions, lambda p, m=metric: m.score(y, p, None), 4)
        alone = [metric.score(y, p, None) for p in predictions]
        assert steps[0].candidate == int(np.argmax(alone))
        scores = [step.score for step in steps]
        assert scores == sorted(scores)
        mean = np.mean([predictions[step.candidate] for step in steps], axis=0)
        assert metric.score(y, mean, None) == pytest.approx(scores[-1])


@pytest.mark.parametrize(
    ("ours", "theirs"), [("log_loss", "neg_log_loss"), ("auc", "roc_auc"), ("accuracy", "accuracy")]
)
def test_a_scorer_chooses_as_the_metric_of_its_name(ours, theirs):
    table, target = table_of()
    y = np.where(target > 0.3, "yes", "no")
    one, other = (TabularClassifier(**{**SMALL, "n_networks": 3}, metric=m).fit(table, y) for m in (ours, theirs))
    assert [row["chosen"] for row in one.leaderboard_] == [row["chosen"] for row in other.leaderboard_]
    assert abs(one.validation_score_) == pytest.approx(abs(other.validation_score_))


@pytest.mark.parametrize(("ours", "theirs"), [("rmse", "neg_root_mean_squared_error"), ("r2", "r2")])
def test_a_scorer_of_a_regression(ours, theirs):
    one, other = (TabularRegressor(**SMALL, metric=m).fit(*table_of()) for m in (ours, theirs))
    assert abs(one.validation_score_) == pytest.approx(abs(other.validation_score_))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "great"}, "preset must be one of"),
        ({"metric": "speed"}, "metric must be one of"),
        ({"learning_rate": 0.1}, "learning_rate must be two numbers"),
        ({"folds": 999}, "folds must be at most the number of rows"),
        ({"bins": "square"}, "bins must be among"),
    ],
)
def test_parameters_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        TabularRegressor(**{**SMALL, **settings}).fit(*table_of())


@pytest.mark.parametrize("cls", [TabularClassifier, TabularRegressor])
def test_scikit_learns_checks(cls):
    """Weights are no repetitions, since rows are split at random; a row of a float32 product rounds by its place."""
    expected = {
        "check_sample_weight_equivalence_on_dense_data", "check_methods_subset_invariance",
        "check_methods_sample_order_invariance",
    }  # fmt: skip
    model = cls(preset="fast", n_networks=1, folds=1, max_iter=20, random_state=0)
    failed = {r["check_name"] for r in check_estimator(model, on_fail=None, on_skip=None) if r["status"] == "failed"}
    assert failed <= expected


def test_progress_goes_from_nothing_to_all_and_never_back():
    told = []
    TabularRegressor(**{**SMALL, "n_networks": 4, "folds": 2}).fit(*table_of(), progress=lambda *x: told.append(x))
    assert {of for _, of in told} == {8}
    done = [done for done, _ in told]
    assert 0 < done[0] < 1
    assert done == sorted(done)
    assert done[-1] == 8


def test_the_first_candidates_choose_the_bins_of_the_others():
    """y is a step of x that bins can have and a line of 8 units cannot."""
    rng = np.random.RandomState(0)
    x = rng.uniform(size=400)
    y = np.sign(np.sin(40.0 * x))
    model = TabularRegressor(preset="fast", n_networks=5, folds=1, width=8, depth=(1, 1), max_iter=30, random_state=0)
    model.fit({"x": x}, y)
    rows = sorted(model.leaderboard_, key=lambda row: row["candidate"])
    assert [row["bins"] for row in rows[:3]] == ["quantile", "tree", "none"]
    best = min(rows[:3], key=lambda row: row["score"])["bins"]
    assert best != "none"
    assert [row["bins"] for row in rows[3:]] == [best, best]


def test_a_deadline_that_has_passed_leaves_what_is_trained():
    model = TabularRegressor(**{**SMALL, "n_networks": 6, "max_iter": 10_000, "time_limit": 1.0}).fit(*table_of())
    assert model.time_limit_reached_
    assert len(model.networks_) >= 1
    assert any(np.isnan(row["score"]) for row in model.leaderboard_)
