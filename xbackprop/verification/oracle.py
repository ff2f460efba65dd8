"""torch.autograd as an oracle: C(θ) written a second time, in torch's own functions, and differentiated by torch.

It shares no formula with `activations`, `losses` or `network`. torch is imported when a function is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from xbackprop.activations import ACTIVATIONS, Activation
from xbackprop.backend import Array
from xbackprop.errors import BackendError


def torch_gradient(
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    activations: Sequence[str | Activation],
    loss: str,
    X: np.ndarray,
    y: np.ndarray,
    share: np.ndarray | float,
    alpha_over_n: float = 0.0,
) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
    """C and (∂C/∂W_l, ∂C/∂b_l) by torch.autograd on the CPU, in the dtype of what comes in.

    C = Σ_x share_x loss(z_L, y)_x + α/(2n) Σ‖W_l‖².

    Parameters
    ----------
    layers : (W_l, b_l), W_l (n_in, n_out) and b_l (n_out,) or (1, n_out).
    activations : one per hidden layer; the f of a user's own one runs on tensors, and its df is not used.
    loss : "cross_entropy" or "mean_squared_error".
    X, y : (n, n_0) and (n, n_L), y one-hot for classes.
    share : each sample's part of the mean, 1/n or (n, 1).
    alpha_over_n : α/n.

    Returns
    -------
    C, and the gradients in the shapes of `layers`.

    Raises
    ------
    BackendError : if torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise BackendError(
            "the oracle needs PyTorch, which is not installed: pip install 'xbackprop[torch]'"
        ) from error
    functional = torch.nn.functional

    with torch.enable_grad(), one_thread():
        parameters = [[torch.tensor(p, requires_grad=True) for p in layer] for layer in layers]
        h = z = torch.tensor(X)
        for l, (W, b) in enumerate(parameters):
            z = functional.linear(h, W.T, torch.reshape(b, (-1,)))
            h = _torch_activation(activations[l])(z) if l < len(activations) else z
        target = torch.tensor(y)
        if loss == "cross_entropy":
            costs = functional.cross_entropy(z, target, reduction="none")
        else:
            costs = torch.sum(functional.mse_loss(z, target, reduction="none"), dim=1)
        penalty = sum(torch.sum(torch.square(W)) for W, _ in parameters)
        cost = torch.sum(torch.as_tensor(share).reshape(-1) * costs) + 0.5 * alpha_over_n * penalty
        gradients = torch.autograd.grad(cost, [p for layer in parameters for p in layer])
    arrays = [g.numpy() for g in gradients]
    return cost.item(), list(zip(arrays[::2], arrays[1::2], strict=True))


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    """‖a - b‖ / ‖b‖; 0/0 is 0, anything else over 0 infinite."""
    difference, norm = np.linalg.norm(np.subtract(a, b)), np.linalg.norm(b)
    if norm == 0:
        return 0.0 if difference == 0 else np.inf
    return float(difference / norm)


@contextmanager
def one_thread() -> Iterator[None]:
    """torch, if it is loaded, on one thread: where cores are shared, its threads wait for each other, spinning.

    On two busy cores that made networks of a few neurons twenty times slower.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _torch_activation(activation: str | Activation) -> Callable[[Array], Array]:
    """torch's own function for one of `ACTIVATIONS`; for a user's, the user's f."""
    import array_api_compat.torch as xp
    import torch

    functional: Any = torch.nn.functional
    own: dict[str, Callable[[Array], Array]] = {
        "identity": torch.nn.Identity(),
        "relu": functional.relu,
        "leaky_relu": lambda z: functional.leaky_relu(z, negative_slope=0.01),
        "tanh": torch.tanh,
        "logistic": torch.sigmoid,
        # torch's softplus switches to a straight line at z > 20, where it is off by 2e-9
        "softplus": lambda z: torch.logaddexp(z, torch.zeros_like(z)),
        "elu": lambda z: functional.elu(z, alpha=1.0),
        "gelu": lambda z: functional.gelu(z, approximate="none"),
        "silu": functional.silu,
    }
    if isinstance(activation, str):
        return own[activation]
    if ACTIVATIONS.get(activation.name) is activation:
        return own[activation.name]
    f = activation.f
    return lambda z: f(xp, z)
