"""C(θ + h e_p) by the layers above the element is C by whole passes through stacks of θ."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_objective, one_hot, random_theta

from xbackprop import ACTIVATIONS
from xbackprop.nn.dropout import Masks
from xbackprop.nn.losses import LOSSES
from xbackprop.nn.objective import make_batch
from xbackprop.verification import network

SIZES = {"no hidden layer": (4, 3), "one": (4, 5, 3), "three": (4, 5, 6, 5, 3)}


def claims(backend, monkeypatch, sizes, activation="tanh", loss="cross_entropy", l1_ratio=0.0, dropout=False):
    """The same claim, evaluated by stacks and by elements."""
    hidden = (activation,) * (len(sizes) - 2)
    objective = replace(
        make_objective(backend, sizes, "tanh"),
        hidden=tuple(ACTIVATIONS[name] for name in hidden),
        loss=LOSSES[loss],
        alpha=0.7,
        l1_ratio=l1_ratio,
    )
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((9, sizes[0])), one_hot(np.arange(9) % sizes[-1], sizes[-1])
    masks = Masks(backend, 1, 0, 9, sizes[1:-1], (0.4,) * len(hidden), backend.xp.float64) if dropout else ()
    batch = make_batch(backend, *map(backend.asarray, (X, y, rng.uniform(0.5, 2.0, 9))), masks)
    theta = backend.copy(backend.asarray(random_theta(objective)))
    stacks = network.network_claim(objective, theta, batch)
    monkeypatch.setattr(network, "STACKS", 0)
    elements = network.network_claim(objective, theta, batch)
    assert stacks.element_costs is None
    assert elements.element_costs is not None
    return stacks, elements


def assert_equal(stacks, elements):
    everything = np.random.RandomState(1).permutation(len(stacks.gradient))
    for h in (1e-5, -1e-5, 0.125, -2.0):
        (costs, crossed), (expected, expected_crossed) = (
            elements.evaluate(everything, h),
            stacks.evaluate(everything, h),
        )
        np.testing.assert_allclose(costs, expected, rtol=1e-14)
        np.testing.assert_array_equal(crossed, expected_crossed)
    slopes, expected = elements.complex_slopes(everything), stacks.complex_slopes(everything)
    np.testing.assert_allclose(slopes, expected, rtol=1e-12, atol=1e-14 * np.max(np.abs(expected)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(backend, monkeypatch, activation):
    assert_equal(*claims(backend, monkeypatch, SIZES["one"], activation))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_and_both_penalties(backend, monkeypatch, loss):
    assert_equal(*claims(backend, monkeypatch, SIZES["one"], "relu", loss, l1_ratio=0.5))


def test_no_hidden_layer(backend, monkeypatch):
    assert_equal(*claims(backend, monkeypatch, SIZES["no hidden layer"], loss="huber", l1_ratio=0.5))


@pytest.mark.parametrize("dropout", [False, True])
def test_whole_layers_above_the_moved_one(backend, monkeypatch, dropout):
    assert_equal(*claims(backend, monkeypatch, SIZES["three"], "leaky_relu", dropout=dropout))


def test_a_users_own_activation_goes_through_stacks(backend, monkeypatch):
    """It may not work element by element, and C has to see that."""
    monkeypatch.setattr(network, "STACKS", 0)
    objective = make_objective(backend, (4, 5, 3), "tanh")
    own = replace(objective, hidden=(replace(ACTIVATIONS["tanh"], name="mine"),))
    batch = make_batch(backend, backend.asarray(np.ones((2, 4))), backend.asarray(np.eye(3)[:2]))
    theta = backend.asarray(random_theta(objective))
    assert network.network_claim(own, theta, batch).element_costs is None
    assert network.network_claim(objective, theta, batch).element_costs is not None


def test_elements_that_disagree_with_c_are_not_used(backend, monkeypatch):
    monkeypatch.setattr(network, "STACKS", 0)
    costs = network.ElementCosts.__call__
    monkeypatch.setattr(network.ElementCosts, "__call__", lambda *args: (costs(*args)[0] + 1e-6, costs(*args)[1]))
    objective = make_objective(backend, (4, 5, 3), "tanh")
    batch = make_batch(backend, backend.asarray(np.ones((2, 4))), backend.asarray(np.eye(3)[:2]))
    assert network.network_claim(objective, backend.asarray(random_theta(objective)), batch).element_costs is None
