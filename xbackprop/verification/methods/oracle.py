"""torch.autograd as an oracle: C(θ) written a second time, in torch's own functions, and differentiated by torch.

It shares no formula with `activations`, `losses` or `network`. torch is imported when a function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.arrays.threads import one_thread
from xbackprop.errors import BackendError
from xbackprop.nn.activations import ACTIVATIONS, Activation
from xbackprop.nn.losses import LOSSES, Loss
from xbackprop.verification.claim import Judgement, judge_tensors
from xbackprop.verification.findings import CannotRun, Method, MethodResult, Role, Verdict
from xbackprop.verification.network import NetworkGradient
from xbackprop.verification.rounding import UNITS


def torch_gradient(
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    activations: Sequence[str | Activation],
    loss: str | Loss,
    X: np.ndarray,
    y: np.ndarray,
    share: np.ndarray | float,
    alpha_over_n: float = 0.0,
    l1_over_n: float = 0.0,
    masks: Sequence[np.ndarray] = (),
) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
    """Compute C and (∂C/∂W_l, ∂C/∂b_l) by torch.autograd on the CPU, in the dtype of the arguments.

    C = Σ_x share_x loss(z_L, y)_x + α/(2n) Σ‖W_l‖² + λ/n Σ|W_l|.

    Parameters
    ----------
    layers : (W_l, b_l), W_l (n_in, n_out) and b_l (n_out,) or (1, n_out).
    activations : one per hidden layer; for a user's own one, f is called with tensors, and df is not used.
    loss : a name out of `LOSSES` or a `Loss`; for a user's own one, C is computed on tensors, and δ is not used.
    X, y : (n, n_0) and (n, n_L), y one-hot for classes.
    share : the weight of each sample in the mean, 1/n or (n, 1).
    alpha_over_n, l1_over_n : α/n, λ/n. masks : dropout masks (n, n_l), one per hidden layer, or () for none.

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
        raise BackendError("the oracle needs PyTorch, which is not installed: pip install torch") from error
    functional = torch.nn.functional

    with torch.enable_grad(), one_thread():
        parameters = [[torch.tensor(p, requires_grad=True) for p in layer] for layer in layers]
        h = z = torch.tensor(X)
        for l, (W, b) in enumerate(parameters):
            z = functional.linear(h, W.T, torch.reshape(b, (-1,)))
            h = _torch_activation(activations[l])(z) if l < len(activations) else z
            h = h * torch.tensor(masks[l]) if l < len(masks) else h
        cost = _torch_cost(loss, z, torch.tensor(y), torch.as_tensor(np.asarray(share)))
        cost = cost + 0.5 * alpha_over_n * sum(torch.sum(torch.square(W)) for W, _ in parameters)
        cost = cost + l1_over_n * sum(torch.linalg.vector_norm(W, ord=1) for W, _ in parameters)
        gradients = torch.autograd.grad(cost, [p for layer in parameters for p in layer])
    arrays = [g.numpy() for g in gradients]
    return cost.item(), list(zip(arrays[::2], arrays[1::2], strict=True))


def check(network: NetworkGradient) -> MethodResult:
    """Compare the gradient, in its own dtype, with torch's in float64, in units of the error that rounding may make.

    Raises
    ------
    BackendError : if torch is not installed. CannotRun : if a user's own function raises for tensors.
    """
    try:
        _, pairs = torch_gradient(*network.problem)
    except BackendError:
        raise
    except Exception as error:  # a user's own function may raise anything
        raise CannotRun(f"torch cannot run a function of yours: {type(error).__name__}: {error}") from error
    numeric = np.concatenate([W.ravel() for W, _ in pairs] + [b.ravel() for _, b in pairs])
    gradient, rounding = network.gradient, network.rounding
    off = np.abs(gradient.astype(np.float64) - numeric)
    units = np.divide(off, rounding, out=np.where(off == 0, 0.0, np.inf), where=rounding > 0)

    def judge(name: str, mine: np.ndarray) -> Judgement:
        error = float(units[mine][np.argmax(units[mine])])
        if np.any(np.isnan(rounding[mine])) and np.all(np.isfinite(gradient[mine])):
            verdict, reason = Verdict.INCONCLUSIVE, "a derivative is not a number: nothing bounds rounding"
        elif not error <= UNITS:
            verdict, reason = Verdict.FAIL, "the gradient is not torch.autograd's, by more than rounding can do"
        elif not np.any(numeric[mine]) and not np.any(gradient[mine]):
            verdict, reason = Verdict.VACUOUS, "the gradient is zero, and so is torch.autograd's"
        else:
            verdict, reason = Verdict.PASS, ""
        return Judgement(verdict, error, reason, off=units[mine])

    everything = np.arange(len(numeric))
    findings = judge_tensors(METHOD, network.claim.tensors, judge, everything, gradient, numeric)
    return MethodResult(findings, (everything, numeric))


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return ‖a - b‖ / ‖b‖: for b = 0 it is 0 if a = 0, and infinite otherwise."""
    difference, norm = np.linalg.norm(np.subtract(a, b)), np.linalg.norm(b)
    if norm == 0:
        return 0.0 if difference == 0 else np.inf
    return float(difference / norm)


def _torch_cost(loss: str | Loss, z: Array, y: Array, share: Array) -> Array:
    """Return Σ_x share_x loss(z, y)_x by torch's own functions; a user's own loss is called with tensors."""
    import array_api_compat.torch as xp
    import torch

    functional: Any = torch.nn.functional
    own: dict[str, Callable[[Array, Array], Array]] = {
        "cross_entropy": lambda z, y: functional.cross_entropy(z, y, reduction="none")[:, None],
        "binary_cross_entropy": lambda z, y: functional.binary_cross_entropy_with_logits(z, y, reduction="none"),
        "mean_squared_error": lambda z, y: functional.mse_loss(z, y, reduction="none"),
        "squared_error": lambda z, y: 0.5 * functional.mse_loss(z, y, reduction="none"),
        "absolute_error": lambda z, y: functional.l1_loss(z, y, reduction="none"),
        "huber": lambda z, y: functional.huber_loss(z, y, reduction="none"),
        "poisson": lambda z, y: functional.poisson_nll_loss(z, y, reduction="none") + torch.xlogy(y, y) - y,
        "quantile": lambda z, y: 0.5 * functional.l1_loss(z, y, reduction="none"),
    }
    name = loss if isinstance(loss, str) else loss.name if LOSSES.get(loss.name) is loss else None
    if name not in own:
        return loss.value_and_delta(xp, z, y, share)[0]  # type: ignore[union-attr]
    return torch.sum(share * own[name](z, y))


def _torch_activation(activation: str | Activation) -> Callable[[Array], Array]:
    """Return torch's own function for one of `ACTIVATIONS`, or the f of a user's own activation."""
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
        "selu": functional.selu,
        "mish": functional.mish,
    }
    if isinstance(activation, str):
        return own[activation]
    if ACTIVATIONS.get(activation.name) is activation:
        return own[activation.name]
    f = activation.f
    return lambda z: f(xp, z)


METHOD = Method(
    "oracle",
    title="oracle",
    needs="torch",
    role=Role.DECISIVE,
    bound=UNITS,
    explained="The gradient that torch.autograd takes of the same cost. The error is in units of the error that "
    "rounding alone may make.",
    check=check,
    of_network=True,
    slope_precedence=2,
)
