"""Checkpoints: of which run they are, what they hold, and what happens if one cannot be written or is damaged."""

import json
import shutil
import warnings

import numpy as np
import pytest
from helpers import problem, weights_of
from safetensors import safe_open

import xbackprop
from xbackprop import MLP, ModelFileError
from xbackprop.data.digest import sum_of_row_hashes
from xbackprop.mlp import resuming, tensor_file
from xbackprop.training.checkpoints import FILE

X, LABELS = problem("classification", n=40)
HOW = {"hidden_layer_sizes": (5,), "max_iter": 3, "tol": 0.0, "random_state": 0, "batch_size": 8}


def quiet(function, *arguments, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return function(*arguments, **how)


def run(folder, X=X, y=LABELS, weight=None, **settings):
    return quiet(MLP(**{**HOW, "checkpoint": folder, **settings}).fit, X, y, weight)


def flipped(array, *place):
    changed = np.array(array)
    changed[place] = (changed[place] + 1) % 3 if changed.dtype.kind == "i" else np.nextafter(changed[place], np.inf)
    return changed


WEIGHT = np.linspace(0.5, 2.0, 40)
OTHER_DATA = {
    "one label": (X, flipped(LABELS, 17), WEIGHT),
    "the last digit of one number": (flipped(X, 20, 1), LABELS, WEIGHT),
    "one weight": (X, LABELS, flipped(WEIGHT, 3)),
    "no weights": (X, LABELS, None),
    "two rows exchanged": (X[[1, 0, *range(2, 40)]], LABELS[[1, 0, *range(2, 40)]], WEIGHT[[1, 0, *range(2, 40)]]),
}


@pytest.mark.parametrize("what", OTHER_DATA)
def test_other_samples_are_refused(backend, tmp_path, what):
    run(tmp_path, X, LABELS, WEIGHT, backend=backend)
    with pytest.raises(ValueError, match=r"of another run: its samples, weights or classes were others"):
        run(tmp_path, *OTHER_DATA[what], backend=backend, resume=True)


def test_the_same_samples_are_recognised_however_large_they_are(backend, tmp_path):
    """Sums of ±1e35 would differ by more than any tolerance if the order of summing did."""
    big = 1e35 * np.sign(X) * (1 + np.abs(X))
    how = {"task": "regression", "solver": "sgd", "learning_rate_init": 1e-250, "backend": backend}
    net = run(tmp_path, big, X[:, 0], **how)
    again = run(tmp_path, big, X[:, 0], **how, max_iter=5, resume=True)
    assert again.loss_curve_[:3] == net.loss_curve_


def test_class_weights_and_a_seed_are_part_of_the_run(tmp_path):
    run(tmp_path, class_weight={0: 2.0})
    with pytest.raises(ValueError, match="other settings: class_weight"):
        run(tmp_path, class_weight={0: 3.0}, resume=True)
    with pytest.raises(ValueError, match="other settings: random_state"):
        run(tmp_path, class_weight={0: 2.0}, random_state=1, resume=True)
    whole = quiet(MLP(**{**HOW, "max_iter": 6}, class_weight={0: 2.0}).fit, X, LABELS)
    resumed = run(tmp_path, class_weight={0: 2.0}, random_state=None, resume=True, max_iter=6)
    for ours, theirs in zip(weights_of(resumed), weights_of(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_sparse_table_has_the_digest_of_the_dense_one(backend):
    scipy_sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed: sparse tables need it")
    table = np.where(X > 0.5, X, 0.0)
    nets = [
        quiet(MLP(**{**HOW, "max_iter": 1}, warm_start=True, backend=backend).fit, form, LABELS)
        for form in (table, scipy_sparse.csr_array(table), scipy_sparse.csc_array(table))
    ]
    assert len({net.model_.progress.digest for net in nets}) == 1


def test_the_hashes_of_parts_add_up_to_that_of_the_whole():
    parts = [sum_of_row_hashes([X[i:j], LABELS[i:j]], i) for i, j in ((0, 7), (7, 30), (30, 40))]
    whole = sum_of_row_hashes([X, LABELS])
    assert sum(parts) % 2**128 == whole
    assert sum_of_row_hashes([X[::-1], LABELS[::-1]]) != whole
    assert sum_of_row_hashes([np.repeat(X, 300, axis=0)]) != sum_of_row_hashes([np.repeat(X, 300, axis=0)], 1)


def test_of_a_checkpoint_the_best_network_is_loaded(backend, tmp_path):
    scores = iter([0.1, 0.9, 0.3, 0.2])
    how = {"early_stopping": True, "scoring": lambda net, X, y: next(scores), "max_iter": 4, "learning_rate_init": 0.1}
    net = run(tmp_path, backend=backend, **how)  # keeps the weights of the second epoch
    loaded = MLP.load(tmp_path / FILE, backend=backend)
    for ours, theirs in zip(weights_of(loaded), weights_of(net), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def failing(monkeypatch, times):
    """Lets the writing of so many checkpoints fail."""
    write, left = resuming.model_file.write, iter(range(times))

    def fails(*arguments):
        if next(left, None) is not None:
            raise OSError(28, "No space left on device")
        return write(*arguments)

    monkeypatch.setattr(resuming.model_file, "write", fails)


def test_a_checkpoint_that_cannot_be_written_is_a_warning_and_training_goes_on(backend, monkeypatch, tmp_path):
    failing(monkeypatch, 2)
    whole = quiet(MLP(**HOW, backend=backend).fit, X, LABELS)
    with pytest.warns(
        RuntimeWarning, match=rf"^MLP\.fit: .*{FILE} could not be written, and training goes on: No space"
    ):
        net = run(tmp_path, backend=backend)
    for ours, theirs in zip(weights_of(net), weights_of(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(MLP.load(tmp_path / FILE).loss_curve_) == 3  # written when the next one was due


def test_a_checkpoint_that_is_required_ends_training_with_the_weights_kept(backend, monkeypatch, tmp_path):
    failing(monkeypatch, 1)
    with pytest.warns(RuntimeWarning) as caught:
        net = run(tmp_path, backend=backend, checkpoint_required=True)
    assert "and training ends: No space left" in str(caught[0].message)
    assert len(net.loss_curve_) == 1
    whole = quiet(MLP(**{**HOW, "max_iter": 1}, backend=backend).fit, X, LABELS)
    for ours, theirs in zip(weights_of(net), weights_of(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_folder_that_is_removed_meanwhile_is_made_again(tmp_path):
    folder = tmp_path / "run"
    net = MLP(**HOW, checkpoint=folder)
    quiet(net.fit, X, LABELS, callback=lambda epoch: shutil.rmtree(folder))
    assert len(MLP.load(folder / FILE).loss_curve_) == 3


def test_a_model_file_is_no_checkpoint(tmp_path):
    quiet(MLP(**HOW).fit, X, LABELS).save(tmp_path / FILE)
    with pytest.raises(ModelFileError, match=rf"^MLP\.fit: .*{FILE} is a model file and not the checkpoint of a run"):
        run(tmp_path, resume=True)


def put(name, value):
    return lambda tensors, progress: progress.__setitem__(name, value)


def spoil(name, array):
    return lambda tensors, progress: tensors.__setitem__(f"progress.{name}", array)


DAMAGE = {
    "a position that NumPy would not survive": put("position", 10**9),
    "a position below zero": put("position", -1),
    "an epoch below zero": put("epoch", -3),
    "an end that there is not": put("end", "tired"),
    "a step of text": put("t", "3"),
    "a number missing": lambda tensors, progress: progress.pop("count"),
    "another number": put("colour", 3),
    "a seed beyond 32 bits": put("seed", 2**40),
    "a digest that is a number": put("digest", 7),
    "words of the generator missing": spoil("rng", np.zeros(3, dtype=np.uint32)),
    "a generator of floats": spoil("rng", np.zeros(624)),
    "moments of another shape": spoil("moments.0", np.zeros(3)),
    "moments of another type": lambda tensors, progress: tensors.__setitem__(
        "progress.moments.0", tensors["progress.moments.0"].astype(np.float32)
    ),
    "moments missing": lambda tensors, progress: tensors.pop("progress.moments.1"),
    "a row twice": spoil("order", np.zeros(40, dtype=np.int64)),
    "rows that there are not": spoil("order", np.arange(40) + 1),
    "rows that are floats": spoil("order", np.arange(40.0)),
    "a table of losses": spoil("loss_curve", np.zeros((2, 2))),
    "no losses": lambda tensors, progress: tensors.pop("progress.loss_curve"),
    "floats missing": spoil("floats", np.zeros(2)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_an_error_in_words(tmp_path, what):
    run(tmp_path)
    with safe_open(tmp_path / FILE, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        configuration = json.loads(file.metadata()["configuration"])
    DAMAGE[what](tensors, configuration["progress"])
    tensor_file.write_tensors(tmp_path / FILE, tensors, configuration)
    with pytest.raises(ModelFileError, match=rf"^MLP\.fit: .*{FILE} has parts missing or wrong: "):
        run(tmp_path, resume=True, max_iter=5)
