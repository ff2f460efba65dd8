"""Jv, Jᵀw, Hv and the gradients by input and by sample: against torch, and by what must hold among themselves."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from foreign import Case, Numbers, TorchNetwork, numbers_of, place
from helpers import DTYPES, least, relative, selected_backends
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_activations import POINTS, TRUTH, sigma, sigma_prime, softplus

from xbackprop.nn.activations import ACTIVATIONS, SELU_ALPHA, SELU_SCALE, Activation
from xbackprop.nn.derivatives import hvp, input_gradient, jvp, per_sample_gradient_norms, per_sample_gradients, vjp
from xbackprop.nn.losses import LOSSES
from xbackprop.nn.objective import make_batch

# Of a tensor's norm. A few dozen products are summed on the way to an element, and the terms may be some ten times as
# large as what is left of them: that makes some hundred units of roundoff. Hv goes through the network twice as often
# as the gradient, which stays within the same hundreds.
LIMIT = {"float64": 1e-13, "float32": 1e-5}
UNIT = 2.0**-53
STEP = 1e-100

mp = pytest.importorskip("mpmath", reason="mpmath is the oracle of f″").mp

tasks = pytest.mark.parametrize("task", ["classification", "regression"])
networks = pytest.mark.parametrize(
    ("activation", "hidden"),
    [("identity", ()), *itertools.product(ACTIVATIONS, [(5,), (5, 6)])],
    ids=lambda value: value if isinstance(value, str) else str(len(value)),
)


def flattened(s, layers):
    """(n, P) from per-sample gradients by layer."""
    xp, n = s.objective.backend.xp, s.batch.X.shape[0]
    return xp.concat([xp.reshape(a, (n, -1)) for part in zip(*layers, strict=True) for a in part], axis=1)


# Each of them by us and by torch. A flat θ of derivatives is compared tensor by tensor.
OURS = {
    "jvp": lambda s, a: jvp(s.objective, a.theta, a.v, a.X),
    "jvp along X": lambda s, a: jvp(s.objective, a.theta, a.v, a.X, a.X_tangent),
    "vjp": lambda s, a: vjp(s.objective, a.theta, a.w, a.X),
    "hvp": lambda s, a: hvp(s.objective, a.theta, a.v, s.batch),
    "input_gradient": lambda s, a: input_gradient(s.objective, a.theta, s.batch),
    "per_sample_gradients": lambda s, a: flattened(s, per_sample_gradients(s.objective, a.theta, s.batch)),
    "per_sample_gradient_norms": lambda s, a: per_sample_gradient_norms(s.objective, a.theta, s.batch),
}
TORCHS = {
    "jvp": lambda t, a: t.jvp(a.theta, a.v),
    "jvp along X": lambda t, a: t.jvp(a.theta, a.v, a.X_tangent),
    "vjp": lambda t, a: t.vjp(a.theta, a.w),
    "hvp": lambda t, a: t.hvp(a.theta, a.v),
    "input_gradient": lambda t, a: t.input_gradient(a.theta),
    "per_sample_gradients": lambda t, a: t.per_sample_gradients(a.theta),
    "per_sample_gradient_norms": lambda t, a: np.linalg.norm(t.per_sample_gradients(a.theta), axis=1),
}
everything = pytest.mark.parametrize("what", OURS)
IN_THETA = ("vjp", "hvp", "per_sample_gradients")


def ours(s, what):
    return OURS[what](s, s.numbers)


@functools.cache
def torchs(case, what):
    """In float64, from the case's own numbers."""
    pytest.importorskip("torch", reason="torch is the oracle")
    a = Numbers(*(x.astype(np.float64) for x in numbers_of(case)))
    weight = a.weight if case.full else np.ones(case.n)
    loss = {"classification": "cross_entropy", "regression": "mean_squared_error"}[case.task]
    total = weight.sum()
    network = TorchNetwork(case.sizes, case.activation, loss, a.X, a.y, weight / total, case.alpha / total)
    return TORCHS[what](network, a)


@everything
@networks
@tasks
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_agrees_tensor_by_tensor(backend, what, activation, task, hidden, dtype):
    for full in (False, True):
        case = Case(activation, hidden, task, full, dtype)
        s = place(backend, case)
        found, expected = s.host(ours(s, what)), torchs(case, what)
        assert found.dtype == dtype  # float64 anywhere on the way would have made the result float64
        slices = [where for where, _ in s.objective.layout.tensors().values()] if what in IN_THETA else [slice(None)]
        for where in slices:
            assert relative(found[..., where], expected[..., where]) <= LIMIT[dtype]


# What must hold without an oracle, of any network.

#: On JAX two widths alone: XLA compiles every operation for every shape anew, and the passes are the generic ones.
sizes = st.sampled_from([1, 3]) if selected_backends() == ["jax"] else st.integers(1, 5)
cases = st.builds(
    Case,
    activation=st.sampled_from(list(ACTIVATIONS)),
    hidden=st.lists(sizes, max_size=3).map(tuple),
    task=st.sampled_from(["classification", "regression"]),
    full=st.booleans(),
    dtype=st.just("float64"),
    n=sizes,
    features=sizes,
    outputs=sizes,
    seed=st.integers(0, 10**6),
)


def of_any_network(test):
    """Draws a case. A backend keeps nothing from one example to the next, so that they may share it."""
    examples = min(40, settings.default.max_examples)
    return settings(max_examples=examples, suppress_health_check=[HealthCheck.function_scoped_fixture])(
        given(cases)(test)
    )


def dot(s, a, b):
    return float(np.sum(s.host(a) * s.host(b)))


def norm(s, a):
    return float(np.linalg.norm(s.host(a)))


@of_any_network
def test_jvp_and_vjp_are_each_others_transpose(backend, case):
    """⟨Jv, w⟩ = ⟨v, Jᵀw⟩."""
    s = place(backend, case)
    a, Jv, Jw = s.numbers, ours(s, "jvp"), ours(s, "vjp")
    scale = norm(s, Jv) * norm(s, a.w) + norm(s, a.v) * norm(s, Jw)
    assert abs(dot(s, Jv, a.w) - dot(s, a.v, Jw)) <= 32 * UNIT * scale


@of_any_network
def test_the_hessian_is_symmetric(backend, case):
    """⟨u, Hv⟩ = ⟨v, Hu⟩."""
    s = place(backend, case)
    a, Hv, Hu = s.numbers, ours(s, "hvp"), hvp(s.objective, s.numbers.theta, s.numbers.u, s.batch)
    scale = norm(s, a.u) * norm(s, Hv) + norm(s, a.v) * norm(s, Hu)
    assert abs(dot(s, a.u, Hv) - dot(s, a.v, Hu)) <= 32 * UNIT * scale


LINEAR = {
    "jvp": lambda s, v: jvp(s.objective, s.numbers.theta, v, s.batch.X),
    "hvp": lambda s, v: hvp(s.objective, s.numbers.theta, v, s.batch),
}


@pytest.mark.parametrize("what", LINEAR)
@of_any_network
def test_products_are_linear_in_the_direction(backend, what, case):
    s = place(backend, case)
    a = s.numbers
    along_v, along_u, along_both = (s.host(LINEAR[what](s, v)) for v in (a.v, a.u, a.v + a.u))
    rounding = LIMIT["float64"] * (np.linalg.norm(along_v) + np.linalg.norm(along_u))
    assert np.linalg.norm(along_both - along_v - along_u) <= rounding
    np.testing.assert_array_equal(s.host(LINEAR[what](s, -4.0 * a.v)), -4.0 * along_v)  # powers of two do not round
    np.testing.assert_array_equal(s.host(LINEAR[what](s, 0.0 * a.v)), 0.0 * along_v)


@of_any_network
def test_all_directions_add_up_to_the_change_of_the_cost(backend, case):
    """Forward mode from θ and X to C, ⟨δ_L, ż_L⟩ + α/n ⟨W, V⟩, is ⟨∂C/∂θ, v⟩ + ⟨∂C/∂X, Ẋ⟩ of the backward pass."""
    s = place(backend, case)
    a, n_weights = s.numbers, s.objective.layout.n_weights
    _, delta = s.objective.forward_and_delta(a.theta, s.batch)
    _, gradient = s.objective.value_and_gradient(a.theta, s.batch)
    z_tangent, in_X = ours(s, "jvp along X"), ours(s, "input_gradient")
    decay = s.objective.alpha * float(s.batch.inverse)
    forward = dot(s, delta, z_tangent) + decay * dot(s, a.theta[:n_weights], a.v[:n_weights])
    scale = (
        norm(s, gradient) * norm(s, a.v) + norm(s, in_X) * norm(s, a.X_tangent) + norm(s, delta) * norm(s, z_tangent)
    )
    assert abs(forward - dot(s, gradient, a.v) - dot(s, in_X, a.X_tangent)) <= 32 * UNIT * scale


@of_any_network
def test_the_samples_gradients_make_up_the_gradient(backend, case):
    """∂C/∂θ = Σ_x share_x ∂C_x/∂θ + α/n (W, 0)."""
    s = place(backend, case)
    theta, n_weights = s.host(s.numbers.theta), s.objective.layout.n_weights
    share = np.broadcast_to(s.host(s.batch.share) if case.full else s.batch.share, (case.n, 1))
    terms = np.concatenate([share * s.host(ours(s, "per_sample_gradients")), np.zeros((1, len(theta)))])
    terms[-1, :n_weights] = s.objective.alpha * float(s.batch.inverse) * theta[:n_weights]
    _, gradient = s.objective.value_and_gradient(s.numbers.theta, s.batch)
    rounding = LIMIT["float64"] * np.linalg.norm(np.abs(terms).sum(axis=0))
    assert np.linalg.norm(terms.sum(axis=0) - s.host(gradient)) <= rounding


@of_any_network
def test_norms_are_those_of_the_gradients_when_formed(backend, case):
    s = place(backend, case)
    formed = np.linalg.norm(s.host(ours(s, "per_sample_gradients")), axis=1)
    np.testing.assert_allclose(s.host(ours(s, "per_sample_gradient_norms")), formed, rtol=1e-14, atol=0)


@of_any_network
def test_vjp_of_the_output_error_is_the_gradient_without_its_penalty(backend, case):
    s = place(backend, case._replace(full=False))
    _, delta = s.objective.forward_and_delta(s.numbers.theta, s.batch)
    _, gradient = s.objective.value_and_gradient(s.numbers.theta, s.batch)
    found = vjp(s.objective, s.numbers.theta, delta, s.batch.X)
    np.testing.assert_array_equal(s.host(found), s.host(gradient))


@networks
@tasks
@pytest.mark.parametrize("full", [False, True], ids=["plain", "penalty and weights"])
def test_hvp_is_the_complex_step_of_our_gradient(backend, activation, task, hidden, full):
    """Hv = Im ∂C/∂θ (θ + i h v) / h with h = 1e-100: no difference is taken, so nothing cancels."""
    case = Case(activation, hidden, task, full)
    s, a, generic = place(backend, case), numbers_of(case), backend.generic()
    X, theta = generic.asarray(a.X + 0j), generic.asarray(a.theta + 1j * STEP * a.v)
    objective = dataclasses.replace(s.objective, backend=generic)
    _, gradient = objective.value_and_gradient(theta, s.batch._replace(X=X))
    found, stepped = s.host(ours(s, "hvp")), s.host(gradient).imag / STEP
    for where, _ in s.objective.layout.tensors().values():
        assert relative(found[where], stepped[where]) <= 1e-12


@everything
def test_they_write_into_nothing_they_are_given_and_repeat_to_the_last_bit(backend, what):
    s = place(backend, Case())
    given_to = [*s.numbers, *s.batch[:2], s.batch.share]
    before = [np.array(s.host(x)) for x in given_to]
    first = np.array(s.host(ours(s, what)))
    second = s.host(ours(s, what))
    assert first.any()
    np.testing.assert_array_equal(first, second)
    for x, was in zip(given_to, before, strict=True):
        np.testing.assert_array_equal(s.host(x), was)


def test_a_batch_that_weighs_nothing_has_no_gradient_by_input_and_no_curvature(backend):
    s = place(backend, Case())
    batch = make_batch(backend, s.batch.X, s.batch.y, 0.0 * s.numbers.weight)
    weightless = s._replace(batch=batch)
    assert not s.host(ours(weightless, "input_gradient")).any()
    assert not s.host(ours(weightless, "hvp")).any()
    for what in ("per_sample_gradients", "per_sample_gradient_norms"):  # which no weight enters
        np.testing.assert_array_equal(s.host(ours(weightless, what)), s.host(ours(s, what)))


# f″, against 60 digits.


def normal_size(z):
    """(2 + z²) φ(z) for the two terms, and z²/2 times that, for exp magnifies the rounding of its argument so."""
    return (2 + z * z) * (1 + z * z / 2) * mp.npdf(z)


def mish_slope(z):
    """(tanh softplus z)′."""
    return mp.sech(softplus(z)) ** 2 * sigma(z)


SECOND = {  # f″, and where a sum in it cancels, the size of its terms
    "identity": (lambda z: mp.mpf(0),),
    "relu": (lambda z: mp.mpf(0),),
    "leaky_relu": (lambda z: mp.mpf(0),),
    "tanh": (lambda z: -2 * mp.tanh(z) * mp.sech(z) ** 2,),
    "logistic": (lambda z: -sigma_prime(z) * mp.tanh(z / 2),),
    "softplus": (sigma_prime,),
    "elu": (lambda z: mp.mpf(0) if z > 0 else mp.exp(z),),
    "gelu": (lambda z: (2 - z * z) * mp.npdf(z), normal_size),
    "silu": (lambda z: sigma_prime(z) * (2 - z * mp.tanh(z / 2)), lambda z: sigma_prime(z) * (2 + abs(z))),
    "selu": (
        lambda z: mp.mpf(0) if z > 0 else mp.mpf(SELU_SCALE) * SELU_ALPHA * mp.exp(z),
        lambda z: mp.mpf(0) if z > 0 else mp.mpf(SELU_SCALE) * SELU_ALPHA * mp.exp(z),
    ),
    "mish": (
        lambda z: mish_slope(z) * (2 + z * (sigma(-z) - 2 * mp.tanh(softplus(z)) * sigma(z))),
        lambda z: mish_slope(z) * (2 + 2 * abs(z)),
    ),
}


def second(backend, name, z, dtype="float64"):
    activation, z = ACTIVATIONS[name], backend.asarray(np.asarray(z), dtype)
    result = backend.bind(activation.d2f)(z, backend.bind(activation.f)(z))
    assert result.dtype == z.dtype
    return backend.to_host(result)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_second_derivative_is_right_to_rounding(backend, name, dtype):
    """At every point where f and f′ are tested, and at both zeros, where it is the one from the left."""
    points = np.concatenate([POINTS, [0.0, -0.0]]).astype(dtype)
    unit, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    truth, size, flushed = SECOND[name][0], SECOND[name][-1], 2 * least(backend, dtype)
    with mp.workdps(60):
        for z, value in zip(points, second(backend, name, points, dtype), strict=True):
            z = mp.mpf(float(z))
            allowed = 8 * unit * abs(size(z)) + 2 * tiny + flushed * abs(z)
            assert abs(mp.mpf(float(value)) - truth(z)) <= allowed, f"at z = {z}"


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_oracle_of_the_second_derivative_is_the_derivative_of_that_of_the_first(name):
    with mp.workdps(60):
        for z in (-20, -3, -1.28, -0.3, 0.2, 1.1, 4, 25):
            assert abs(mp.diff(TRUTH[name][1], mp.mpf(z)) - SECOND[name][0](mp.mpf(z))) < mp.mpf(10) ** -25


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_second_derivative_is_zero_far_out_and_not_a_nan(backend, name):
    np.testing.assert_array_equal(second(backend, name, [1e153, 1e160, -1e160, 1e300, -1e300]), 0.0)


@pytest.mark.parametrize("margin", [10, 20, 40, 100])
def test_the_tangent_of_cross_entropy_keeps_its_digits_where_softmax_saturates(backend, margin):
    z, along = np.array([[0.3, margin, -0.2]]), np.array([[0.7, -0.4, 1.1]])
    found = LOSSES["cross_entropy"].delta_tangent(
        backend.xp, backend.asarray(z), backend.asarray(0 * z), 1.0, backend.asarray(along)
    )
    with mp.workdps(60):
        e, t = [mp.exp(mp.mpf(float(v))) for v in z[0]], [mp.mpf(float(v)) for v in along[0]]
        h = [v / sum(e) for v in e]
        true = [h[j] * sum(h[k] * (t[j] - t[k]) for k in range(3)) for j in range(3)]
    np.testing.assert_allclose(backend.to_host(found)[0], np.array(true, dtype=float), rtol=1e-13, atol=0)


# What is missing is asked for by name.

CHAIN = Activation(lambda xp, z: xp.tanh(z), lambda xp, z, h: 1.0 - h * h, "mine")


def with_hidden(s, *hidden):
    return s._replace(objective=dataclasses.replace(s.objective, hidden=hidden))


@pytest.mark.parametrize("where", [0, 1])
def test_hvp_names_an_activation_without_a_second_derivative_and_asks_for_it(backend, where):
    hidden = [ACTIVATIONS["relu"]] * 2
    hidden[where] = CHAIN
    with pytest.raises(ValueError, match=r"^activation 'mine': .*second derivative.*Activation\(.*d2f="):
        ours(with_hidden(place(backend, Case()), *hidden), "hvp")


def test_a_users_second_derivative_is_used(backend):
    s = place(backend, Case(activation="tanh"))
    own = dataclasses.replace(CHAIN, d2f=lambda xp, z, h: -2.0 * h * (1.0 - h * h))
    assert relative(s.host(ours(with_hidden(s, own, own), "hvp")), s.host(ours(s, "hvp"))) <= LIMIT["float64"]


def test_hvp_names_a_loss_without_a_tangent_and_asks_for_it(backend):
    s = place(backend, Case())
    loss = dataclasses.replace(s.objective.loss, name="mine", delta_tangent=None)
    with pytest.raises(ValueError, match=r"^loss 'mine': .*Loss\(.*delta_tangent="):
        ours(s._replace(objective=dataclasses.replace(s.objective, loss=loss)), "hvp")


@pytest.mark.parametrize("what", [name for name in OURS if name != "hvp"])
def test_the_others_ask_for_no_second_derivative(backend, what):
    s = place(backend, Case(activation="tanh"))
    loss = dataclasses.replace(s.objective.loss, delta_tangent=None)
    bare = with_hidden(s, CHAIN, CHAIN)
    bare = bare._replace(objective=dataclasses.replace(bare.objective, loss=loss))
    assert relative(s.host(ours(bare, what)), s.host(ours(s, what))) <= LIMIT["float64"]
