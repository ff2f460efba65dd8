"""The methods of networks that hand them to other libraries: ONNX, torch, scikit-learn, plain NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np

from xbackprop.arrays.discovery import on_host
from xbackprop.export.portable import Network, Portable
from xbackprop.mlp import prediction
from xbackprop.mlp.model import Model


class Exports:
    """What a fitted network, or an ensemble, can be exported to. Nothing of training goes along but dropout."""

    def models_(self, where: str) -> list[Model]:
        """Return the networks as `Model`s."""
        raise NotImplementedError

    def to_onnx(self, path: str | PathLike[str] | None = None, *, dtype: str | None = None, example: Any = None) -> Any:
        """Return the network as an ONNX model, and write it to `path`.

        The input X is (n, n_features), in float64 where the network standardises it and in `dtype` otherwise. The
        outputs are `label` and `probabilities`, arrays and no maps, of a classification, and `values` of a regression,
        as `predict` and `predict_proba` give them, for an ensemble too. Activations of the user's own are exported as
        the operators that they are made of.

        Parameters
        ----------
        dtype : "float32" or "float64"; by default that of the network.
        example : rows of X (n, n_features), on which the exported model is run, by onnxruntime where it is installed,
            and held to the network's own predictions.

        Raises
        ------
        ExportError : for a function that has no operators, or where the model gives other predictions.
        ImportError : without the package onnx.
        """
        from xbackprop.export import onnx_network

        where = f"{type(self).__name__}.to_onnx"
        models = self.models_(where)
        net = portable(where, models, dtype)
        model = onnx_network.model_of(net)
        given, expected = None, {}
        if example is not None:
            X = np.asarray(on_host(example), dtype=net.dtype if net.inputs is None else "float64")
            given = {"X": X}
            numbers = net.targets.kind == "numbers"
            function = prediction.predict if numbers else prediction.predict_proba
            expected = {"values" if numbers else "probabilities": np.asarray(function(where, models, X))}
        coarser = "float32" if "float32" in (net.dtype, models[0].dtype) else "float64"
        return onnx_network.finish(where, model, path, coarser, len(net.networks[0].layers), given, expected)

    def to_torch(self, *, output: bool = True) -> Any:
        """Return the network as `torch.nn.Sequential` of Linear, activations and Dropout, in evaluation mode.

        output : whether it ends with the output of the loss, probabilities for example, or with the logits.
        """
        from xbackprop.export.torch_modules import to_torch

        where = f"{type(self).__name__}.to_torch"
        return to_torch(portable(where, self.models_(where)), output)

    def to_sklearn(self) -> Any:
        """Return scikit-learn's own `MLPClassifier` or `MLPRegressor`, fitted; after `scale_inputs` a `Pipeline`.

        Raises
        ------
        ExportError : for activations and outputs that scikit-learn's networks lack, and for ensembles.
        """
        from xbackprop.export.scikit_learn import to_sklearn

        where = f"{type(self).__name__}.to_sklearn"
        models = self.models_(where)
        return to_sklearn(portable(where, models), models[0].settings, models[0].progress.loss_curve.tolist())

    def to_python(self, path: str | PathLike[str] | None = None, *, embed: bool = False) -> str:
        """Return the network as the source of a Python module that needs NumPy alone, and write it to `path`.

        The module has `predict(X)`, and of a classification `predict_proba(X)`. Its weights are in an .npz file beside
        it, or, with `embed`, in the source.
        """
        from xbackprop.export.python_source import to_python

        where = f"{type(self).__name__}.to_python"
        return to_python(portable(where, self.models_(where)), path, embed)


def portable(where: str, models: Sequence[Model], dtype: str | None = None) -> Portable:
    """Return networks as what exports take, on the host, in a dtype."""
    model = models[0]
    dtype = dtype or model.dtype
    if dtype not in ("float32", "float64"):
        raise ValueError(f"{where}: dtype must be 'float32' or 'float64', got {dtype!r}")
    networks = [_network(one, dtype) for one in models]
    return Portable(where, networks, model.objective.loss, model.targets, model.inputs, model.feature_names, dtype)


def _network(model: Model, dtype: str) -> Network:
    layout, theta = model.objective.layout, model.backend.to_host(model.theta).astype(dtype)
    layers = [(np.array(W), np.array(b[0, :])) for W, b in layout.layers(np, theta)]
    rate = model.settings.get("dropout", 0.0)
    rates = tuple(rate) if isinstance(rate, Sequence) else (float(rate),) * (len(layers) - 1)
    return Network(layers, tuple(model.objective.hidden), rates if any(rates) else ())


def from_network(
    kind: Callable[..., Any], where: str, network: Network, output: str, dtype: str, task: str, loss: str, classes: Any
) -> Any:
    """Return an `MLP` with the layers and the weights of a network that ends with an output function."""
    if task == "auto":
        task = "classification" if classes is not None or output in ("softmax", "logistic") else "regression"
    if loss == "auto" and output == "logistic":
        loss = "binary_cross_entropy"
    n_in, *hidden, n_out = network.sizes
    decisions = loss == "binary_cross_entropy"
    if task == "regression":
        y: Any = np.zeros((2, n_out))
    elif decisions and n_out > 1:
        y = np.array([[0] * n_out, [1] * n_out])
    else:
        y = np.arange(max(n_out, 2)) if classes is None else np.asarray(classes)
        if len(y) != max(n_out, 2) or (np.unique(y) != y).any():
            raise ValueError(
                f"{where}: classes must be {max(n_out, 2)} different labels in ascending order, got {classes}"
            )
        decisions = n_out == 1
    net = kind(
        tuple(hidden), [f.name for f in network.activations] if hidden else "relu", task=task, dtype=dtype,
        loss="binary_cross_entropy" if decisions else loss, dropout=network.dropout or 0.0,
    )  # fmt: skip
    net.initialize(np.zeros((len(y), n_in)), y[:, 0] if task == "regression" and n_out == 1 else y)
    net.coefs_, net.intercepts_ = [W for W, _ in network.layers], [b for _, b in network.layers]
    return net
