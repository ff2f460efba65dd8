"""Networks as scikit-learn's own estimators, so that what is trained here predicts where only scikit-learn is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xbackprop.errors import ExportError
from xbackprop.export.portable import Network, Portable, name_of
from xbackprop.validation import needed

ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
SOLVERS = ("lbfgs", "sgd", "adam")
#: The parameters that mean the same in both libraries.
SHARED = (
    "alpha", "batch_size", "learning_rate", "learning_rate_init", "power_t", "max_iter", "shuffle", "tol", "momentum",
    "nesterovs_momentum", "early_stopping", "validation_fraction", "beta_1", "beta_2", "epsilon", "n_iter_no_change",
    "max_fun", "solver", "verbose", "warm_start",
)  # fmt: skip


def to_sklearn(net: Portable, settings: Mapping[str, Any], losses: Sequence[float]) -> Any:
    """Return scikit-learn's `MLPClassifier` or `MLPRegressor`, fitted; standardised inputs make it a `Pipeline`.

    settings : the parameters of the network, of which the shared ones are kept. losses : the loss of each epoch.
    """
    neural = needed(net.where, "sklearn.neural_network", "scikit-learn")
    network = net.only("scikit-learn's estimator")
    activation = _activation(net, [name_of(net.where, f, "scikit-learn") for f in network.activations])
    layers, out = _output(net, network)
    classifier = net.targets.kind != "numbers"
    kept = {name: settings[name] for name in SHARED if name in settings}
    kind = neural.MLPClassifier if classifier else neural.MLPRegressor
    if kept.get("solver") not in SOLVERS:
        kept.pop("solver", None)
    if net.output == "exponential":
        kept["loss"] = "poisson"
    estimator = kind(hidden_layer_sizes=network.sizes[1:-1], activation=activation, **kept)
    estimator.coefs_, estimator.intercepts_ = [W for W, _ in layers], [b for _, b in layers]
    estimator.n_layers_, estimator.n_outputs_ = len(layers) + 1, layers[-1][0].shape[1]
    estimator.out_activation_, estimator.n_features_in_ = out, network.sizes[0]
    estimator.n_iter_, estimator.loss_curve_ = len(losses), list(losses)
    estimator.loss_ = estimator.best_loss_ = min(losses, default=np.inf)
    estimator.t_ = 0
    if classifier:
        binarizer = needed(net.where, "sklearn.preprocessing", "scikit-learn").LabelBinarizer()
        k = net.targets.n_outputs
        columns = net.targets.kind == "multilabel"  # rows that have each label, and no label
        binarizer.fit(np.eye(k + 1, k, dtype=int) if columns else net.targets.classes)
        estimator._label_binarizer, estimator.classes_ = binarizer, binarizer.classes_
    if net.inputs is None:
        return _named(estimator, net)
    return _scaled(net, estimator)


def _activation(net: Portable, names: Sequence[str]) -> str:
    """Return the activation of all hidden layers; ExportError where scikit-learn has none such."""
    if len(set(names)) > 1 or not set(names) <= set(ACTIVATIONS):
        raise ExportError(
            f"{net.where}: scikit-learn's networks have one activation out of {', '.join(ACTIVATIONS)} in all hidden "
            f"layers, got {', '.join(names)}; to_onnx and to_python hold any"
        )
    return names[0] if names else "identity"


def _output(net: Portable, network: Network) -> tuple[list[Any], str]:
    """Return the layers with the output that scikit-learn has, and its name.

    Two classes have one output there, σ(z) with z = z_2 - z_1; the scale of a target is undone by the last layer.
    """
    layers, targets = network.layers, net.targets
    *before, (W, b) = layers
    match net.output:
        case "softmax" if targets.n_outputs == 2:
            return [*before, (W[:, 1:] - W[:, :1], b[1:] - b[:1])], "logistic"
        case "softmax":
            return layers, "softmax"
        case "logistic" if targets.kind != "numbers":
            return layers, "logistic"
        case "linear" if targets.kind == "numbers":
            return [*before, net.last_in_units(network)], "identity"
        case "exponential" if targets.scaling is None:
            return layers, "exp"
        case _:
            raise ExportError(
                f"{net.where}: scikit-learn's networks have no output {net.output!r} for {targets.kind}, as the loss "
                f"{net.loss.name!r} has; to_onnx and to_python hold it"
            )


def _named(estimator: Any, net: Portable) -> Any:
    if net.feature_names is not None:
        estimator.feature_names_in_ = np.array(net.feature_names, dtype=object)
    return estimator


def _scaled(net: Portable, estimator: Any) -> Any:
    """Return a pipeline of scikit-learn's scaler, with the network's μ and σ, and the network."""
    pipeline = needed(net.where, "sklearn.pipeline", "scikit-learn").make_pipeline
    scaler = needed(net.where, "sklearn.preprocessing", "scikit-learn").StandardScaler()
    assert net.inputs is not None
    scaler.mean_, scaler.scale_ = net.inputs.mean.copy(), net.inputs.deviation.copy()
    scaler.var_, scaler.n_features_in_, scaler.n_samples_seen_ = scaler.scale_**2, len(scaler.mean_), 1
    return pipeline(_named(scaler, net), estimator)
