"""Our gradient before jax's check_grads, with jax's own step and tolerances. Nothing else here needs jax.

This folder is not called `jax`: where the library is missing, a folder of that name on the path would pass for it.
"""

import numpy as np
import pytest
from foreign import away_from_kinks, host_function, jax_function_of, with_wrong_sign

from xbackprop.nn.activations import ACTIVATIONS

jax = pytest.importorskip("jax", reason="jax is not installed; nox -s jax brings its own")
test_util = pytest.importorskip("jax.test_util", reason="check_grads lives in jax.test_util")


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def check(cost, gradient, theta):
    test_util.check_grads(jax_function_of(cost, gradient), (jax.numpy.asarray(theta),), order=1, modes=("rev",))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("full", [False, True], ids=["plain", "penalty and weights"])
def test_jax_check_grads_accepts_our_gradient(backend, activation, task, full):
    objective, batch, theta = away_from_kinks(backend, activation, task, full)
    cost, gradient, _ = host_function(objective, batch)
    check(cost, gradient, theta)


@pytest.mark.parametrize("tensor", [None, "coefs_[0]", "intercepts_[2]"], ids=["all", "W_1", "b_3"])
def test_jax_check_grads_rejects_a_wrong_sign(backend, tensor):
    objective, batch, theta = away_from_kinks(backend)
    cost, gradient, _ = host_function(objective, batch)
    with pytest.raises(AssertionError, match="cotangent projection"):
        check(cost, with_wrong_sign(objective, gradient, tensor), theta)


def test_what_jax_sees_is_the_backends_own(backend):
    objective, batch, theta = away_from_kinks(backend)
    cost, gradient, _ = host_function(objective, batch)
    seen, slope = jax.value_and_grad(jax_function_of(cost, gradient))(jax.numpy.asarray(theta))
    assert float(seen) == cost(theta)
    np.testing.assert_array_equal(np.asarray(slope), gradient(theta))
