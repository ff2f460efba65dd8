"""What a user can turn on: penalties, weights of classes, smoothing, decay, clipping, targets, early stopping."""

import warnings

import numpy as np
import pytest
from helpers import make_objective, one_hot, problem, random_theta, relative, weights_of

import xbackprop
from xbackprop import MLP
from xbackprop.mlp.setting_table import SOLVERS, TASK_LOSSES
from xbackprop.nn.losses import LOSSES
from xbackprop.nn.objective import make_batch
from xbackprop.verification.methods import METHODS

X, _ = problem("classification", n=60)
LABELS = X[:, :3].argmax(axis=1)
NUMBERS = np.tanh(X[:, :2] @ np.array([[1.0, -0.5], [0.3, 2.0]]))
COLUMNS = (X[:, :3] > 0).astype(int)
COUNTS = np.exp(NUMBERS).round()


def fit(y, backend=None, sample_weight=None, **how):
    settings = {"hidden_layer_sizes": (8,), "activation": "tanh", "random_state": 0, "backend": backend, **how}
    net = MLP(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return net.fit(X, y, sample_weight)


def close(a, b, limit=1e-12):
    for ours, theirs in zip(weights_of(a), weights_of(b), strict=True):
        assert relative(ours, theirs) < limit


TARGETS = {
    "cross_entropy": LABELS, "binary_cross_entropy": COLUMNS, "mean_squared_error": NUMBERS, "squared_error": NUMBERS,
    "absolute_error": NUMBERS, "huber": NUMBERS, "poisson": COUNTS, "quantile": NUMBERS,
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_and_passes_the_papers_check(backend, loss):
    y = TARGETS[loss]
    task = next(task for task, losses in TASK_LOSSES.items() if loss in losses)
    net = fit(y, backend, task=task, loss=loss, learning_rate_init=0.02, max_iter=100)
    assert net.loss_curve_[-1] < 0.6 * net.loss_curve_[0] or loss == "poisson"
    assert net.score(X, y) > 0.7
    assert net.gradient_check(X, y) < 1e-7


@pytest.mark.parametrize("loss", LOSSES)
def test_no_check_fails_a_loss(backend, loss):
    """Every method there is, the definitions in 50 digits among them, with an elastic net, and weights."""
    pytest.importorskip("torch", reason="torch is the oracle")
    pytest.importorskip("mpmath", reason="mpmath is the reference")
    y = TARGETS[loss]
    task = next(task for task, losses in TASK_LOSSES.items() if loss in losses)
    net = fit(y, backend, task=task, loss=loss, alpha=0.3, l1_ratio=0.5, max_iter=5)
    few = [3, 8, 21, 40] if task == "regression" else [int(np.flatnonzero(k == LABELS)[0]) for k in (0, 1, 2, 0)]
    report = xbackprop.verify(net, X[few], y[few], np.array([0.5, 1.0, 2.0, 1.5]), methods=METHODS, pictures=False)
    assert not report.not_run
    ran = {f.method for run in report.runs for f in run.findings}
    assert ran == set(METHODS)
    failed = [f for run in report.runs for f in run.findings if f.verdict is xbackprop.Verdict.FAIL]
    assert not failed


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_learns(backend, solver):
    net = fit(LABELS, backend, solver=solver, learning_rate_init=0.05, max_iter=60)
    assert net.loss_curve_[-1] < 0.5 * net.loss_curve_[0]
    assert net.score(X, LABELS) > 0.85


@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
def test_the_elastic_net_is_its_formula_and_its_gradient_belongs_to_it(backend, l1_ratio):
    alpha = 0.4
    net = fit(LABELS, backend, alpha=alpha, l1_ratio=l1_ratio, max_iter=3)
    plain = fit(LABELS, backend, alpha=0.0, max_iter=3)
    plain._model = plain._model._replace(theta=net._model.theta)
    cost, dW, db = net.loss_and_gradient(X, LABELS)
    bare, bare_dW, bare_db = plain.loss_and_gradient(X, LABELS)
    W = weights_of(net)[:2]
    penalty = sum((1 - l1_ratio) / 2 * np.sum(w**2) + l1_ratio * np.sum(np.abs(w)) for w in W)
    assert cost - bare == pytest.approx(alpha / 60 * penalty, rel=1e-10)
    to_host = net._model.objective.backend.to_host
    for w, ours, without in zip(W, dW, bare_dW, strict=True):
        expected = alpha / 60 * ((1 - l1_ratio) * w + l1_ratio * np.sign(w))
        np.testing.assert_allclose(to_host(ours) - to_host(without), expected, atol=1e-15)
    for ours, without in zip(db, bare_db, strict=True):
        np.testing.assert_array_equal(to_host(ours), to_host(without))
    assert net.gradient_check(X, LABELS) < 1e-7
    report = xbackprop.verify(net, X[:20], LABELS[:20], pictures=False)
    assert report.passed, str(report)


def test_weights_at_zero_are_counted_as_undecided_and_not_wrong(backend):
    """|w| has no slope at 0; elements there are neither dropped in silence nor called wrong."""
    net = fit(LABELS, backend, alpha=0.4, l1_ratio=1.0, max_iter=3)
    theta = np.array(net._model.objective.backend.to_host(net._model.theta))
    theta[:3] = 0.0
    net._model = net._model._replace(theta=net._model.objective.backend.asarray(theta))
    assert net.gradient_check(X, LABELS) < 1e-7
    assert net.gradient_check_.undecided == 3


def test_l1_makes_weights_smaller_where_l2_would_leave_many(backend):
    sparse, dense = (
        fit(LABELS, backend, alpha=3.0, l1_ratio=r, max_iter=300, learning_rate_init=0.01) for r in (1.0, 0.0)
    )
    counts = [np.mean(np.abs(weights_of(net)[0]) < 1e-2) for net in (sparse, dense)]
    assert counts[0] > counts[1] + 0.2


def test_class_weights_are_sample_weights(backend):
    mapping = {0: 2.0, 2: 0.5}
    by_hand = np.array([2.0, 1.0, 0.5])[LABELS]
    own = np.linspace(0.5, 1.5, 60)
    close(fit(LABELS, backend, class_weight=mapping, max_iter=5), fit(LABELS, backend, by_hand, max_iter=5))
    close(fit(LABELS, backend, own, class_weight=mapping, max_iter=5), fit(LABELS, backend, own * by_hand, max_iter=5))
    counts = np.bincount(LABELS)
    balanced = (60 / (3 * counts))[LABELS]
    close(fit(LABELS, backend, class_weight="balanced", max_iter=5), fit(LABELS, backend, balanced, max_iter=5))


def test_weights_of_zero_for_a_whole_batch(backend):
    weight = np.ones(60)
    weight[:20] = 0.0
    net = fit(LABELS, backend, weight, shuffle=False, batch_size=10, alpha=0.1, max_iter=3)
    assert np.isfinite(net.loss_curve_).all()
    assert all(np.isfinite(w).all() for w in weights_of(net))


@pytest.mark.parametrize(
    ("y", "how"),
    [
        (LABELS, {}),
        (LABELS == 1, {"loss": "binary_cross_entropy"}),
        (COLUMNS, {}),
    ],
    ids=["classes", "binary", "columns"],
)
def test_label_smoothing_mixes_the_loss_with_that_of_even_targets(backend, y, how):
    """C is linear in y: with (1-s) y + s/K it is (1-s) times the plain one, plus s times that of 1/K."""
    net = fit(y, backend, alpha=0.0, label_smoothing=0.2, max_iter=2, **how)
    model = net._model
    plain = model.targets._replace(smoothing=0.0)
    rows, _ = plain.encode("test", y, 60, "float64")
    even = np.full_like(rows, 1 / rows.shape[1] if plain.kind == "classes" else 0.5)

    def cost(targets):
        batch = make_batch(model.objective.backend, *map(model.objective.backend.asarray, (X, targets)))
        return float(model.objective.backend.to_host(model.objective.value(model.theta, batch)))

    smoothed = net.loss_and_gradient(X, y)[0]
    assert smoothed == pytest.approx(0.8 * cost(rows) + 0.2 * cost(even), rel=1e-12)
    assert net.gradient_check(X, y) < 1e-7
    assert 0 <= net.score(X, y) <= 1


def test_weight_decay_is_no_penalty(backend):
    """With a gradient of zero decay alone is left: W ← (1 - ηλ) W, biases free, whatever the solver has in mind."""
    zero = xbackprop.Loss(
        lambda xp, z, y, share: (0.0 * xp.sum(z, axis=(-2, -1)), 0.0 * z), lambda xp, z: z, name="nothing"
    )
    how = {"task": "regression", "loss": zero, "alpha": 0.0, "batch_size": 20, "n_iter_no_change": 9, "max_iter": 4}
    start = MLP((8,), "tanh", random_state=0, task="regression").initialize(X, NUMBERS)
    for solver, decay, expected in (("adam", 0.5, 0.5), ("adamw", "auto", 0.01), ("sgd", "auto", 0.0)):
        net = fit(NUMBERS, backend, solver=solver, weight_decay=decay, learning_rate_init=0.1, **how)
        shrunk = (1 - 0.1 * expected) ** (4 * 3)
        for ours, first in zip(weights_of(net)[:2], weights_of(start)[:2], strict=True):
            np.testing.assert_allclose(ours, shrunk * first, rtol=1e-12)


def test_clipping_bounds_every_step(backend):
    """With plain SGD no step is longer than η c."""
    how = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.5, "batch_size": 60, "alpha": 0.0, "max_iter": 1}
    start = MLP((8,), "tanh", random_state=0).initialize(X, LABELS)
    clipped, free = fit(LABELS, backend, clip_norm=0.01, **how), fit(LABELS, backend, **how)

    def moved(net):
        return np.concatenate([(a - b).ravel() for a, b in zip(weights_of(net), weights_of(start), strict=True)])

    assert np.linalg.norm(moved(clipped)) == pytest.approx(0.005, rel=1e-10)
    assert np.linalg.norm(moved(free)) > 0.05
    np.testing.assert_allclose(moved(clipped) / 0.005, moved(free) / np.linalg.norm(moved(free)), atol=1e-10)


def test_two_classes_with_one_output_or_two(backend):
    y = np.array(["no", "yes"])[(LABELS == 1).astype(int)]
    one = fit(y, backend, loss="binary_cross_entropy", max_iter=80, learning_rate_init=0.02)
    two = fit(y, backend, max_iter=80, learning_rate_init=0.02)
    assert (one.n_outputs_, two.n_outputs_) == (1, 2)
    for net in (one, two):
        assert net.score(X, y) > 0.9
        np.testing.assert_allclose(net.predict_proba(X).sum(axis=1), 1, rtol=1e-12)
        assert set(net.predict(X)) == {"no", "yes"}
        np.testing.assert_array_equal(net.predict(X), net.classes_[np.argmax(net.predict_proba(X), axis=1)])
        np.testing.assert_allclose(np.exp(net.predict_log_proba(X)), net.predict_proba(X), rtol=1e-12)


def test_labels_in_columns(backend):
    net = fit(COLUMNS, backend, max_iter=150, learning_rate_init=0.02)
    prediction, proba = net.predict(X), net.predict_proba(X)
    assert prediction.shape == COLUMNS.shape
    np.testing.assert_array_equal(prediction, proba > 0.5)
    assert net.score(X, COLUMNS) == np.mean((prediction == COLUMNS).all(axis=1))
    assert net.score(X, COLUMNS) > 0.8
    with pytest.raises(ValueError, match=r"^MLP\.fit: y with two axes has a column of 0 and 1"):
        fit(2 * COLUMNS)
    with pytest.raises(ValueError, match=r"^MLP\.fit: y must have shape \(60,\) for the loss 'cross_entropy'"):
        fit(COLUMNS, loss="cross_entropy")
    with pytest.raises(ValueError, match="is for two classes, or for labels in columns, got 3"):
        fit(LABELS, loss="binary_cross_entropy")


def test_counts_have_positive_predictions(backend):
    net = fit(COUNTS, backend, task="regression", loss="poisson", max_iter=50)
    assert (net.predict(X) > 0).all()
    with pytest.raises(ValueError, match=r"^MLP\.fit: y must have no negative numbers for the loss 'poisson'"):
        fit(-COUNTS, task="regression", loss="poisson")


def test_a_quantile_has_its_share_of_the_data_below(backend):
    rng = np.random.RandomState(0)
    y = rng.standard_normal(60)
    for q in (0.2, 0.8):
        net = fit(y, backend, task="regression", loss="quantile", quantile=q, hidden_layer_sizes=(), alpha=0.0,
                  learning_rate_init=0.01, max_iter=400, tol=0.0, n_iter_no_change=400)  # fmt: skip
        assert np.mean(y < net.predict(X)) == pytest.approx(q, abs=0.1)


@pytest.mark.parametrize("scoring", [None, "loss", lambda net, X, y: net.score(X, y)], ids=["score", "loss", "own"])
def test_early_stopping_keeps_the_best_weights(backend, scoring):
    net = fit(LABELS, backend, early_stopping=True, validation_fraction=0.3, scoring=scoring, learning_rate_init=0.1,
              max_iter=40, n_iter_no_change=5)  # fmt: skip
    assert len(net.validation_scores_) == len(net.validation_loss_curve_) == net.n_iter_ == len(net.loss_curve_)
    progress = net._model.progress
    assert sorted([*progress.training_rows, *progress.validation_rows]) == list(range(60))
    assert len(progress.validation_rows) == 18
    held_out = X[progress.validation_rows], LABELS[progress.validation_rows]
    best = max(net.validation_scores_)
    now = -net.loss_and_gradient(*held_out)[0] if scoring == "loss" else net.score(*held_out)
    assert now == pytest.approx(best, rel=1e-12)


def test_held_out_rows_are_scored_some_at_a_time(backend, monkeypatch):
    """A part has the weights of its rows in the mean of all of them, and the penalty counts once."""
    how = {"early_stopping": True, "validation_fraction": 0.4, "alpha": 0.5, "l1_ratio": 0.5, "max_iter": 5}
    whole = fit(LABELS, backend, np.linspace(0.5, 2, 60), **how)
    monkeypatch.setattr(type(whole.model_.backend), "prediction_chunk", 1)
    monkeypatch.setattr("xbackprop.mlp.model.LEAST_ROWS", 7)
    parts = fit(LABELS, backend, np.linspace(0.5, 2, 60), **how)
    np.testing.assert_allclose(parts.validation_loss_curve_, whole.validation_loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(parts.validation_scores_, whole.validation_scores_, rtol=1e-12)
    assert len(whole.validation_loss_curve_) == 5


def test_sparse_rows_are_dense_rows(backend):
    sparse = pytest.importorskip("scipy.sparse", reason="scipy makes the sparse matrix")
    table = np.where(np.abs(X) > 0.7, X, 0.0)
    how = {"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 8, "batch_size": 16, "backend": backend}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        a = MLP(**how).fit(table, LABELS)
        b = MLP(early_stopping=False, **how).fit(sparse.csc_matrix(table), LABELS)
    close(b, a)
    np.testing.assert_allclose(b.predict_proba(sparse.csr_array(table)), a.predict_proba(table), rtol=1e-12)
    assert b.score(sparse.csr_matrix(table), LABELS) == a.score(table, LABELS)
    ours, theirs = (net.loss_and_gradient(x, LABELS)[0] for net, x in ((b, sparse.csr_matrix(table)), (a, table)))
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_the_penalty_is_free_of_the_batch(backend):
    """With several batches each has α over its own weight, and the last short one a larger one."""
    objective = make_objective(backend, (4, 6, 3), alpha=0.7)
    theta = backend.asarray(random_theta(objective))
    data = [backend.asarray(a) for a in (X, one_hot(LABELS, 3))]
    costs = []
    for rows in (slice(0, 10), slice(0, 30)):
        batch = make_batch(backend, *(a[rows, :] for a in data))
        bare = make_objective(backend, (4, 6, 3), alpha=0.0).value(theta, batch)
        costs.append(float(backend.to_host(objective.value(theta, batch) - bare)))
    assert costs[0] == pytest.approx(3 * costs[1], rel=1e-10)


def test_a_file_takes_no_loss_for_another_of_its_name(tmp_path):
    path = tmp_path / "net.safetensors"
    for loss in (xbackprop.huber_loss(2.0), xbackprop.quantile_loss(0.9)):
        net = fit(NUMBERS, task="regression", loss=loss, max_iter=2)
        net.save(path)
        with pytest.raises(xbackprop.ModelFileError, match="was trained with the loss"):
            MLP.load(path)
        again = MLP.load(path, losses=[loss])
        assert again.loss_and_gradient(X, NUMBERS)[0] == net.loss_and_gradient(X, NUMBERS)[0]
    net = fit(NUMBERS, task="regression", loss="quantile", quantile=0.9, max_iter=2)
    net.save(path)
    assert MLP.load(path).loss_and_gradient(X, NUMBERS)[0] == net.loss_and_gradient(X, NUMBERS)[0]
    impostor = xbackprop.Loss(LOSSES["squared_error"].value_and_delta, lambda xp, z: z, name="poisson")
    with pytest.raises(ValueError, match="the loss 'poisson' is not xbackprop's"):
        fit(NUMBERS, task="regression", loss=impostor, max_iter=2).save(path)
