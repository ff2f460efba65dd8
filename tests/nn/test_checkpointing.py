"""Activation checkpointing: the same gradients, bit by bit, from less memory."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from helpers import make_objective, one_hot, problem, random_theta, weights_of
from hypothesis import given
from hypothesis import strategies as st

import xbackprop
from xbackprop.arrays.discovery import backend_class
from xbackprop.nn.backprop import forward, sqrt_layers
from xbackprop.nn.dropout import Masks
from xbackprop.nn.objective import make_batch

SIZES = (4, 6, 5, 7, 5, 6, 4, 3)


def gradient(objective, checkpoint_every, masks=False, lend=False):
    """C and the gradient, as bytes of the host."""
    objective = replace(objective, checkpoint_every=checkpoint_every)
    backend = objective.backend
    sizes = objective.layout.sizes
    X, y = problem("classification", features=sizes[0], outputs=sizes[-1])
    theta = backend.copy(backend.asarray(random_theta(objective)))
    batch = make_batch(backend, backend.asarray(X), backend.asarray(one_hot(y, sizes[-1])))
    if masks:
        hidden = sizes[1:-1]
        batch = batch._replace(masks=Masks(backend, 3, 1, len(X), hidden, (0.3,) * len(hidden), theta.dtype))
    lent = objective.workspace(theta, len(X)) if lend else None
    cost, g = objective.value_and_gradient(theta, batch, lent)
    return float(backend.to_host(cost)), np.array(backend.to_host(g))


@pytest.mark.parametrize("activation", ["relu", "tanh", "identity", "gelu"])
@pytest.mark.parametrize("masks", [False, True], ids=["", "dropout"])
@pytest.mark.parametrize("checkpoint_every", [1, 2, 3, 4, 7, 50])
def test_gradients_are_the_same_bit_by_bit(backend, activation, masks, checkpoint_every):
    objective = make_objective(backend, SIZES, activation)
    for lend in (False, True):
        cost, g = gradient(objective, 0, masks, lend)
        cost_again, g_again = gradient(objective, checkpoint_every, masks, lend)
        assert cost_again == cost
        np.testing.assert_array_equal(g_again, g)


@given(st.lists(st.integers(1, 6), min_size=2, max_size=12), st.integers(1, 12), st.sampled_from(["relu", "softplus"]))
def test_whatever_the_depth_and_the_distance(sizes, checkpoint_every, activation):
    objective = make_objective(backend_class("numpy")(), sizes, activation)
    np.testing.assert_array_equal(
        gradient(objective, checkpoint_every, lend=True)[1], gradient(objective, 0, lend=True)[1]
    )


@pytest.mark.parametrize("checkpoint_every", [1, 2, 3, 5])
def test_the_forward_pass_keeps_every_kth_layer_and_what_lies_above_the_last(backend, checkpoint_every):
    objective = make_objective(backend, SIZES)
    X, _ = problem("classification")
    layers = objective.layout.layers(backend.xp, backend.asarray(random_theta(objective)))
    cache = forward(backend, layers, objective.activations, backend.asarray(X), checkpoint_every=checkpoint_every)
    L = len(layers)
    top = max(l for l in range(0, L, checkpoint_every))
    assert [l for l, h in enumerate(cache.h) if h is not None] == sorted(
        {*range(0, L, checkpoint_every), *range(top, L + 1)}
    )
    assert [l for l, z in enumerate(cache.z, 1) if z is not None] == list(range(top + 1, L + 1))


def test_the_root_of_the_depth():
    assert [sqrt_layers(L) for L in (1, 2, 4, 9, 64, 100)] == [1, 1, 2, 3, 8, 10]


@pytest.mark.parametrize("how", [1, 2, "sqrt"])
def test_training_with_it_is_training_without(backend, how):
    X, y = problem("classification", n=40)
    settings = {"dropout": 0.2, "max_iter": 3, "batch_size": 16, "random_state": 0, "backend": backend}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        nets = [xbackprop.MLP((6, 5, 6, 5), checkpoint_activations=k, **settings).fit(X, y) for k in (None, how)]
    for a, b in zip(*map(weights_of, nets), strict=True):
        np.testing.assert_array_equal(a, b)
    assert nets[0].loss_curve_ == nets[1].loss_curve_


@pytest.mark.parametrize(
    ("value", "says"), [(0, "at least 1, got 0"), ("some", "'sqrt' or None, got 'some'"), (2.5, "got 2.5")]
)
def test_a_wrong_setting_is_named(value, says):
    with pytest.raises(ValueError, match=f"MLP: checkpoint_activations must be a whole number.*{says}"):
        xbackprop.MLP(checkpoint_activations=value)
