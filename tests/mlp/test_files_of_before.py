"""Model files and a checkpoint of an earlier version are read: same predictions, and a run goes on as it would have.

`tests/files` has what version 0.1.0 wrote: a classifier, a regressor, the checkpoint of a run after 6 of its 12 epochs,
and, in expected_v1.npz, what that version predicted and where the whole run ended. The data are drawn anew here.
"""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import weights_of

import xbackprop
from xbackprop.training.checkpoints import FILE

FILES = Path(__file__).parent.parent / "files"


@pytest.fixture(scope="module")
def expected():
    with np.load(FILES / "expected_v1.npz") as file:
        return dict(file)


def data():
    """The 60 rows of five features, and the kind of tree of each."""
    X = np.random.RandomState(0).standard_normal((60, 5))
    return X, np.array(["ash", "beech", "cedar"])[np.argmax(X[:, :3], axis=1)]


def test_a_classifier_predicts_what_it_did(backend, expected):
    X, _ = data()
    net = xbackprop.MLP.load(FILES / "classifier_v1.safetensors", backend=backend)
    np.testing.assert_allclose(net.predict_proba(X), expected["proba"], rtol=0, atol=1e-12)
    assert net.classes_.tolist() == ["ash", "beech", "cedar"]
    assert (net.dropout, net.label_smoothing, net.class_weight) == ([0.1, 0.2], 0.05, {"ash": 2.0})


def test_a_regressor_predicts_what_it_did(backend, expected):
    X, _ = data()
    net = xbackprop.MLP.load(FILES / "regressor_v1.safetensors", backend=backend)
    assert net.dtype == "float32"
    np.testing.assert_allclose(net.predict(X), expected["regression"], rtol=0, atol=1e-5)


def test_a_run_goes_on_from_its_checkpoint_and_ends_where_it_would_have(tmp_path, expected):
    """To 1e-9, since the BLAS of another machine may add in another order; on one machine it is bit by bit."""
    X, y = data()
    shutil.copy(FILES / "checkpoint_v1.safetensors", tmp_path / FILE)
    run = {
        "hidden_layer_sizes": (7,), "solver": "adam", "dropout": 0.1, "early_stopping": True,
        "validation_fraction": 0.25, "batch_size": 16, "random_state": 4,
    }  # fmt: skip
    net = xbackprop.MLP(**run, max_iter=12, checkpoint=tmp_path, resume=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        with pytest.warns(RuntimeWarning, match="older version, which has no digest of the data"):
            net.fit(X, y)
    assert net.n_iter_ == 12
    theta = np.concatenate([a.ravel() for a in weights_of(net)])
    np.testing.assert_allclose(theta, expected["theta"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(net.loss_curve_, expected["loss_curve"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(net.validation_scores_, expected["scores"], rtol=0, atol=1e-9)
