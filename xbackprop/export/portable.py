"""`Portable`: all of a trained network that its predictions need, as NumPy arrays and functions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xbackprop.data.scaling import Scaling
from xbackprop.data.targets import Targets
from xbackprop.errors import ExportError
from xbackprop.nn.activations import ACTIVATIONS, Activation, logistic
from xbackprop.nn.losses import Loss, ascending, exponential, linear, softmax

#: The output functions that every format knows, by name.
OUTPUTS = {
    softmax: "softmax",
    logistic: "logistic",
    linear: "linear",
    ascending: "ascending",
    exponential: "exponential",
}


class Network(NamedTuple):
    """The layers of a network: (W_l, b_l) of shapes (n_in, n_out) and (n_out,), and f_l of each hidden layer.

    dropout : the rate of each hidden layer, or () for none.
    """

    layers: list[tuple[np.ndarray, np.ndarray]]
    activations: tuple[Activation, ...]
    dropout: tuple[float, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths of the layers, from the input to the output."""
        return (self.layers[0][0].shape[0], *(W.shape[1] for W, _ in self.layers))


class Portable(NamedTuple):
    """One network, or several whose outputs are averaged.

    where : the user's call, for errors. loss : whose output function the networks have.
    targets, inputs : the meaning of the outputs; how X is standardised, or None. feature_names : or None.
    dtype : "float32" or "float64".
    """

    where: str
    networks: list[Network]
    loss: Loss
    targets: Targets
    inputs: Scaling | None
    feature_names: list[str] | None
    dtype: str

    @property
    def output(self) -> str:
        """The name of the output function; ExportError for one of the user's own."""
        if self.loss.output not in OUTPUTS:
            raise ExportError(
                f"{self.where}: the output of the loss {self.loss.name!r} is a function of your own, which this format "
                f"cannot hold; export with the loss {', '.join(OUTPUTS.values())} outputs, or with to_onnx"
            )
        return OUTPUTS[self.loss.output]

    def last_in_units(self, network: Network) -> tuple[np.ndarray, np.ndarray]:
        """Return the last layer of a network, with the scale of the target undone in it: y = μ + σ (h W + b)."""
        W, b = network.layers[-1]
        if self.targets.scaling is None:
            return W, b
        mean, deviation = self.targets.scaling
        return (W * deviation).astype(W.dtype), (b * deviation + mean).astype(b.dtype)

    def only(self, what: str) -> Network:
        """Return the one network; ExportError where there are several."""
        if len(self.networks) > 1:
            raise ExportError(
                f"{self.where}: {what} holds one network, got an ensemble of {len(self.networks)}; export each of its "
                f"networks_, or all by to_onnx or to_python"
            )
        return self.networks[0]


def name_of(where: str, activation: Activation, what: str) -> str:
    """Return the name of an activation of `ACTIVATIONS`; ExportError for one of the user's own."""
    if ACTIVATIONS.get(activation.name) is not activation:
        raise ExportError(
            f"{where}: the activation {activation.name!r} is a function of your own, which {what} cannot hold; to_onnx "
            f"can, if it is made of functions of the array API"
        )
    return activation.name
