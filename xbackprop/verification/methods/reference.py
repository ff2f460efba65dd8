"""Compute C(θ) in mpmath to 50 digits, one number at a time, to check the forward pass.

Differences, complex steps and products show that the derivatives belong to the forward pass; this shows that the
forward pass is the paper's network. It shares no formula with `activations`, `losses` or `network`: everything is
written as a textbook defines it, since numbers of mpmath neither overflow nor underflow. A sum that cancels in such a
definition, as in log(1 + exp z) or in a softmax next to 1, keeps an absolute accuracy of 10^-digits; to see
relative accuracy at 1e-300, ask for more digits. mpmath is imported when a function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from xbackprop.errors import BackendError
from xbackprop.nn.activations import ACTIVATIONS, Activation
from xbackprop.verification.claim import Judgement, judge_tensors
from xbackprop.verification.findings import CannotRun, Finding, Method, MethodResult, Role, Verdict
from xbackprop.verification.network import NetworkGradient
from xbackprop.verification.problem import Problem

#: Sizes up to which a gradient takes seconds; the functions below accept larger networks too.
MAX_PARAMETERS = 200
MAX_SAMPLES = 4
TOLERANCE = 1e-12  # relative to the largest derivative of a tensor, and to C

Number = Any  # mpmath's mpf; mpmath has no annotations
Network = list[tuple[list[list[Number]], list[Number]]]  # W_l as a list of rows and b_l, for l = 1 … L

_TWO_PIECES = ("relu", "leaky_relu", "elu", "selu")  # one formula for z > 0 and another for z ≤ 0
#: Values of z - y at which a loss changes from one formula to another.
_LOSS_PIECES = {"absolute_error": (0,), "quantile": (0,), "huber": (-1, 1)}
_SELU_SCALE = "1.0507009873554804934193349852946"
_SELU_ALPHA = "1.6732632423543772848170429916717"


def reference_cost(
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    activations: Sequence[str | Activation],
    loss: str,
    X: np.ndarray,
    y: np.ndarray,
    share: np.ndarray | float,
    alpha_over_n: float = 0.0,
    l1_over_n: float = 0.0,
    masks: Sequence[np.ndarray] = (),
    digits: int = 50,
) -> Number:
    """Compute C = Σ_x share_x loss(z_L, y)_x + α/(2n) Σ‖W_l‖² + λ/n Σ|W_l|, z_l = h_{l-1} W_l + b_l, h_l = f_l(z_l).

    Parameters
    ----------
    layers : (W_l, b_l), W_l (n_in, n_out) and b_l (n_out,) or (1, n_out).
    activations : one per hidden layer, names or rows of `ACTIVATIONS`.
    loss : a name out of `LOSSES`.
    X, y : (n, n_0) and (n, n_L), y one-hot for classes.
    share : the weight of each sample in the mean, 1/n or (n, 1).
    alpha_over_n, l1_over_n : α/n, λ/n. masks : dropout masks (n, n_l), one per hidden layer, or () for none.
    digits : the decimal digits of the computation.

    Returns
    -------
    C, an mpf. mpmath rounds further computations with it to the precision that is set there, 15 digits by default.

    Raises
    ------
    BackendError : if mpmath is not installed.
    ValueError : for an activation or a loss that has no definition here, such as a user's own.
    """
    mp = _mpmath()
    with mp.workdps(digits):
        return _objective(mp, activations, loss, X, y, share, alpha_over_n, l1_over_n, masks)(_network(mp, layers))[0]


def reference_gradient(
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    activations: Sequence[str | Activation],
    loss: str,
    X: np.ndarray,
    y: np.ndarray,
    share: np.ndarray | float,
    alpha_over_n: float = 0.0,
    l1_over_n: float = 0.0,
    masks: Sequence[np.ndarray] = (),
    digits: int = 50,
) -> tuple[Number, list[tuple[np.ndarray, np.ndarray]]]:
    """Compute C and (∂C/∂W_l, ∂C/∂b_l) by central differences, (C(θ + h e_p) - C(θ - h e_p)) / 2h.

    h is 10^(-digits/3), rounded to a power of two. That leaves an error of h²|C‴|/6 from the truncation and of
    about |C| 10^-digits / h from the rounding: 1e-33 at 50 digits where C and C‴ are of order one.

    No difference is taken across a kink: where θ ± h e_p puts a unit of relu, leaky relu or elu on another side of
    z > 0 than θ does, the element is undecided and NaN is returned for it. At 50 digits that takes a |z| of 1e-16 or
    less, in practice a unit exactly at 0.

    Parameters, errors
    ------------------
    Those of `reference_cost`.

    Returns
    -------
    C, an mpf, and the gradients, rounded to float64, in the shapes of `layers`.
    """
    mp = _mpmath()
    with mp.workdps(digits):
        observe = _objective(mp, activations, loss, X, y, share, alpha_over_n, l1_over_n, masks)
        network = _network(mp, layers)
        cost, here = observe(network)
        h = mp.ldexp(1, -(mp.prec // 3))

        def slopes(parameters: list[Number]) -> list[float]:
            """Return ∂C/∂p for each of these parameters, which are a part of `network`."""
            found = []
            for i, value in enumerate(parameters):
                parameters[i] = value + h
                above, up = observe(network)
                parameters[i] = value - h
                below, down = observe(network)
                parameters[i] = value
                found.append(float((above - below) / (2 * h)) if up == here == down else float("nan"))
            return found

        found = [([slopes(row) for row in W], slopes(b)) for W, b in network]
    return cost, [
        (np.reshape(dW, np.shape(W)), np.reshape(db, np.shape(b)))
        for (dW, db), (W, b) in zip(found, layers, strict=True)
    ]


def check(network: NetworkGradient) -> MethodResult:
    """Compare C and the gradient of a small network with mpmath: the only check that detects a wrong forward pass.

    Raises
    ------
    CannotRun : for a network that is too large, or has an activation or a loss that is not defined here.
    BackendError : if mpmath is not installed.
    """
    claim, problem = network.claim, network.problem
    cost, analytic, P, n = claim.at_theta[0], claim.gradient, len(claim.gradient), len(problem.X)
    if P > MAX_PARAMETERS or n > MAX_SAMPLES:
        limits = f"{MAX_PARAMETERS} parameters and {MAX_SAMPLES} samples"
        raise CannotRun(f"the reference is for up to {limits}, got {P:,} and {n:,}")
    try:
        true_cost, pairs = reference_gradient(*problem._replace(loss=problem.loss.name))  # type: ignore[arg-type]
    except ValueError as unknown:
        raise CannotRun(str(unknown)) from unknown
    numeric = np.concatenate([W.ravel() for W, _ in pairs] + [b.ravel() for _, b in pairs])
    allowance = np.zeros(P) if claim.allowance is None else claim.allowance

    def judge(name: str, mine: np.ndarray) -> Judgement:
        gap, true = np.abs(analytic[mine] - numeric[mine]), numeric[mine]
        decided = np.isfinite(true)
        scale = float(np.max(np.abs(true[decided]), initial=0.0))
        off = np.where(decided, gap, -1.0)
        i = int(np.argmax(off))
        if np.any(decided & ~(gap <= np.maximum(TOLERANCE * scale, allowance[mine]))):
            verdict, reason = Verdict.FAIL, "the gradient is not that of the definitions"
        elif not np.any(decided):
            verdict, reason = Verdict.INCONCLUSIVE, "every element has a unit exactly at a kink"
        elif scale == 0:
            verdict, reason = Verdict.VACUOUS, "the gradient is zero, and so is the reference's"
        else:
            verdict, reason = Verdict.PASS, ""
        error = float(gap[i]) / scale if scale > 0 and decided[i] else 0.0
        return Judgement(verdict, error, reason, {"undecided": int((~decided).sum())}, off=off)

    elements = np.arange(P)
    of_gradient = judge_tensors(METHOD, claim.tensors, judge, elements, analytic, numeric)
    return MethodResult([_finding_of_cost(problem, cost, true_cost), *of_gradient])


def _finding_of_cost(problem: Problem, cost: float, true_cost: Number) -> Finding:
    terms = float(np.sum(np.abs(problem.share * problem.y)))  # log-sum-exp is right to the rounding of 1
    off = abs(float(cost - true_cost)) / max(abs(float(true_cost)), terms)
    verdict = Verdict.PASS if off <= TOLERANCE else Verdict.FAIL
    reason = "" if verdict is Verdict.PASS else f"C is {cost:.17g}, and {float(true_cost):.17g} by the definitions"
    return Finding(METHOD, "θ", verdict, off, TOLERANCE, 1, reason=reason)


def _mpmath() -> Any:
    try:
        from mpmath import mp
    except ImportError as error:
        raise BackendError("the reference needs mpmath, which is not installed: pip install mpmath") from error
    return mp


def _network(mp: Any, layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> Network:
    return [(_rows(mp, W), _rows(mp, np.reshape(b, (1, -1)))[0]) for W, b in layers]


def _rows(mp: Any, a: np.ndarray) -> list[list[Number]]:
    return [[mp.mpf(float(v)) for v in row] for row in a]


def _objective(
    mp: Any,
    activations: Sequence[str | Activation],
    loss: str,
    X: np.ndarray,
    y: np.ndarray,
    share: np.ndarray | float,
    alpha_over_n: float,
    l1_over_n: float,
    masks: Sequence[np.ndarray],
) -> Callable[[Network], tuple[Number, list[bool]]]:
    """Return a function of a network that gives C, and for every unit of a function in two pieces whether z > 0."""
    functions, sample_cost = _functions(mp), _loss(mp, loss)
    names = [*(_name(activation, functions) for activation in activations), "identity"]
    shares = np.broadcast_to(share, (len(X), np.shape(share)[1] if np.ndim(share) else 1))
    stay = list(zip(*(_rows(mp, mask) for mask in masks), strict=True)) if masks else [()] * len(X)
    samples = list(zip(_rows(mp, X), _rows(mp, y), _rows(mp, shares), stay, strict=True))

    def observe(network: Network) -> tuple[Number, list[bool]]:
        cost, branches = mp.mpf(0), []
        for x, target, parts, kept in samples:
            h = x
            for l, ((W, b), name) in enumerate(zip(network, names, strict=True)):
                columns = zip(b, *W, strict=True)
                z = [bias + sum(u * w for u, w in zip(h, column, strict=True)) for bias, *column in columns]
                h = [functions[name](v) for v in z]
                h = [v * m for v, m in zip(h, kept[l], strict=True)] if l < len(kept) else h
                if name in _TWO_PIECES:
                    branches += [v > 0 for v in z]
            if len(parts) == 1:
                cost += parts[0] * sample_cost(h, target)
            else:  # each output has its own part of the mean
                cost += sum(part * sample_cost([v], [t]) for part, v, t in zip(parts, h, target, strict=True))
            for point in _LOSS_PIECES.get(loss, ()):
                branches += [mp.sign(v - t - point) for v, t in zip(h, target, strict=True)]
        weights = [w for W, _ in network for row in W for w in row]
        cost += mp.mpf(float(alpha_over_n)) / 2 * sum(w * w for w in weights)
        if l1_over_n:
            cost += mp.mpf(float(l1_over_n)) * sum(abs(w) for w in weights)
            branches += [mp.sign(w) for w in weights]
        return cost, branches

    return observe


def _name(activation: str | Activation, known: Collection[str]) -> str:
    name = activation if isinstance(activation, str) else activation.name
    if name not in known or (isinstance(activation, Activation) and ACTIVATIONS.get(name) is not activation):
        raise ValueError(
            f"it has no definition of the activation {name!r} that was given, only of xbackprop's {', '.join(known)}"
        )
    return name


def _functions(mp: Any) -> dict[str, Callable[[Number], Number]]:
    """Return f(z) of every activation, as a textbook defines it."""
    return {
        "identity": lambda z: z,
        "relu": lambda z: z if z > 0 else mp.mpf(0),
        "leaky_relu": lambda z: z if z > 0 else z / 100,
        "tanh": lambda z: (mp.exp(z) - mp.exp(-z)) / (mp.exp(z) + mp.exp(-z)),
        "logistic": lambda z: 1 / (1 + mp.exp(-z)),
        "softplus": lambda z: mp.log(1 + mp.exp(z)),
        "elu": lambda z: z if z > 0 else mp.exp(z) - 1,
        "gelu": lambda z: z * mp.ncdf(z),
        "silu": lambda z: z / (1 + mp.exp(-z)),
        "selu": lambda z: mp.mpf(_SELU_SCALE) * (z if z > 0 else mp.mpf(_SELU_ALPHA) * (mp.exp(z) - 1)),
        "mish": lambda z: z * mp.tanh(mp.log(1 + mp.exp(z))),
    }


def _loss(mp: Any, loss: str) -> Callable[[list[Number], list[Number]], Number]:
    """Return the function (z, y) -> cost of one sample, with its logits z and target y, as a textbook defines it."""

    def cross_entropy(z: list[Number], y: list[Number]) -> Number:
        total = sum(mp.exp(v) for v in z)
        return -sum(t * mp.log(mp.exp(v) / total) for v, t in zip(z, y, strict=True))

    def summed(cost: Callable[[Number, Number], Number]) -> Callable[[list[Number], list[Number]], Number]:
        return lambda z, y: sum(cost(v, t) for v, t in zip(z, y, strict=True))

    def binary(v: Number, t: Number) -> Number:
        h = 1 / (1 + mp.exp(-v))
        return -t * mp.log(h) - (1 - t) * mp.log(1 - h)

    def huber(v: Number, t: Number) -> Number:
        return (v - t) ** 2 / 2 if abs(v - t) <= 1 else abs(v - t) - mp.mpf(1) / 2

    def poisson(v: Number, t: Number) -> Number:
        return mp.exp(v) - t * v - t + (t * mp.log(t) if t > 0 else 0)

    losses = {
        "cross_entropy": cross_entropy,
        "binary_cross_entropy": summed(binary),
        "mean_squared_error": summed(lambda v, t: (v - t) ** 2),
        "squared_error": summed(lambda v, t: (v - t) ** 2 / 2),
        "absolute_error": summed(lambda v, t: abs(v - t)),
        "huber": summed(huber),
        "poisson": summed(poisson),
        "quantile": summed(lambda v, t: abs(v - t) / 2),
    }
    if loss not in losses:
        raise ValueError(f"reference: loss must be one of {', '.join(losses)}, got {loss!r}")
    return losses[loss]


METHOD = Method(
    "reference",
    title="reference",
    needs="mpmath",
    role=Role.DECISIVE,
    bound=TOLERANCE,
    explained="The slope of a cost written anew in scalar loops and calculated with 50 digits: the one check of the "
    "forward pass too.",
    check=check,
    of_network=True,
    default=False,
)
