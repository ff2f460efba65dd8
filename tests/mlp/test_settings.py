"""The table of settings: signatures, docstrings, files, resuming and docs/settings.md are held to it."""

import inspect
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from helpers import problem

import xbackprop
from xbackprop import MLP
from xbackprop.mlp import resuming
from xbackprop.mlp.setting_table import SETTINGS, defaults_of
from xbackprop.mlp.settings import read_settings

ROOT = Path(__file__).parents[2]
X, LABELS = problem("classification")


def owner(name):
    if name != "MLP":
        pytest.importorskip("sklearn", reason="the estimators need scikit-learn")
    return getattr(xbackprop, name)


CLASSES = pytest.mark.parametrize("name", ["MLP", "MLPClassifier", "MLPRegressor"])


@CLASSES
def test_signatures_are_the_table_s(name):
    signature = inspect.signature(owner(name).__init__).parameters
    assert {n: p.default for n, p in signature.items() if n != "self"} == defaults_of(name)


@CLASSES
def test_docstrings_describe_every_parameter(name):
    text = " ".join(owner(name).__doc__.split())
    for setting in SETTINGS:
        if name in setting.classes:
            assert f"{setting.name} : default {setting.default_of(name)!r} {setting.meaning_in(name)}" in text
    assert "{parameters}" not in text


def test_defaults_pass_their_own_checks():
    for name in ("MLP", "MLPClassifier"):
        settings = read_settings("here", {**defaults_of(), **defaults_of(name)})
        assert set(settings.values) == set(defaults_of("MLP"))


def test_files_hold_the_settings_that_belong_there():
    stored = read_settings("here", defaults_of()).to_json()
    assert set(stored) == {s.name for s in SETTINGS if s.in_files}
    assert not {"backend", "device", "threads", "checkpoint", "resume"} & set(stored)


#: For every setting that a checkpoint holds, another value.
OTHERS = {
    "hidden_layer_sizes": (4,), "activation": "tanh", "task": "regression", "loss": "cross_entropy", "quantile": 0.4,
    "label_smoothing": 0.1, "class_weight": "balanced", "soft_targets": True,
    "scale_inputs": True, "scale_target": True,
    "solver": "sgd", "alpha": 0.5, "l1_ratio": 0.5,
    "weight_decay": 0.1, "dropout": 0.1, "clip_norm": 1.0, "ema_decay": 0.9, "n_networks": 2,
    "checkpoint_activations": 1, "batch_size": 3,
    "learning_rate": "cosine", "learning_rate_init": 0.1, "power_t": 0.4, "step_epochs": 3, "step_factor": 0.5,
    "warmup": 1.0, "max_iter": 4, "max_fun": 3, "momentum": 0.5, "nesterovs_momentum": False, "beta_1": 0.8,
    "beta_2": 0.9, "rho": 0.8, "epsilon": 1e-7, "init": "he_normal", "shuffle": False, "tol": 0.1,
    "n_iter_no_change": 3, "early_stopping": True, "validation_fraction": 0.3, "scoring": "loss", "warm_start": True,
    "checkpoint_epochs": 2, "checkpoint_minutes": 3.0, "dtype": "float32", "random_state": 5, "verbose": True,
}  # fmt: skip


def test_there_is_another_value_of_every_setting_in_a_file():
    assert set(OTHERS) == {s.name for s in SETTINGS if s.in_files}


@pytest.mark.filterwarnings("ignore::xbackprop.ConvergenceWarning")
@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.in_files], ids=lambda s: s.name)
def test_a_run_resumes_with_another_value_where_the_table_says_so(setting, tmp_path):
    MLP((3,), max_iter=2, random_state=0, checkpoint=tmp_path).fit(X, LABELS)
    how = {"hidden_layer_sizes": (3,), "max_iter": 3, "random_state": 0, setting.name: OTHERS[setting.name]}
    y = LABELS
    if setting.name in ("task", "scale_target"):
        how["task"], y = "regression", np.asarray(LABELS, dtype=float)
    if setting.name == "soft_targets":
        y = np.eye(max(LABELS) + 1)[LABELS]
    net = MLP(**how, checkpoint=tmp_path, resume=True)
    if setting.changes_on_resume:
        assert len(net.fit(X, y).networks_[0].loss_curve_) == how["max_iter"]
        assert setting.name not in resuming.FIXED
    else:
        with pytest.raises(ValueError, match="is of another run"):
            net.fit(X, y)


def fit_of(name):
    if name == "MLP":
        return MLP((3,), max_iter=2), "xbackprop.mlp.mlp.read_settings"
    return owner(name)((3,), max_iter=2), "xbackprop.estimators.base.read_settings"


@pytest.mark.filterwarnings("ignore::xbackprop.ConvergenceWarning", "ignore:Stochastic Optimizer")
@pytest.mark.parametrize("name", ["MLP", "MLPClassifier"])
def test_a_fit_reads_its_settings_once(name):
    net, place = fit_of(name)
    with patch(place, wraps=read_settings) as read:
        net.fit(X, LABELS)
    assert read.call_count == 1


@pytest.mark.filterwarnings("ignore::xbackprop.ConvergenceWarning")
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_fit_looks_through_each_array_once(task):
    X, y = problem(task)
    with patch("xbackprop.data.tables._not_finite", return_value=None) as look:
        MLP((3,), task=task, max_iter=1).fit(X, y, sample_weight=np.ones(len(X)))
    shapes = [call.args[0].shape for call in look.call_args_list]
    assert shapes == [X.shape, *([y.shape] if task == "regression" else []), (len(X),)]


def test_the_page_is_the_table():
    script = ROOT / "docs" / "settings.py"
    found = subprocess.run([sys.executable, script, "--print"], capture_output=True, text=True, check=True)
    assert found.stdout == (ROOT / "docs" / "settings.md").read_text()
