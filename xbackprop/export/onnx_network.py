"""Write networks as ONNX: Gemm, the activation's operator, and the output as `predict` and `predict_proba` give it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from xbackprop.data.targets import Targets
from xbackprop.errors import ExportError
from xbackprop.export.onnx_graph import Graph
from xbackprop.export.onnx_namespace import traced
from xbackprop.export.portable import Network, Portable
from xbackprop.files import write_atomically
from xbackprop.nn.activations import (
    LEAKY_SLOPE,
    SELU_ALPHA,
    SELU_SCALE,
    elu,
    gelu,
    identity,
    leaky_relu,
    logistic,
    mish,
    relu,
    selu,
    silu,
    softplus,
    tanh,
)
from xbackprop.nn.losses import Loss, linear, softmax

Outputs = dict[str, tuple[str, str, list[Any]]]  # of a graph: the value, its dtype and its shape


def _operator(name: str, **attributes: Any) -> Callable[[Graph, str], str]:
    return lambda graph, z: str(graph.node(name, z, **attributes))


#: Functions that have operators of their own; those of the first row onnxruntime has in float64 too.
IN_ANY_DTYPE: dict[Callable, Callable[[Graph, str], str]] = {
    identity: lambda _, z: z,
    linear: lambda _, z: z,
    relu: _operator("Relu"),
    tanh: _operator("Tanh"),
    logistic: _operator("Sigmoid"),
    silu: lambda graph, z: str(graph.node("Mul", z, graph.node("Sigmoid", z))),
    softmax: _operator("Softmax", axis=-1),
}
IN_FLOAT32: dict[Callable, Callable[[Graph, str], str]] = {
    leaky_relu: _operator("LeakyRelu", alpha=LEAKY_SLOPE),
    softplus: _operator("Softplus"),
    elu: _operator("Elu"),
    gelu: _operator("Gelu"),
    selu: _operator("Selu", alpha=SELU_ALPHA, gamma=SELU_SCALE),
    mish: _operator("Mish"),
}


def apply(graph: Graph, what: str, function: Callable[..., Any], z: str) -> str:
    """Write f(z): by the operator of its own, or else by those that f is made of."""
    own = IN_ANY_DTYPE if graph.dtype == "float64" else IN_ANY_DTYPE | IN_FLOAT32
    return own[function](graph, z) if function in own else traced(graph, what, function, z)


def logits(graph: Graph, network: Network, h: str) -> str:
    """Write z_L: z_l = h_{l-1} W_l + b_l, h_l = f_l(z_l)."""
    activations = [*network.activations, None]
    for (W, b), activation in zip(network.layers, activations, strict=True):
        h = graph.node("Gemm", h, graph.constant(W), graph.constant(b))
        if activation is not None:
            h = apply(graph, f"the activation {activation.name!r}", activation.f, h)
    return h


def output(graph: Graph, loss: Loss, z: str) -> str:
    """Write h_L, the loss's output."""
    return apply(graph, f"the output of the loss {loss.name!r}", loss.output, z)


def mean(graph: Graph, values: list[str]) -> str:
    """Write the mean of some values."""
    total = values[0]
    for value in values[1:]:
        total = graph.node("Add", total, value)
    return total if len(values) == 1 else str(graph.node("Div", total, graph.constant(float(len(values)))))


def probabilities(graph: Graph, loss: Loss, kind: str, n_classes: int, z: str) -> str:
    """Write probabilities as `Targets.probabilities` gives them."""
    if kind != "binary":
        return output(graph, loss, z)
    if n_classes == 1:
        return str(graph.node("Expand", graph.constant([[1.0]]), graph.node("Shape", z)))
    return str(graph.node("Concat", output(graph, loss, graph.node("Neg", z)), output(graph, loss, z), axis=-1))


def labels(graph: Graph, classes: np.ndarray, place: str) -> tuple[str, str]:
    """Write the labels of numbers of classes; return them and their dtype."""
    dtype = {"b": "bool", "i": "int64", "u": "int64", "f": "float64"}.get(classes.dtype.kind, "str")
    return graph.node("Gather", graph.constant(classes, dtype), place), dtype


def _classes(graph: Graph, net: Portable, z: list[str]) -> Outputs:
    """Write label and probabilities of a classification."""
    targets = net.targets
    known = targets.classes
    assert known is not None
    n_classes = len(known)
    p = mean(graph, [probabilities(graph, net.loss, targets.kind, n_classes, one) for one in z])
    result: Outputs = {"label": ("", "int64", ["n"]), "probabilities": (p, graph.dtype, ["n", n_classes])}
    if targets.kind == "multilabel":
        decided = graph.node("Greater", *((z[0], graph.constant(0.0)) if len(z) == 1 else (p, graph.constant(0.5))))
        return {**result, "label": (graph.cast(decided, "int64"), "int64", ["n", n_classes])}
    if len(z) == 1 and targets.kind == "binary" and n_classes == 2:
        yes = graph.cast(graph.node("Greater", z[0], graph.constant(0.0)), "int64")
        place = graph.node("Squeeze", yes, graph.constant([1], "int64"))
    else:
        by = z[0] if len(z) == 1 and targets.kind == "classes" else p
        place = graph.node("ArgMax", by, axis=-1, keepdims=0)
    label, dtype = labels(graph, known, place)
    return {**result, "label": (label, dtype, ["n"])}


def in_units(graph: Graph, targets: Targets, values: str) -> str:
    """Write μ + σ h, the values of a regression in the units of y."""
    if targets.scaling is None:
        return values
    centre, deviation = (graph.constant(a) for a in targets.scaling)
    return str(graph.node("Add", centre, graph.node("Mul", deviation, values)))


def _values(graph: Graph, net: Portable, z: list[str]) -> Outputs:
    """Write the values of a regression."""
    values = in_units(graph, net.targets, mean(graph, [output(graph, net.loss, one) for one in z]))
    shape: list[Any] = ["n", net.targets.n_outputs]
    if net.targets.vector:
        values, shape = graph.node("Squeeze", values, graph.constant([1], "int64")), ["n"]
    return {"values": (values, graph.dtype, shape)}


def model_of(net: Portable) -> Any:
    """Return the ONNX model of a network, or of several whose outputs are averaged.

    The input X is (n, n_features) in the network's dtype; where X is standardised, in float64, as `predict` does it.
    """
    graph = Graph(net.where, net.dtype)
    h, given = "X", net.dtype if net.inputs is None else "float64"
    if net.inputs is not None:
        apart = graph.node("Sub", h, graph.constant(net.inputs.mean, "float64"))
        h = graph.node("Div", apart, graph.constant(net.inputs.deviation, "float64"))
        h = h if net.dtype == "float64" else graph.cast(h, net.dtype)
    z = [logits(graph, network, h) for network in net.networks]
    outputs = _values(graph, net, z) if net.targets.kind == "numbers" else _classes(graph, net, z)
    about = {"feature_names": net.feature_names} if net.feature_names else {}
    return graph.model({"X": (given, ["n", net.networks[0].sizes[0]])}, outputs, about)


def run(model: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a model, by onnxruntime where it is installed and else by onnx's own reference."""
    names = [value.name for value in model.graph.output]
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        return dict(zip(names, ReferenceEvaluator(model).run(None, dict(inputs)), strict=True))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(None, dict(inputs)), strict=True))


def finish(
    where: str, model: Any, path: str | PathLike[str] | None, dtype: str, depth: int,
    example: Mapping[str, np.ndarray] | None, expected: Mapping[str, np.ndarray],
) -> Any:  # fmt: skip
    """Hold the model to what the network gives for an example, write it where a path is given, and return it.

    The bound is that of rounding: 10 eps for each layer, relative to 1 + |value|.
    """
    if example is not None:
        found = run(model, example)
        for name, want in expected.items():
            apart = np.abs(found[name].astype(np.float64) - want) / (1.0 + np.abs(want))
            if not (apart.max(initial=0.0) <= 10 * (depth + 1) * np.finfo(dtype).eps):
                raise ExportError(
                    f"{where}: the exported model gives other {name} for the example: {apart.max():.2g} apart, "
                    f"relative to 1 + |value|; nothing was written"
                )
    if path is not None:
        write_atomically(Path(path), model.SerializeToString())
    return model
