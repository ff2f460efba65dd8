"""Starting weights: the variance laws that keep signals alive, and where the draws come from."""

import numpy as np
import pytest
from helpers import weights_of
from numpy.random import RandomState

import xbackprop
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.nn.initializers import BLOCK, INITIALIZERS, draw, draw_theta
from xbackprop.nn.parameters import Layout

N_IN, N_OUT = 300, 200
VARIANCE = {"he": 2 / N_IN, "glorot": 2 / (N_IN + N_OUT), "lecun": 1 / N_IN}
checkpoint_every = pytest.mark.parametrize("name", INITIALIZERS)


def test_the_table_has_the_promised_rows():
    assert set(INITIALIZERS) == {f"{family}_{law}" for family in VARIANCE for law in ("normal", "uniform")}


@checkpoint_every
def test_mean_and_variance(name):
    W = draw(name, RandomState(0), N_IN, N_OUT)
    variance = VARIANCE[name.split("_")[0]]
    assert W.shape == (N_IN, N_OUT)
    assert W.dtype == np.float64
    assert abs(W.mean()) < 5 * np.sqrt(variance / W.size)
    assert W.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / W.size))


@checkpoint_every
def test_law(name):
    """A uniform law has an edge, at √3 standard deviations, and fills its interval evenly; a normal one has tails."""
    W = draw(name, RandomState(1), N_IN, N_OUT) / np.sqrt(VARIANCE[name.split("_")[0]])
    if name.endswith("uniform"):
        assert np.abs(W).max() <= np.sqrt(3)
        assert np.mean(np.abs(W) < np.sqrt(3) / 2) == pytest.approx(0.5, abs=0.02)
    else:
        assert np.abs(W).max() > 3.5
        assert np.mean(np.abs(W) < 1) == pytest.approx(0.6827, abs=0.02)


@checkpoint_every
def test_the_seed_decides(name):
    one, same, other = (draw(name, RandomState(seed), 5, 4) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, same)
    assert not np.isclose(one, other).any()


def test_he_keeps_the_second_moment_of_relu_layers():
    """What He's law is for: E h² stays of the same size through many relu layers."""
    rng = RandomState(0)
    h = rng.standard_normal((200, 256))
    before = np.mean(h**2)
    layout = Layout([256] * 11)
    for W, b in layout.layers(np, draw_theta(["he_normal"] * 10, rng, layout, "float64")):
        h = np.maximum(h @ W + b, 0)
    assert 0.3 < np.mean(h**2) / before < 3


def test_layers_come_from_one_stream_in_order_with_zero_biases():
    layout = Layout((4, 5, 2))
    layers = layout.layers(np, draw_theta(["he_normal", "glorot_uniform"], RandomState(3), layout, "float64"))
    rng = RandomState(3)
    for (W, b), (name, n_in, n_out) in zip(layers, [("he_normal", 4, 5), ("glorot_uniform", 5, 2)], strict=True):
        np.testing.assert_array_equal(W, draw(name, rng, n_in, n_out))
        np.testing.assert_array_equal(b, np.zeros((1, n_out)))


@checkpoint_every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_layer_takes_the_numbers_of_one_draw(name, dtype):
    """Drawn block by block into θ, from the same stream, and rounded once."""
    layout = Layout((300, 200, 1))
    assert layout.n_weights > BLOCK
    theta = draw_theta([name] * 2, RandomState(5), layout, dtype)
    rng, deviation = RandomState(5), np.sqrt(VARIANCE[name.split("_")[0]])
    bound = np.sqrt(3) * deviation
    normal = name.endswith("normal")
    whole = deviation * rng.standard_normal(60_000) if normal else rng.uniform(-bound, bound, 60_000)
    assert theta.dtype == dtype
    np.testing.assert_allclose(theta[:60_000], whole, rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_auto_is_he_for_the_relu_family_lecun_for_selu_and_glorot_otherwise(backend, activation):
    relu_family = activation in ("relu", "leaky_relu", "softplus", "elu", "gelu", "silu", "mish")
    family = "he" if relu_family else "lecun" if activation == "selu" else "glorot"
    X, y = np.ones((4, N_IN)), [0, 1, 0, 1]
    net = xbackprop.MLP((N_OUT,), activation, backend=backend, random_state=0).initialize(X, y)
    first, _, *biases = weights_of(net)
    assert first.var() == pytest.approx(VARIANCE[family], rel=0.05)
    assert not any(b.any() for b in biases)


@checkpoint_every
def test_a_named_initializer_is_used_for_every_layer(name):
    net = xbackprop.MLP((5,), init=name, random_state=2).initialize(np.ones((2, 3)), [0, 1])
    rng = RandomState(2)
    for W, (n_in, n_out) in zip(net.coefs_, [(3, 5), (5, 2)], strict=True):
        np.testing.assert_array_equal(W, draw(name, rng, n_in, n_out))
