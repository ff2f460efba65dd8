"""Networks as torch modules, both ways: `nn.Sequential` of Linear, activations and Dropout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xbackprop.errors import ExportError
from xbackprop.export.portable import Network, Portable, name_of
from xbackprop.nn.activations import ACTIVATIONS, LEAKY_SLOPE
from xbackprop.validation import needed

#: The class in torch.nn of each activation, and its parameters; softplus is linear beyond `threshold`, where it is so
#: to rounding.
MODULES: dict[str, tuple[str, dict[str, float]]] = {
    "identity": ("Identity", {}),
    "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": LEAKY_SLOPE}),
    "tanh": ("Tanh", {}),
    "logistic": ("Sigmoid", {}),
    "softplus": ("Softplus", {"threshold": 40.0}),
    "elu": ("ELU", {}),
    "gelu": ("GELU", {}),
    "silu": ("SiLU", {}),
    "selu": ("SELU", {}),
    "mish": ("Mish", {}),
}
#: Parameters that a module must have to be the activation; those not named here are free.
EXACT: dict[str, dict[str, Any]] = {
    "leaky_relu": {"negative_slope": LEAKY_SLOPE},
    "softplus": {"beta": 1.0},
    "elu": {"alpha": 1.0},
    "gelu": {"approximate": "none"},
}
#: What the output function of a loss is in torch.nn, and which modules at the end of a module are one.
OUTPUT_MODULES = {"softmax": ("Softmax", {"dim": -1}), "logistic": ("Sigmoid", {})}


def to_torch(net: Portable, output: bool) -> Any:
    """Return the network as `torch.nn.Sequential`, in evaluation mode.

    Standardised inputs begin with a `BatchNorm1d` of fixed μ and σ², right in evaluation mode alone; a standardised
    target is undone by the last layer. output : whether the loss's output ends it, or the logits do.
    """
    torch = needed(net.where, "torch")
    network, nn = net.only("a torch module"), torch.nn
    modules, dtype = [], getattr(torch, net.dtype)
    if net.inputs is not None:
        norm = nn.BatchNorm1d(network.sizes[0], eps=0.0, affine=False, momentum=0.0)
        norm.running_mean = torch.tensor(net.inputs.mean, dtype=dtype)
        norm.running_var = torch.tensor(net.inputs.deviation**2, dtype=dtype)
        modules.append(norm)
    rates = (*(network.dropout or (0.0,) * len(network.activations)), 0.0)
    activations = [*(name_of(net.where, f, "a torch module") for f in network.activations), "identity"]
    layers = [*network.layers[:-1], net.last_in_units(network)] if output else network.layers
    for (W, b), name, rate in zip(layers, activations, rates, strict=True):
        linear = nn.Linear(*W.shape, dtype=dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(np.ascontiguousarray(W.T)))
            linear.bias.copy_(torch.tensor(b))
        modules.append(linear)
        if name != "identity":
            kind, parameters = MODULES[name]
            modules.append(getattr(nn, kind)(**parameters))
        if rate:
            modules.append(nn.Dropout(rate))
    if output and net.output != "linear":
        if net.output not in OUTPUT_MODULES:
            raise ExportError(
                f"{net.where}: torch has no module for the output {net.output!r} of the loss {net.loss.name!r}; with "
                f"output=False the module ends with the logits"
            )
        kind, options = OUTPUT_MODULES[net.output]
        modules.append(getattr(nn, kind)(**options))
    return nn.Sequential(*modules).eval()


@dataclass
class _Layer:
    """A layer as it is read: W, b, and the activation and the dropout that follow it."""

    W: np.ndarray
    b: np.ndarray
    activation: str = ""
    rate: float = 0.0


def from_torch(where: str, module: Any) -> tuple[Network, str, str]:
    """Read a torch module: the network, its output function ("linear" for logits), and its dtype.

    Raises
    ------
    ExportError : for a module that is no multi-layer perceptron; it names the layer.
    """
    nn = needed(where, "torch").nn
    parts, output = list(_flat(nn, module, "module")), "linear"
    if parts and type(parts[-1][1]) in (nn.Softmax, nn.Sigmoid):
        output = "softmax" if type(parts.pop()[1]) is nn.Softmax else "logistic"
    by_class = {getattr(nn, kind): name for name, (kind, _) in MODULES.items() if name != "identity"}
    layers: list[_Layer] = []
    for place, one in parts:
        kind = type(one)
        if kind is nn.Linear:
            layers.append(_read(where, place, one, layers))
        elif (kind is nn.Dropout and one.p == 0.0) or kind is nn.Identity:
            continue
        elif kind is nn.Dropout and layers:
            before = layers[-1].rate
            layers[-1].rate = 1.0 - (1.0 - before) * (1.0 - one.p) if before else one.p
        elif kind in by_class and layers and not layers[-1].activation and not layers[-1].rate:
            layers[-1].activation = _checked(where, place, one, by_class[kind])
        else:
            raise ExportError(
                f"{where}: {place} is {kind.__name__}, which no multi-layer perceptron has there; expected Linear, one "
                f"activation ({', '.join(kind for kind, _ in MODULES.values())}) after each, and Dropout after that"
            )
    if not layers:
        raise ExportError(f"{where}: the module has no Linear layer")
    *hidden, last = layers
    if last.activation or last.rate:
        what = f"the activation {last.activation!r}" if last.activation else "Dropout"
        raise ExportError(f"{where}: the module ends with {what}; expected logits, Softmax or Sigmoid")
    dtype = str(last.W.dtype)
    if dtype not in ("float32", "float64"):
        raise ExportError(f"{where}: the module must be float32 or float64, got {dtype}")
    rates = tuple(layer.rate for layer in hidden)
    activations = tuple(ACTIVATIONS[layer.activation or "identity"] for layer in hidden)
    return Network([(layer.W, layer.b) for layer in layers], activations, rates if any(rates) else ()), output, dtype


def _read(where: str, place: str, linear: Any, below: list[_Layer]) -> _Layer:
    """Return a Linear layer as ours; ExportError where the layer below gives another number of outputs."""
    W = np.ascontiguousarray(linear.weight.detach().cpu().numpy().T)
    if below and below[-1].W.shape[1] != W.shape[0]:
        raise ExportError(
            f"{where}: {place} takes {W.shape[0]} inputs, and the layer before it gives {below[-1].W.shape[1]}"
        )
    b = np.zeros(W.shape[1], W.dtype) if linear.bias is None else linear.bias.detach().cpu().numpy().copy()
    return _Layer(W, b)


def _flat(nn: Any, module: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the layers of nested sequences, each with its place."""
    if not isinstance(module, nn.Sequential):
        yield place, module
        return
    for i, one in enumerate(module):
        yield from _flat(nn, one, f"{place}[{i}]")


def _checked(where: str, place: str, module: Any, name: str) -> str:
    """Return the name of an activation; ExportError for parameters that make another function of it."""
    for parameter, expected in EXACT.get(name, {}).items():
        if (given := getattr(module, parameter)) != expected:
            raise ExportError(f"{where}: {place} has {parameter}={given}, xbackprop's {name} has {expected}")
    return name
