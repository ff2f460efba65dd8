"""Helpers for tests of model files: trained networks, and files that are read and written by safetensors alone."""

import json
import warnings

import numpy as np
from helpers import problem, weights_of
from safetensors import safe_open

import xbackprop
from xbackprop import MLP
from xbackprop.mlp import tensor_file


def fitted(task="classification", y=None, **settings):
    X, given_y = problem(task)
    net = MLP(**{"hidden_layer_sizes": (6, 5), "task": task, "max_iter": 3, "random_state": 0, **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return net.fit(X, given_y if y is None else y)


def contents(path):
    """Tensors and metadata, read by safetensors alone."""
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118, it is no mapping


def rewritten(path, change):
    """The file again, after change(tensors, configuration) has had its way."""
    tensors, metadata = contents(path)
    configuration = json.loads(metadata["configuration"])
    change(tensors, configuration)
    tensor_file.write_tensors(path, tensors, configuration)


def assert_same_network(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
