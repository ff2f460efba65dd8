"""Settings and numbers at the ends of their ranges: a result, or an error in words, and no other exception."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
from helpers import problem, weights_of
from hypothesis import given, settings
from hypothesis import strategies as st

import xbackprop
from xbackprop import MLP
from xbackprop.data.metrics import accuracy
from xbackprop.mlp.setting_table import SETTINGS

X, LABELS = problem("classification", n=40)


def fit(**how):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return MLP(**{"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0, **how}).fit(X, LABELS)


NUMBERS = [
    s.name
    for s in SETTINGS
    if isinstance(s.default, float)
    and not isinstance(s.default, bool)
    and s.name not in ("quantile", "n_iter_no_change")
]
EXTREMES = [5e-324, 1e-300, 1e-17, np.nextafter(1, 0), 1.0, 1e17, 1e300, 1.7e308, 10**400, -0.0]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_setting_at_the_end_of_its_range(name, dtype):
    """The same for the solvers and schedules that use it."""
    use = {"power_t": {"learning_rate": "invscaling"}, "step_factor": {"learning_rate": "step", "step_epochs": 1}}
    use |= {
        "momentum": {"solver": "sgd"},
        "rho": {"solver": "rmsprop"},
        "validation_fraction": {"early_stopping": True},
    }
    for value in EXTREMES:
        try:
            net = fit(**use.get(name, {}), **{name: value}, dtype=dtype)
        except (ValueError, xbackprop.DivergenceError) as raised:
            error = raised
        else:
            assert all(np.isfinite(w).all() for w in weights_of(net))
            continue
        assert str(error).startswith(("MLP: ", "MLP.fit: "))


def test_a_dropout_rate_that_rounds_to_one_is_refused(backend):
    with pytest.raises(ValueError, match=r"^MLP: dropout must be below 1 as a multiple of 2\*\*-16, got 0\.999999"):
        MLP(dropout=0.999999, backend=backend)
    fit(dropout=1 - 2.0**-16, backend=backend)


def test_a_number_beyond_float32_is_named_by_every_prediction(backend):
    net = fit(dtype="float32", backend=backend)
    for method in (net.predict, net.predict_proba, net.predict_log_proba):
        with pytest.raises(ValueError, match=r"X must be finite, got 1e\+39 \(infinite in float32\) at \(0, 1\)"):
            method([[0.0, 1e39, 0.0, 0.0]])


def test_weights_that_become_zero_in_float32_are_refused(backend):
    net = MLP((4,), dtype="float32", backend=backend)
    with pytest.raises(
        ValueError, match=r"^MLP\.fit: sample_weight must have some numbers that are positive in float32"
    ):
        net.fit(X, LABELS, np.full(40, 1e-60))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_an_accuracy_is_the_quotient_of_two_whole_numbers(correct):
    assert accuracy(np.array(correct), None) == float(Fraction(sum(correct), len(correct)))


def test_a_float32_network_has_an_accuracy_in_full_precision(backend):
    net = fit(dtype="float32", backend=backend)
    score = net.score(X, LABELS)
    assert score == np.mean(net.predict(X) == LABELS)
    assert score * 40 == round(score * 40)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_sparse_tensors_are_refused_in_words():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    net, table = fit(backend="torch"), torch.tensor(X)
    for sparse in (table.to_sparse(), table.to_sparse_csr()):
        for method in (lambda x: net.fit(x, LABELS), net.predict):
            with pytest.raises(
                ValueError, match=r"X must be dense or a sparse matrix of SciPy's, got the layout torch\.sp"
            ):
                method(sparse)
