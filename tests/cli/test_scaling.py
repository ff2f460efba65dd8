"""Folding: the network on raw data gives what the trained one gives on standardised data."""

import numpy as np
import pytest

from xbackprop import MLP
from xbackprop.cli.scaling import Scale, fold_inputs, fold_outputs

OFFSETS = np.array([0.0, -30.0, 1e4, 5.0])
SPREADS = np.array([1.0, 0.1, 200.0, 0.0])  # the last column is constant


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-11), ("float32", 1e-3)])
def test_a_folded_network_takes_raw_inputs_and_gives_raw_outputs(backend, hidden, task, dtype, limit):
    rng = np.random.RandomState(0)
    X = OFFSETS + SPREADS * rng.standard_normal((40, 4))
    y = rng.randint(0, 3, 40) if task == "classification" else 1e3 + 50.0 * rng.standard_normal((40, 2))
    inputs, outputs = Scale.of(X), Scale.of(y) if task == "regression" else None
    targets = y if outputs is None else outputs.apply(y)
    net = MLP(hidden, "tanh", task=task, backend=backend, dtype=dtype, random_state=0).initialize(
        inputs.apply(X), targets
    )
    net.intercepts_ = [np.full(tuple(b.shape), 0.3) for b in net.intercepts_]
    probe = OFFSETS + rng.standard_normal((15, 4)) * np.maximum(SPREADS, 0.1)

    def answer(X):
        return net.predict_proba(X) if outputs is None else net.predict(X)

    expected = answer(inputs.apply(probe))
    fold_inputs(net, inputs)
    if outputs is not None:
        expected = outputs.mean + outputs.deviation * expected
        fold_outputs(net, outputs)
    np.testing.assert_allclose(answer(probe), expected, rtol=0, atol=limit * np.max(np.abs(expected)))


def test_a_scale_centres_and_leaves_constants_alone():
    X = np.array([[1.0, 0.1], [3.0, 0.1], [5.0, 0.1]])
    scale = Scale.of(X)
    standard = scale.apply(X)
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-15)
    assert standard[:, 0].std() == pytest.approx(1)
    assert scale.deviation[1] == 1
