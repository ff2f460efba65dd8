"""Callbacks see every epoch, may stop a training or choose its weights, and change nothing else."""

import csv
import json
import math
import sys

import numpy as np
import pytest
from helpers import problem, weights_of

import xbackprop
from xbackprop.callbacks import (
    Callback,
    CSVLog,
    GradientNorm,
    JSONLog,
    KeepBest,
    ProgressBar,
    TensorBoardLog,
    TimeLimit,
    find_learning_rate,
)

SETTINGS = {"batch_size": 4, "max_iter": 6, "tol": 0.0, "n_iter_no_change": 9, "learning_rate_init": 0.05,
            "random_state": 0}  # fmt: skip


class Recorder(Callback):
    """Notes all that it is told."""

    def __init__(self):
        self.said = []

    def on_train_begin(self, fit):
        self.fit, self.said = fit, ["begin"]

    def on_epoch_end(self, fit, epoch):
        self.said.append(epoch)

    def on_train_end(self, fit, reason):
        self.said.append(reason)


class OfBatches(Callback):
    def __init__(self):
        self.batches = []

    def on_batch_end(self, fit, batch):
        self.batches.append((batch.epoch, batch.number, batch.loss))


class StopAfter(Callback):
    def __init__(self, epochs, reason="enough"):
        self.epochs, self.reason = epochs, reason

    def on_epoch_end(self, fit, epoch):
        return self.reason if epoch.number == self.epochs else None


def net_of(backend, **settings):
    return xbackprop.MLP((5,), **{**SETTINGS, "backend": backend, **settings})


def fitted(net, X, y, **more):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return net.fit(X, y, **more)


@pytest.fixture
def samples():
    return problem("classification", n=18)


def test_watching_changes_nothing(backend, samples):
    plain, recorder, batches = fitted(net_of(backend), *samples), Recorder(), OfBatches()
    watched = fitted(net_of(backend), *samples, callbacks=[recorder, CSVLog("/dev/null")])
    for a, b in zip(weights_of(watched), weights_of(plain), strict=True):
        np.testing.assert_array_equal(a, b)
    begin, *epochs, end = recorder.said
    assert (begin, end) == ("begin", "max_iter")
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4, 5, 6]
    assert [epoch.loss for epoch in epochs] == watched.loss_curve_ == plain.loss_curve_
    fit = recorder.fit
    assert (fit.max_iter, fit.n_samples, fit.batch_size, fit.n_parameters) == (6, 18, 4, 4 * 5 + 5 + 5 * 3 + 3)
    stepped = fitted(net_of(backend), *samples, callbacks=[batches])
    for a, b in zip(weights_of(stepped), weights_of(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)  # a compiled epoch may round otherwise
    assert [(e, i) for e, i, _ in batches.batches] == [(e, i) for e in range(1, 7) for i in range(5)]
    of_epoch = [loss for e, _, loss in batches.batches if e == 3]
    assert math.isclose(np.average(of_epoch, weights=[4, 4, 4, 4, 2]), plain.loss_curve_[2], rel_tol=1e-9)


def test_a_text_ends_training_and_is_the_reason(backend, samples):
    recorder = Recorder()
    net = net_of(backend).fit(*samples, callbacks=[StopAfter(3), recorder])
    assert (net.stop_reason_, net.n_iter_, recorder.said[-1]) == ("enough", 3, "enough")
    shorter = fitted(net_of(backend, max_iter=3), *samples)
    for a, b in zip(weights_of(net), weights_of(shorter), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_stopped_network_trains_on_as_if_it_had_not_stopped(samples, tmp_path):
    plain = fitted(net_of("numpy"), *samples)
    net = net_of("numpy", checkpoint=tmp_path / "run").fit(*samples, callbacks=[StopAfter(2)])
    assert net.n_iter_ == 2
    again = fitted(net_of("numpy", checkpoint=tmp_path / "run", resume=True), *samples)
    for a, b in zip(weights_of(again), weights_of(plain), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_best_weights_by_any_metric_are_kept(backend, samples):
    X, y = samples
    seen = []

    def metric(net):
        seen.append([np.array(w) for w in weights_of(net)])
        return abs(len(seen) - 4)  # best, where the smallest is, in the fourth epoch

    best = KeepBest(metric, larger_is_better=False)
    net = fitted(net_of(backend), X, y, callbacks=[best])
    assert (best.best_epoch_, best.best_, best.values_) == (4, 0, [3, 2, 1, 0, 1, 2])
    for a, b in zip(weights_of(net), seen[3], strict=True):
        np.testing.assert_array_equal(a, b)
    assert net.n_iter_ == 6


def test_what_a_callback_does_to_its_copy_stays_there(samples):
    class Vandal(Callback):
        def on_epoch_end(self, fit, epoch):
            net = fit.network()
            net.coefs_ = [0.0 * W for W in net.coefs_]

    plain, net = fitted(net_of("numpy"), *samples), fitted(net_of("numpy"), *samples, callbacks=[Vandal()])
    for a, b in zip(weights_of(net), weights_of(plain), strict=True):
        np.testing.assert_array_equal(a, b)


def test_norms_are_those_of_the_gradient(backend, samples):
    norms, lines = GradientNorm(*samples, every=3, show=lambda line: lines.append(line)), []
    net = fitted(net_of(backend), *samples, callbacks=[norms])
    _, weights, biases = net.loss_and_gradient(*samples)
    host = net.model_.backend.to_host
    expected = math.sqrt(sum(float((host(a) ** 2).sum()) for a in (*weights, *biases)))
    assert len(norms.norms_) == len(lines) == 2
    assert math.isclose(norms.norms_[-1], expected, rel_tol=1e-6)
    assert math.isclose(norms.layers_[-1][0], float(np.linalg.norm(host(weights[0]))), rel_tol=1e-6)
    assert lines[1].startswith("epoch 6: gradient ")


def test_time_ends_it(samples):
    net = net_of("numpy", max_iter=10**6).fit(*samples, callbacks=[TimeLimit(0.2)])
    assert net.stop_reason_ == "time_limit"
    assert 1 <= net.n_iter_ < 10**6


def test_logs_have_a_line_for_each_epoch(samples, tmp_path):
    logs = [CSVLog(tmp_path / "log.csv"), JSONLog(tmp_path / "log.jsonl", append=True)]
    for _ in range(2):
        net = fitted(net_of("numpy", early_stopping=True, validation_fraction=0.3), *samples, callbacks=logs)
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == net.loss_curve_
    assert [float(row["score"]) for row in rows] == net.validation_scores_
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == 2 * net.loss_curve_
    assert [line["epoch"] for line in lines] == 2 * [1, 2, 3, 4, 5, 6]


def test_a_log_that_goes_on_has_one_head(samples, tmp_path):
    for _ in range(2):
        fitted(net_of("numpy"), *samples, callbacks=[CSVLog(tmp_path / "log.csv", append=True)])
    assert (tmp_path / "log.csv").read_text().count("epoch,loss") == 1
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 13


def test_tensorboard_is_given_the_numbers(samples, tmp_path):
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2", reason="tensorboardX is not installed")
    net = fitted(net_of("numpy", max_iter=2), *samples, callbacks=[TensorBoardLog(tmp_path)])
    (file,) = tmp_path.glob("events.out.tfevents.*")
    data, found = file.read_bytes(), []
    while data:  # a record is its length, a checksum of that, an event, and a checksum of this
        length = int.from_bytes(data[:8], "little")
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        data = data[16 + length :]
    losses = [
        (name, step, pytest.approx(net.loss_curve_[step - 1], rel=1e-6)) for name, step in (("loss", 1), ("loss", 2))
    ]
    assert [each for each in found if each[0] == "loss"] == losses
    assert {name for name, *_ in found} == {"loss", "samples_per_second"}


def test_a_log_for_tensorboard_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"TensorBoardLog needs tensorboardX, .*: pip install tensorboardX"):
        TensorBoardLog(tmp_path)


def test_without_a_terminal_the_bar_is_some_lines(samples, capsys):
    fitted(net_of("numpy", max_iter=40), *samples, callbacks=[ProgressBar()])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["1/40", *(f"{4 * i}/40" for i in range(1, 11))]


def test_an_error_in_a_callback_leaves_the_network_as_it_was(samples):
    class Failing(Callback):
        def on_epoch_end(self, fit, epoch):
            if epoch.number == 2:
                raise ZeroDivisionError

    recorder, net = Recorder(), fitted(net_of("numpy"), *samples)
    before = [w.copy() for w in weights_of(net)]
    with pytest.raises(ZeroDivisionError):
        net.fit(*samples, callbacks=[recorder, Failing()])
    assert recorder.said[-1] == "error"
    for a, b in zip(weights_of(net), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_lbfgs_is_watched_and_stopped_too():
    pytest.importorskip("scipy", reason="L-BFGS is SciPy's")
    X, y = problem("classification", n=60)
    seen = KeepBest(lambda net: -net.loss_and_gradient(X, y)[0])
    net = net_of("numpy", solver="lbfgs", max_iter=50)
    net.fit(X, y, callbacks=[StopAfter(4), seen])
    assert (net.stop_reason_, net.n_iter_) == ("enough", 4)
    np.testing.assert_allclose([-value for value in seen.values_], net.loss_curve_, rtol=1e-9)


def test_the_validation_data_score_the_network(backend):
    X, y = problem("classification", n=40)
    net = net_of(backend, early_stopping=True)
    fitted(net, X[:30], y[:30], validation_data=(X[30:], y[30:]))
    assert len(net.validation_scores_) == net.n_iter_
    assert math.isclose(net.score(X[30:], y[30:]), max(net.validation_scores_), rel_tol=1e-12)
    weighted = net_of(backend, early_stopping=True, scoring="loss")
    weight = np.arange(10.0)
    fitted(weighted, X[:30], y[:30], validation_data=(X[30:], y[30:], weight))
    best = int(np.argmin(weighted.validation_loss_curve_))
    assert math.isclose(weighted.validation_scores_[best], -weighted.validation_loss_curve_[best])


@pytest.mark.parametrize(
    ("settings", "given", "why"),
    [
        ({}, {"callbacks": [print]}, "callbacks must be objects of xbackprop.callbacks.Callback, got <built-in"),
        ({}, {"callbacks": [Recorder]}, "callbacks must be objects"),
        (
            {"n_networks": 2},
            {"callbacks": [StopAfter(1)]},
            "callbacks watch a single network, and there are n_networks=2",
        ),
        ({}, {"validation_data": (1, 2)}, "validation_data is for early stopping"),
        ({"early_stopping": True}, {"validation_data": [1, 2]}, r"validation_data must be \(X, y\) or .* got list"),
    ],
)
def test_what_is_no_callback_is_an_error(settings, given, why, samples):
    with pytest.raises(ValueError, match=rf"MLP\.fit: {why}"):
        net_of("numpy", **settings).fit(*samples, **given)


def test_the_search_for_a_rate_ends_where_the_loss_grows():
    X, _ = problem("classification", n=300)
    y = X[:, 0] + X[:, 1] > 0
    net = xbackprop.MLP((16,), random_state=0, batch_size=20)
    found = find_learning_rate(net, X, y, steps=100)
    assert not hasattr(net, "n_iter_")
    assert len(found.rates) == len(found.losses) <= 100
    np.testing.assert_allclose(found.rates[0], 1e-6)
    np.testing.assert_allclose(np.diff(np.log(found.rates)), math.log(1e7) / 99)
    assert 1e-4 < found.suggestion < 1.0
    assert min(found.losses) < 0.9 * found.losses[0]
    pytest.importorskip("matplotlib", reason="it draws")
    assert found.plot().axes[0].get_xscale() == "log"


@pytest.mark.parametrize(
    ("settings", "given", "why"),
    [
        ({}, {"lowest": 0.0}, "lowest must be"),
        ({}, {"lowest": 1.0, "highest": 0.1}, "highest must be above lowest=1.0, got 0.1"),
        ({}, {"steps": 3}, "steps must be"),
        ({"solver": "lbfgs"}, {}, "solver 'lbfgs' takes no steps"),
    ],
)
def test_a_search_that_cannot_be_is_an_error(settings, given, why, samples):
    with pytest.raises(ValueError, match=f"find_learning_rate: {why}"):
        find_learning_rate(xbackprop.MLP((4,), **settings), *samples, **given)


def test_curves_are_drawn(samples):
    pytest.importorskip("matplotlib", reason="it draws")
    net = fitted(net_of("numpy", early_stopping=True, validation_fraction=0.3), *samples)
    shown = xbackprop.LossCurveDisplay.from_estimator(net)
    assert [line.get_label() for line in shown.lines_] == ["loss", "loss, held out"]
    np.testing.assert_array_equal(shown.lines_[0].get_ydata(), net.loss_curve_)
    np.testing.assert_array_equal(shown.lines_[1].get_ydata(), net.validation_loss_curve_)
    ensemble = fitted(net_of("numpy", n_networks=3), *samples)
    assert len(xbackprop.LossCurveDisplay.from_estimator(ensemble, ax=shown.ax_).lines_) == 3
    with pytest.raises(ValueError, match="one for each of 1 networks"):
        xbackprop.LossCurveDisplay.from_networks([net], names=["a", "b"])


@pytest.mark.parametrize("layer", [1, 2, -1, -2])
def test_hidden_activations_are_those_of_the_forward_pass(backend, layer, samples):
    X, y = samples
    net = xbackprop.MLP((5, 3), activation=["tanh", "relu"], backend=backend, random_state=0).initialize(X, y)
    (W1, b1), (W2, b2) = ((np.array(net.model_.backend.to_host(a)) for a in layer) for layer in net.model_.layers()[:2])
    h1 = np.tanh(X @ W1 + b1)
    h2 = np.maximum(h1 @ W2 + b2, 0.0)
    found = net.transform(X, layer)
    np.testing.assert_allclose(found, h1 if layer in (1, -2) else h2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [0, 3, -3, 1.0, True])
def test_layers_that_are_not_there_are_an_error(layer, samples):
    net = xbackprop.MLP((5, 3), random_state=0).initialize(*samples)
    with pytest.raises(ValueError, match=r"MLP\.transform: layer must be 1 to 2, or -1 to -2 from the last"):
        net.transform(samples[0], layer)


def test_a_notebook_shows_a_drawing_of_the_layers(samples):
    net = xbackprop.MLP((30, 3), activation=["tanh", "relu"], random_state=0)
    assert net._repr_html_() is None
    shown = fitted(net, *samples)._repr_html_()
    assert shown.count("<circle") == 4 + 6 + 3 + 3  # of thirty units some
    for text in (">30<", ">tanh<", ">softmax<", "cross_entropy", f"{4 * 30 + 30 + 30 * 3 + 3 + 3 * 3 + 3:,}"):
        assert text in shown
    assert "<td" in fitted(net_of("numpy", n_networks=2), *samples)._repr_html_()


def test_weights_are_drawn_as_pictures(samples):
    pytest.importorskip("matplotlib", reason="it draws")
    net = xbackprop.MLP((6,), random_state=0).initialize(*samples)
    shown = xbackprop.WeightsDisplay.from_estimator(net, units=[4, 1])
    assert len(shown.axes_) == 2
    np.testing.assert_array_equal(shown.axes_[0].images[0].get_array(), net.coefs_[0][:, 4].reshape(2, 2))
    limits = {axes.images[0].get_clim() for axes in shown.axes_}
    assert limits == {(-np.abs(net.coefs_[0][:, [4, 1]]).max(), np.abs(net.coefs_[0][:, [4, 1]]).max())}
    with pytest.raises(ValueError, match="shape must have 4 places, one for each column of X"):
        xbackprop.WeightsDisplay.from_estimator(net, shape=(3, 2))
