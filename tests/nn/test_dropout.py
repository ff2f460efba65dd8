"""Dropout: the generator against its published vectors, the law of the masks, and gradients with masks."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from helpers import make_objective, one_hot, problem, random_theta

import xbackprop
from xbackprop.arrays.discovery import backend_class
from xbackprop.nn.derivatives import hvp
from xbackprop.nn.dropout import Masks, threefry
from xbackprop.nn.objective import make_batch
from xbackprop.verification.findings import Verdict
from xbackprop.verification.methods.paper import paper_check
from xbackprop.verification.network import network_claim
from xbackprop.verification.run import DEFAULT, run_methods

# Random123's known answers for Threefry-2x32: key and counter of zeros, of ones, and of the digits of π.
KEYS = [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x13198A2E, 0x03707344)]
COUNTERS = [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x243F6A88, 0x85A308D3)]
KNOWN = {
    13: [(0x9D1C5EC6, 0x8BD50731), (0xFD36D048, 0x2D17272C), (0xBA3E4725, 0xF27D669E)],
    20: [(0x6B200159, 0x99BA4EFE), (0x1CB996FC, 0xBB002BE7), (0xC4923A9C, 0x483DF7A0)],
}


@pytest.mark.parametrize("rounds", KNOWN)
def test_the_generator_gives_the_published_numbers(backend, rounds):
    for key, counter, known in zip(KEYS, COUNTERS, KNOWN[rounds], strict=True):
        x, y = (backend.asarray(np.array([c], dtype=np.int64)) for c in counter)
        found = threefry(x, y, key, rounds)
        assert tuple(int(backend.to_host(word)[0]) for word in found) == known


def make(backend, seed=7, step=3, rows=40, widths=(30, 17), rates=(0.3, 0.5), dtype="float64"):
    dtype = getattr(backend.xp, dtype)
    return [backend.to_host(m) for m in Masks(backend, seed, step, rows, widths, rates, dtype)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masks_are_the_same_on_every_backend(backend, dtype):
    for ours, numpys in zip(
        make(backend, dtype=dtype), make(backend_class("numpy")().generic(), dtype=dtype), strict=True
    ):
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours, numpys)


def test_a_mask_keeps_its_share_and_the_mean(backend):
    for p, mask in zip((0.3, 0.5), make(backend, rows=500), strict=True):
        assert np.unique(mask) == pytest.approx([0.0, 1 / (1 - p)], rel=1e-4)
        sigma = np.sqrt(p * (1 - p) / mask.size)
        assert abs((mask == 0).mean() - p) < 5 * sigma
        assert abs(mask.mean() - 1) < 5 * sigma / (1 - p)


@pytest.mark.parametrize("change", [{"seed": 8}, {"step": 4}])
def test_other_seeds_and_steps_have_independent_masks(backend, change):
    for p, one, other in zip((0.3, 0.5), make(backend, rows=500), make(backend, rows=500, **change), strict=True):
        both = np.mean((one == 0) & (other == 0))
        assert abs(both - p * p) < 5 * np.sqrt(p * p / one.size)
    first, second = make(backend, rows=500, widths=(30, 30), rates=(0.5, 0.5))
    assert abs(np.mean((first == 0) & (second == 0)) - 0.25) < 5 * np.sqrt(0.25 / first.size)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "mish"])
def test_with_masks_the_gradient_is_the_slope_of_the_cost_with_masks(backend, task, activation):
    objective = make_objective(backend, (4, 6, 5, 3), activation, task)
    X, y = problem(task)
    y = one_hot(y, 3) if task == "classification" else y
    dropped = Masks(backend, 1, 0, 12, (6, 5), (0.4, 0.2), backend.xp.float64)
    batch = make_batch(backend, backend.asarray(X), backend.asarray(y), None, dropped)
    theta = backend.copy(backend.asarray(random_theta(objective)))
    result = paper_check(network_claim(objective, theta, batch))
    assert result.passed(1e-7), str(result)
    whole = paper_check(network_claim(objective, theta, batch._replace(masks=())))
    assert abs(result.worst.analytic - whole.worst.analytic) > 0 or result.error != whole.error

    run = run_methods(objective, theta, batch)
    assert run.verdict in (Verdict.PASS, Verdict.VACUOUS), run.notes
    missing = set() if find_spec("torch") else {"oracle"}  # the oracle is torch.autograd
    assert {f.method for f in run.findings} == set(DEFAULT) - missing
    direction = backend.asarray(np.random.RandomState(3).standard_normal(objective.layout.n_parameters))
    h = 1e-6
    up, down = (objective.value_and_gradient(theta + s * h * direction, batch)[1] for s in (1, -1))
    found = hvp(objective, theta, direction, batch)
    np.testing.assert_allclose(backend.to_host(found), backend.to_host((up - down) / (2 * h)), rtol=1e-6, atol=1e-7)


def test_the_definitions_in_fifty_digits_have_the_masks_too(backend):
    objective = make_objective(backend, (4, 6, 5, 3), "gelu")
    X, y = problem("classification", n=4)
    dropped = Masks(backend, 5, 0, 4, (6, 5), (0.4, 0.2), backend.xp.float64)
    weight = backend.asarray(np.array([0.5, 1.0, 2.0, 1.0]))
    batch = make_batch(backend, backend.asarray(X), backend.asarray(one_hot(y, 3)), weight, dropped)
    run = run_methods(objective, backend.copy(backend.asarray(random_theta(objective))), batch, methods=["reference"])
    assert {f.method for f in run.findings} == {"reference"}
    assert all(f.verdict in (Verdict.PASS, Verdict.VACUOUS) for f in run.findings)


def test_a_dropped_unit_has_no_part_in_the_gradient(backend):
    objective = replace(make_objective(backend, (4, 6, 3), "tanh"), alpha=0.0)
    X, y = problem("classification")
    mask = np.ones((12, 6))
    mask[:, 2] = 0.0
    batch = make_batch(backend, backend.asarray(X), backend.asarray(one_hot(y, 3)), None, [backend.asarray(mask)])
    _, g = objective.value_and_gradient(backend.asarray(random_theta(objective)), batch)
    (dW1, db1), (dW2, _) = objective.layout.layers(np, np.array(backend.to_host(g)))
    assert not dW1[:, 2].any()
    assert not db1[:, 2].any()
    assert not dW2[2].any()
    assert np.abs(np.delete(dW1, 2, axis=1)).min() > 0


def test_prediction_drops_nothing_and_training_does(backend):
    X, y = problem("classification", n=60)
    how = {"tol": 0.0, "n_iter_no_change": 30, "max_iter": 30, "random_state": 0, "backend": backend}
    with pytest.warns(xbackprop.ConvergenceWarning):
        net = xbackprop.MLP((16, 8), dropout=(0.5, 0.1), **how).fit(X, y)
    with pytest.warns(xbackprop.ConvergenceWarning):
        plain = xbackprop.MLP((16, 8), **how).fit(X, y)
    np.testing.assert_array_equal(net.predict_proba(X), net.predict_proba(X))
    assert net.loss_curve_[-1] > plain.loss_curve_[-1]


def test_the_same_seed_drops_the_same_units_on_every_backend(backend):
    X, y = problem("regression")

    def weights(home):
        how = {"random_state": 0, "max_iter": 20, "n_iter_no_change": 20, "backend": home}
        net = xbackprop.MLP((8,), "tanh", task="regression", dropout=0.3, **how)
        with pytest.warns(xbackprop.ConvergenceWarning):
            net.fit(X, y)
        return [home.to_host(a) for a in net.coefs_]

    for ours, numpys in zip(weights(backend), weights(backend_class("numpy")()), strict=True):
        np.testing.assert_allclose(ours, numpys, atol=1e-9)
