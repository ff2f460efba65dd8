"""Functions of which a right gradient was called wrong, or a wrong one right: each kind, with its siblings."""

import math

import numpy as np
import pytest

from xbackprop import Verdict, check_gradient, check_jvp, check_vjp

# Steps that leave the domain of f.


@pytest.mark.parametrize(
    ("f", "grad", "theta"),
    [
        (lambda t: np.log(t).sum(), lambda t: 1 / t, [0.5, 0.7]),
        (lambda t: np.sqrt(t).sum(), lambda t: 0.5 / np.sqrt(t), [0.01, 4.0]),
        (lambda t: np.log(1 - t).sum(), lambda t: -1 / (1 - t), [0.999, 0.2]),
        (lambda t: np.arcsin(t).sum(), lambda t: 1 / np.sqrt(1 - t * t), [0.9, -0.99]),
        (lambda t: np.exp(t).sum(), np.exp, [700.0, 709.5]),
        (lambda t: sum(math.log(v) for v in t), lambda t: 1 / t, [0.5, 0.7]),
        (lambda t: sum(1 / float(v) for v in t), lambda t: -1 / t**2, [0.125, 0.7]),
    ],
    ids=["log", "sqrt", "log(1-t)", "arcsin", "overflow", "math.log raises", "division by zero raises"],
)
def test_steps_out_of_the_domain_are_no_evidence(f, grad, theta):
    theta = np.array(theta)
    assert check_gradient(f, grad, theta), check_gradient(f, grad, theta)
    wrong = check_gradient(f, lambda t: 1.001 * grad(t), theta)
    assert wrong.verdict is Verdict.FAIL


def test_products_at_the_edge_of_a_domain():
    x = np.array([0.2, 3.0])
    assert check_vjp(np.sqrt, lambda x, w: 0.5 * w / np.sqrt(x), x)
    assert check_jvp(np.log, lambda x, v: v / x, x)
    assert not check_jvp(np.log, lambda x, v: v / x + 1e-5, x)


def test_an_error_at_theta_itself_comes_through():
    with pytest.raises(ValueError, match="math domain error"):
        check_gradient(lambda t: math.log(t[0]), lambda t: 1 / t, np.array([-0.5]))


# Functions that work in fewer digits than θ has.


@pytest.mark.parametrize(
    "f",
    [
        lambda t: float((np.float32(np.real(t)) ** 3).sum()),
        lambda t: float(np.round(np.real(t) ** 3, 5).sum()),
        lambda t: float((np.real(t).astype(np.float16).astype(float) ** 3).sum()),
    ],
    ids=["float32", "round", "float16"],
)
def test_too_few_digits_are_inconclusive(f):
    report = check_gradient(f, lambda t: 3 * t**2, np.array([1.1, 2.0]))
    assert report.verdict is Verdict.INCONCLUSIVE, report
    assert not report
    assert check_gradient(f, lambda t: 30 * t**2, np.array([1.1, 2.0])).verdict is not Verdict.PASS


def test_a_norm_near_zero_is_never_a_fail():
    t = np.array([1e-9, -1e-9])
    report = check_gradient(np.linalg.norm, lambda t: t / np.linalg.norm(t), t)
    assert report.verdict is not Verdict.FAIL, report


# Kinks.


@pytest.mark.parametrize(
    ("f", "theta", "right", "wrong"),
    [
        (lambda t: np.maximum(t, 0).sum(), [0.0, 1.0], ([0.0, 1.0], [0.5, 1.0], [1.0, 1.0]), ([7.0, 1.0], [-0.1, 1.0])),
        (lambda t: np.abs(t).sum(), [0.0, -2.0], ([0.0, -1.0], [1.0, -1.0], [-1.0, -1.0]), ([1.1, -1.0], [0.0, 1.0])),
        (lambda t: max(3 * t[0], t[1]) + t[0] ** 2, [0.5, 1.5], ([4.0, 0.0], [1.0, 1.0]), ([5.0, 0.0], [4.0, 2.0])),
        (lambda t: np.minimum(t, 2 * t).sum(), [0.0, 3.0], ([1.0, 1.0], [2.0, 1.0]), ([0.5, 1.0], [1.5, 2.0])),
    ],
    ids=["relu", "abs", "max", "min"],
)
def test_at_a_kink_every_number_between_the_slopes_is_right(f, theta, right, wrong):
    for g in right:
        report = check_gradient(f, lambda t, g=g: np.array(g), np.array(theta))
        assert report.verdict is not Verdict.FAIL, report
    for g in wrong:
        report = check_gradient(f, lambda t, g=g: np.array(g), np.array(theta))
        assert report.verdict is Verdict.FAIL, report


@pytest.mark.parametrize("vectorized", [False, True])
def test_declared_kinks_are_not_stepped_over(backend, vectorized):
    """Next to kinks in every direction no step is small enough for one that does not know them."""
    xp, theta = backend.xp, backend.asarray(np.array([1e-3, -2e-3, 0.5, 0.7]))

    def f(t):
        return xp.sum(xp.where(xp.real(t) > 0, t * t * t + t, xp.zeros_like(t)), axis=-1)

    def grad(t):
        return xp.where(t > 0, 3 * t * t + 1, xp.zeros_like(t))

    seen = []

    def branches(t):
        seen.append(tuple(t.shape))
        return t > 0

    report = check_gradient(f, grad, theta, branches=branches, vectorized=vectorized)
    assert report, report
    assert seen
    assert sum(finding.counts.get("crossed", 0) for finding in report.runs[0].findings) > 0
    assert not check_gradient(f, lambda t: 1.01 * grad(t), theta, branches=branches, vectorized=vectorized)


# Small elements beside large ones.


@pytest.mark.parametrize("large", [1e6, 1e14, 1e100])
def test_a_small_element_does_not_hide_behind_a_large_one(large):
    def f(t):
        return large * t[0] + t[1] ** 3

    theta = np.array([1.0, 2.0])
    assert check_gradient(f, lambda t: np.array([large, 3 * t[1] ** 2]), theta)
    wrong = check_gradient(f, lambda t: np.array([large, 2 * t[1] ** 2]), theta)
    assert wrong.verdict is Verdict.FAIL
    assert wrong.runs[0].tensors[0].worst.position == (1,)


def test_what_cancels_is_allowed_its_noise():
    """The second element is the difference of two numbers that are 10¹² as large."""
    big = np.array([1e12, -1e12])

    def f(t):
        return np.sum(big * np.exp(1e-12 * t[1]) * np.array([1.0, 1.0])) + t[0] * t[1] + 0.1 * t[1]

    report = check_gradient(f, lambda t: np.array([t[1], t[0] + 0.1]), np.array([1.0, 2.0]))
    assert report.verdict is not Verdict.FAIL, report


# The report, as an assertion meets it.


def test_a_report_is_true_if_it_has_passed():
    assert check_gradient(lambda t: np.sum(t**3), lambda t: 3 * t**2, np.array([1.0, 2.0]))
    wrong = check_gradient(lambda t: np.sum(t**3), lambda t: 2 * t**2, np.array([1.0, 2.0]))
    assert not wrong
    assert repr(wrong).startswith("<Report FAIL: ")
    assert "analytic is 0.666667 times numeric" in repr(wrong)
    assert "\n" not in repr(wrong)
    assert len(repr(wrong)) < 300


def test_products_are_reported_under_the_users_own_names():
    def halved(x):
        return 0.5 * x

    report = check_vjp(halved, lambda x, w: 0.5 * w, np.ones((2, 3)))
    assert report.header["function"].endswith("halved, x (2, 3)")
    assert [t.name for t in report.runs[0].tensors] == ["products"]


# Several arrays.


def loss(W, b):
    return np.sum((W @ b) ** 2)


def loss_gradient(W, b):
    r = 2 * (W @ b)
    return np.outer(r, b), W.T @ r


W, B = np.array([[1.0, -2.0], [0.5, 3.0], [2.0, 0.1]]), np.array([0.3, -0.7])


def test_a_tuple_of_arrays_are_arguments():
    report = check_gradient(loss, loss_gradient, (W, B))
    assert report, report
    assert list(report.verdicts) == ["theta[0]", "theta[1]"]
    wrong = check_gradient(loss, lambda W, b: (loss_gradient(W, b)[0], 2 * loss_gradient(W, b)[1]), (W, B))
    assert wrong.verdicts == {"theta[0]": Verdict.PASS, "theta[1]": Verdict.FAIL}


def test_a_dict_of_arrays_is_one_argument(backend):
    xp = backend.xp
    theta = {"W": backend.asarray(W), "b": backend.asarray(B)}

    def f(p):
        r = xp.matmul(p["W"], p["b"])
        return xp.sum(r * r)

    def grad(p):
        r = 2 * xp.matmul(p["W"], p["b"])
        return {"b": xp.matmul(xp.matrix_transpose(p["W"]), r), "W": r[:, None] * p["b"][None, :]}

    report = check_gradient(f, grad, theta)
    assert report, report
    assert report.verdicts == {"W": Verdict.PASS, "b": Verdict.PASS}


@pytest.mark.parametrize(
    ("grad", "says"),
    [
        (lambda W, b: W, r"grad\(theta\) must be 2 arrays, got 1"),
        (lambda W, b: (b, W), r"grad\(theta\) for theta\[0\] must have shape \(3, 2\), got \(2,\)"),
        (lambda W, b: (W, b > 0), r"grad\(theta\) for theta\[1\] must be real numbers, got bool"),
    ],
)
def test_a_gradient_of_another_form_is_an_error(grad, says):
    with pytest.raises(ValueError, match=f"check_gradient: {says}"):
        check_gradient(loss, grad, (W, B))


@pytest.mark.parametrize("theta", [(), {}])
def test_no_arrays_are_an_error(theta):
    with pytest.raises(ValueError, match="check_gradient: theta must have arrays"):
        check_gradient(loss, loss_gradient, theta)


def test_the_keys_of_a_dict_have_to_be_those_of_theta():
    with pytest.raises(ValueError, match=r"must be a dict with the keys \['a'\], got \['c'\]"):
        check_gradient(lambda p: np.sum(p["a"]), lambda p: {"c": p["a"]}, {"a": np.ones(2)})


# Precision that the library keeps.


@pytest.mark.backends("jax")
def test_on_jax_a_check_enters_float64_by_itself(recwarn):
    jnp = pytest.importorskip("jax.numpy", reason="jax is not installed")
    import jax

    with jax.enable_x64(False):
        theta = jnp.asarray([1.0, 2.0], dtype="float32")
        report = check_gradient(lambda t: jnp.sum(t**3), lambda t: 3 * t**2, theta)
    assert report.verdict is Verdict.INCONCLUSIVE  # since θ came in float32
    assert not [w for w in recwarn if "float64" in str(w.message)]
    with jax.enable_x64(True):
        theta = jnp.asarray([1.0, 2.0])
    assert check_gradient(lambda t: jnp.sum(t**3), lambda t: 3 * t**2, theta)


@pytest.mark.backends("torch")
def test_a_float32_module_is_named_as_the_reason():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    module = torch.nn.Linear(2, 1)

    def grad(t):
        return module.weight.detach()[0]

    with pytest.raises(ValueError, match=r"theta is torch.float32: .* but f raises RuntimeError .* module.double\(\)"):
        check_gradient(lambda t: module(t)[0], grad, torch.ones(2))
