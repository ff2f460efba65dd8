"""`n_networks`: an ensemble of networks that differ in their seeds, whose predictions are averaged."""

import pickle
import warnings

import numpy as np
import pytest
from helpers import problem, relative

import xbackprop
from xbackprop import MLP

M = 3


def train(backend, task="classification", n_networks=M, y=None, **settings):
    X, labels = problem(task, n=30)
    usual = {"max_iter": 5, "dtype": "float64", "learning_rate_init": 0.01, "random_state": 4}
    net = MLP((5,), "tanh", backend=backend, task=task, n_networks=n_networks, **usual | settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return net.fit(X, labels if y is None else y)


def rows(task="classification"):
    return problem(task, n=30)[0]


def labels_of(kind):
    y = problem("classification", n=30)[1]
    return {
        "classes": y,
        "text": np.array(["a", "b", "c"])[y],
        "binary": y > 0,
        "multilabel": np.stack([y > 0, y > 1], axis=1).astype(int),
    }[kind]


def theta_of(net):
    return np.array(net.model_.backend.to_host(net.model_.theta))


def test_the_first_network_is_the_one_that_would_be_trained_alone(backend):
    net, alone = train(backend), train(backend, n_networks=1)
    assert relative(theta_of(net.networks_[0]), theta_of(alone)) < 1e-12
    assert alone.networks_ == [alone]
    thetas = [theta_of(each) for each in net.networks_]
    assert len(thetas) == M
    assert all(relative(thetas[i], thetas[j]) > 0.1 for i in range(M) for j in range(i))
    again = train(backend)
    for each, other in zip(net.networks_, again.networks_, strict=True):
        np.testing.assert_array_equal(theta_of(each), theta_of(other))


@pytest.mark.parametrize("kind", ["classes", "text", "binary", "multilabel"])
def test_probabilities_are_the_mean_of_the_networks(backend, kind):
    net, X = train(backend, y=labels_of(kind), loss="log_loss" if kind == "binary" else "auto"), rows()
    each = np.stack([network.predict_proba(X) for network in net.networks_])
    p = net.predict_proba(X)
    np.testing.assert_allclose(p, each.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(np.exp(net.predict_log_proba(X)), p, rtol=1e-12)
    decided = (p > 0.5).astype(int) if kind == "multilabel" else net.classes_[p.argmax(axis=1)]
    np.testing.assert_array_equal(net.predict(X), decided)
    right = np.asarray(net.predict(X)) == labels_of(kind)
    assert net.score(X, labels_of(kind)) == pytest.approx(np.mean(right.all(axis=1) if right.ndim == 2 else right))


@pytest.mark.parametrize("kind", ["classes", "binary", "multilabel"])
def test_disagreement_is_the_mean_divergence_from_the_mean(backend, kind):
    """Σ p log(p/p̄) over all outcomes, of a label and of its opposite where labels stand in columns."""
    net, X = train(backend, y=labels_of(kind)), rows()
    each = np.stack([network.predict_proba(X) for network in net.networks_])
    each = np.concatenate([each, 1 - each], axis=-1) if kind == "multilabel" else each
    expected = np.mean(np.sum(each * np.log(each / each.mean(axis=0)), axis=-1), axis=0)
    np.testing.assert_allclose(net.disagreement(X), expected, rtol=1e-6, atol=1e-14)
    assert np.all(net.disagreement(X) <= np.log(M) * (2 if kind == "multilabel" else 1))
    np.testing.assert_allclose(net.networks_[0].disagreement(X), 0.0, atol=1e-14)


def test_probabilities_of_zero_are_no_disagreement():
    net, X = train("numpy"), rows()
    for each in net.networks_:
        each.coefs_ = [1e4 * W for W in each.coefs_]
    assert np.isfinite(net.disagreement(X)).all()
    assert np.isfinite(net.predict_log_proba(X)).all()


@pytest.mark.parametrize("scale_target", [False, True])
@pytest.mark.parametrize("vector", [False, True])
def test_values_are_the_mean_and_their_deviation_is_told(backend, scale_target, vector):
    X, y = problem("regression", n=30)
    y = 10.0 * y[:, 0] + 3.0 if vector else 10.0 * y + 3.0
    net = train(backend, "regression", y=y, scale_target=scale_target)
    each = np.stack([network.predict(X) for network in net.networks_])
    mean, deviation = net.predict(X, return_std=True)
    assert mean.shape == deviation.shape == y.shape
    np.testing.assert_allclose(mean, each.mean(axis=0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(deviation, each.std(axis=0), rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(net.predict(X), mean)
    residual = y - mean
    expected = 1 - np.sum(residual**2, axis=0) / np.sum((y - y.mean(axis=0)) ** 2, axis=0)
    assert net.score(X, y) == pytest.approx(np.mean(expected), rel=1e-9)
    np.testing.assert_allclose(net.networks_[0].predict(X, return_std=True)[1], 0.0, atol=1e-12)


def test_files_and_pickle_keep_all_networks(backend, tmp_path):
    net, X = train(backend, early_stopping=True), rows()
    net.save(tmp_path / "net.safetensors")
    loaded = MLP.load(tmp_path / "net.safetensors", backend=backend)
    for other in (loaded, pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other.predict_proba(X), net.predict_proba(X))
        assert [each.loss_curve_ for each in other.networks_] == [each.loss_curve_ for each in net.networks_]
        assert other.n_networks == M
        assert other.random_state == 4


def test_a_damaged_file_says_so(tmp_path):
    from xbackprop.mlp.tensor_file import read_tensors, write_tensors

    net = train("numpy")
    net.save(tmp_path / "net")
    tensors, configuration = read_tensors("test", tmp_path / "net")
    for damage in (
        lambda t, c: t.pop("networks.1.coefs.0"),
        lambda t, c: c["networks"].pop(),
        lambda t, c: t.update({"networks.7.coefs.0": t["networks.1.coefs.0"]}),
        lambda t, c: t.update(stray=t["networks.1.coefs.0"]),
        lambda t, c: c.update(networks=[]),
        lambda t, c: c.update(more=1),
    ):
        t, c = dict(tensors), {**configuration, "networks": list(configuration["networks"])}
        damage(t, c)
        write_tensors(tmp_path / "damaged", t, c)
        with pytest.raises(xbackprop.ModelFileError, match="damaged"):
            MLP.load(tmp_path / "damaged")


@pytest.mark.filterwarnings("ignore::xbackprop.ConvergenceWarning")
def test_a_warm_start_trains_all_further(backend):
    X, y = problem("classification", n=30)
    net = train(backend, max_iter=2, warm_start=True)
    before = net.networks_
    curves = [each.loss_curve_ for each in before]
    net.max_iter = 3
    net.fit(X, y)
    whole = train(backend, max_iter=5)
    for each, other in zip(net.networks_, whole.networks_, strict=True):
        assert relative(theta_of(each), theta_of(other)) < 1e-12
    assert [each.loss_curve_ for each in before] == curves


def test_partial_fit_trains_each(backend):
    X, y = problem("classification", n=30)
    net, alone = (MLP((5,), n_networks=n, random_state=1, backend=backend, dtype="float64") for n in (M, 1))
    for _ in range(3):
        net.partial_fit(X, y)
        alone.partial_fit(X, y)
    assert relative(theta_of(net.networks_[0]), theta_of(alone)) < 1e-12
    assert {len(each.loss_curve_) for each in net.networks_} == {3}


@pytest.mark.filterwarnings("ignore::xbackprop.ConvergenceWarning")
def test_checkpoints_resume_each(tmp_path):
    whole = train("numpy", max_iter=6)
    train("numpy", max_iter=3, checkpoint=tmp_path)
    resumed = train("numpy", max_iter=6, checkpoint=tmp_path, resume=True)
    for each, other in zip(resumed.networks_, whole.networks_, strict=True):
        np.testing.assert_array_equal(theta_of(each), theta_of(other))


@pytest.mark.parametrize("name", ["coefs_", "intercepts_", "loss_curve_", "model_"])
def test_what_each_network_has_of_its_own_is_asked_of_it(name):
    net = train("numpy")
    with pytest.raises(AttributeError, match=f"MLP.{name}: this is an ensemble; each of its 3 networks_ has its own"):
        getattr(net, name)
    X, y = problem("classification", n=30)
    with pytest.raises(AttributeError, match="networks_"):
        net.loss_and_gradient(X, y)
    assert net.n_features_in_ == X.shape[1]
    np.testing.assert_array_equal(net.classes_, [0, 1, 2])


def test_verify_and_gradient_check_look_at_each(backend):
    net = train(backend)
    X, y = problem("classification", n=30)
    errors = [each.gradient_check(X, y) for each in net.networks_]
    assert net.gradient_check(X, y) == max(errors)
    report = xbackprop.verify(net, X, y, methods=["differences"], pictures=False)
    assert report.passed
    assert [run.place["network"] for run in report.runs] == ["1 of 3", "2 of 3", "3 of 3"]


def test_fit_many_trains_ensembles_beside_others(backend):
    X, y = problem("classification", n=30)
    nets = [MLP((5,), n_networks=n, random_state=n, backend=backend, max_iter=4, dtype="float64") for n in (1, 2, M)]
    with pytest.warns(xbackprop.ConvergenceWarning, match=r"6 of 6 networks \(nets\[0\], nets\[1\].networks_\[0\]"):
        xbackprop.fit_many(nets, X, y)
    for net in nets:
        settings = {"n_networks": net.n_networks, "random_state": net.n_networks}
        other = MLP((5,), **settings, backend=backend, max_iter=4, dtype="float64")
        with pytest.warns(xbackprop.ConvergenceWarning):
            other.fit(X, y)
        np.testing.assert_allclose(net.predict_proba(X), other.predict_proba(X), rtol=1e-9)


def test_an_error_leaves_the_ensemble_as_it_was():
    net, X = train("numpy"), rows()
    before = net.predict_proba(X)

    def note(epoch):
        raise LookupError("mine")

    with pytest.raises(LookupError):
        net.fit(*problem("classification", n=30), callback=note)
    np.testing.assert_array_equal(net.predict_proba(X), before)


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True])
def test_other_numbers_are_refused(value):
    with pytest.raises(ValueError, match="n_networks"):
        MLP(n_networks=value)
