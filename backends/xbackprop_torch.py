"""torch tensors, on the CPU or a CUDA device. No autograd: tensors are detached when they come in."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from xbackprop.arrays.backend import Array, Backend, Namespace, extended, is_host_array
from xbackprop.data.batches import take_rows
from xbackprop.errors import BackendError
from xbackprop.nn.activations import d_relu, relu
from xbackprop.nn.backprop import affine, bias_gradient, hidden_delta, weight_gradient
from xbackprop.nn.losses import cross_entropy
from xbackprop.nn.penalty import add_l1_gradient, add_penalty_gradient, penalty
from xbackprop.optim.optimizers import (
    adagrad_step,
    adam_step,
    average_step,
    momentum_step,
    nesterov_step,
    rmsprop_step,
    sgd_step,
)

try:
    import array_api_compat.torch
    import torch
except ImportError as error:
    raise BackendError("backend 'torch' needs PyTorch, which is not installed: pip install torch") from error


def _maximum(x: Array, y: Array | float) -> Array:
    """Without a tensor made of a number, which on a GPU would be copied there, and waited for, at every call."""
    return torch.maximum(x, y) if isinstance(y, torch.Tensor) else torch.clamp(x, min=y)


def _minimum(x: Array, y: Array | float) -> Array:
    return torch.minimum(x, y) if isinstance(y, torch.Tensor) else torch.clamp(x, max=y)


NAMESPACE = extended(array_api_compat.torch, maximum=_maximum, minimum=_minimum, sign=torch.sign)


def _affine(xp: Namespace, h: Array, W: Array, b: Array, out: Array | None = None) -> Array:
    if h.ndim == W.ndim == 2:
        return torch.addmm(b, h, W, out=out)
    return torch.baddbmm(b, h, W, out=out) if h.ndim == W.ndim == b.ndim == 3 else affine(xp, h, W, b)


def _weight_gradient(xp: Namespace, h: Array, delta: Array, out: Array | None = None) -> Array:
    return torch.mm(h.t(), delta, out=out) if h.ndim == delta.ndim == 2 else torch.matmul(h.mT, delta, out=out)


def _bias_gradient(xp: Namespace, delta: Array, out: Array | None = None) -> Array:
    return torch.sum(delta, -2, keepdim=True, out=out)


def _hidden_delta(xp: Namespace, delta: Array, W: Array, slope: Array, out: Array | None = None) -> Array:
    back = torch.mm(delta, W.t(), out=out) if delta.ndim == W.ndim == 2 else torch.matmul(delta, W.mT, out=out)
    return back.mul_(slope)


def _penalty(xp: Namespace, w: Array, l2: Array | float, l1: Array | float | None) -> Array:
    if w.ndim != 1 or l1 is not None or not isinstance(l2, float):
        return penalty(xp, w, l2, l1)
    return torch.dot(w, w).mul_(0.5 * l2)


def _add_penalty_gradient(xp: Namespace, g: Array, w: Array, rate: Array | float) -> Array:
    return g.add_(w, alpha=rate) if isinstance(rate, float) else g.add_(rate * w)


def _add_l1_gradient(xp: Namespace, g: Array, w: Array, rate: Array | float) -> Array:
    return g.add_(w.sign().mul_(rate))


def _of_one_rate(step: Callable, generic: Callable) -> Callable:
    """Return a step that takes rates of a stack of networks too, a column (k, 1): they go through the generic one."""

    def run(xp: Namespace, theta: Array, g: Array, *others: Any) -> Any:
        moments = [a for a in others if isinstance(a, torch.Tensor) and a.shape == theta.shape]
        if not isinstance(others[len(moments)], torch.Tensor):
            return step(xp, theta, g, *others)
        arrays = [theta, *moments]
        for a, new in zip(arrays, generic(xp, theta, g, *others), strict=True):
            a.copy_(new)
        return arrays

    return run


def _rmsprop_step(xp: Namespace, theta: Array, g: Array, v: Array, rate: float, rho: float, epsilon: float):  # type: ignore[no-untyped-def]
    v.mul_(rho).addcmul_(g, g, value=1.0 - rho)
    return theta.addcdiv_(g, v.sqrt().add_(epsilon), value=-rate), v


def _adagrad_step(xp: Namespace, theta: Array, g: Array, v: Array, rate: float, epsilon: float):  # type: ignore[no-untyped-def]
    v.addcmul_(g, g)
    return theta.addcdiv_(g, v.sqrt().add_(epsilon), value=-rate), v


def _adam_step(xp, theta, g, m, v, rate, beta_1, beta_2, epsilon):  # type: ignore[no-untyped-def]
    """Call torch's fused kernel. At a step this late its own bias corrections are 1; ours is in the rate."""
    step = _late(theta.device)
    torch._fused_adam_(
        [theta], [g], [m], [v], [], [step],
        lr=rate, beta1=beta_1, beta2=beta_2, weight_decay=0.0, eps=epsilon, amsgrad=False, maximize=False,
    )  # fmt: skip
    return theta, m, v


def _average_step(xp: Namespace, average: Array, theta: Array, decay: Array | float) -> tuple[Array]:
    return (average.mul_(decay).add_(theta * (1.0 - decay)),)


def _sgd_step(xp: Namespace, theta: Array, g: Array, rate: float) -> tuple[Array]:
    return (theta.sub_(g, alpha=rate),)


def _momentum_step(
    xp: Namespace, theta: Array, g: Array, velocity: Array, rate: float, momentum: float
) -> tuple[Array, Array]:
    velocity.mul_(momentum).sub_(g, alpha=rate)
    return theta.add_(velocity), velocity


def _nesterov_step(
    xp: Namespace, theta: Array, g: Array, velocity: Array, rate: float, momentum: float
) -> tuple[Array, Array]:
    velocity.mul_(momentum).sub_(g, alpha=rate)
    return theta.sub_(g, alpha=rate).add_(velocity, alpha=momentum), velocity


@functools.cache
def _late(device: Any) -> Array:
    return torch.tensor(1e12, device=device)


def _cross_entropy(xp: Namespace, z: Array, y: Array, share: Array | float) -> tuple[Array, Array]:
    log_h = torch.log_softmax(z, -1)
    if isinstance(share, float) and z.ndim == 2:
        return torch.vdot(y.view(-1), log_h.view(-1)).mul_(-share), log_h.exp_().sub_(y).mul_(share)
    return (y * log_h).mul_(share).sum((-2, -1)).neg_(), log_h.exp().sub_(y).mul_(share)


def _relu(xp: Namespace, z: Array, out: Array | None = None) -> Array:
    return torch.relu(z) if out is None else torch.relu_(z)


def _d_relu(xp: Namespace, z: Array, h: Array) -> Array:
    return torch.gt(z, 0, out=torch.empty_like(z))  # one pass, where a conversion is a second one, and a slow one


def _take_rows(xp: Namespace, x: Array, rows: Array) -> Array:
    return torch.index_select(x, 0, rows)


#: Multiplications in a forward pass from which on two idle cores are clearly faster than one: 1.06 times at 1.5e6
#: (64-100-10, 200 rows), 1.14 at 2.2e6, 1.33 at 1e7.
THREADED_PRODUCTS = 2e6
#: Multiplications in the forward pass of a stack on a CPU up to which it is faster than one network after the other: at
#: 2.4e6 2.5 times (32 of 64-32-10, 32 rows), at 5e7 1.7 times (32 of 64-100-10, 200 rows), at 1e8 0.9 times.
STACKED_PRODUCTS = 5e7


class TorchBackend(Backend):
    """torch on one device: "cpu", "cuda", "cuda:1", "meta"."""

    name = "torch"
    reuses_buffers = True
    overrides: ClassVar = {
        affine: _affine,
        weight_gradient: _weight_gradient,
        bias_gradient: _bias_gradient,
        hidden_delta: _hidden_delta,
        penalty: _penalty,
        add_penalty_gradient: _add_penalty_gradient,
        add_l1_gradient: _add_l1_gradient,
        rmsprop_step: _of_one_rate(_rmsprop_step, rmsprop_step),
        adagrad_step: _of_one_rate(_adagrad_step, adagrad_step),
        sgd_step: _of_one_rate(_sgd_step, sgd_step),
        momentum_step: _of_one_rate(_momentum_step, momentum_step),
        nesterov_step: _of_one_rate(_nesterov_step, nesterov_step),
        adam_step: _of_one_rate(_adam_step, adam_step),
        average_step: _average_step,
        cross_entropy: _cross_entropy,
        relu: _relu,
        d_relu: _d_relu,
        take_rows: _take_rows,
    }

    def __init__(self, device: Any = None) -> None:
        try:
            device = torch.empty(0, device=device).device  # "cuda" becomes "cuda:0"
        except (RuntimeError, AssertionError, TypeError) as error:
            raise BackendError(f"device: torch has no device {device!r} here: {str(error).splitlines()[0]}") from error
        super().__init__(NAMESPACE, device)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.xp = NAMESPACE

    @classmethod
    def devices(cls) -> list[str]:
        """List the CPU and every CUDA device."""
        return ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """Return `x` on this device, detached from any graph; it shares memory with `x` if it can."""
        torch_dtype = None if dtype is None else getattr(torch, dtype)
        if is_host_array(x):  # torch wants writable, contiguous memory in the machine's byte order
            x = np.asarray(x, dtype)
            x = torch.from_numpy(np.require(x, x.dtype.newbyteorder("="), ["C", "W"]))
        # The host need not wait for what goes to a GPU: pageable memory is staged first. For what comes from there it
        # must: torch would return memory that is yet to be filled.
        return x.detach().to(self.device, torch_dtype, non_blocking=x.device.type == "cpu")

    def stage(self, x: np.ndarray) -> Any:
        """Return `x` in pinned memory for a GPU, which copies it while the host goes on; torch keeps it until then."""
        return torch.from_numpy(x).pin_memory() if self.device.type == "cuda" else x

    def to_host(self, x: Array) -> np.ndarray:
        """Return `x` as a NumPy array. Waits for the device."""
        return x.detach().cpu().numpy()

    def threads_for(self, products: float) -> int | None:
        """Return 1 for small steps on a CPU: torch's threads wait for each other, on a busy machine for ever longer."""
        return 1 if self.device.type == "cpu" and products < THREADED_PRODUCTS else None

    def together(self, products: float) -> tuple[str, int]:
        """Return, on a CPU, "processes", and stacks as long as a step is bound by calls; elsewhere one stack."""
        if self.device.type != "cpu":
            return super().together(products)
        return "processes", max(1, int(STACKED_PRODUCTS / products))

    @contextmanager
    def threads(self, n: int) -> Iterator[None]:
        """Limit the threads of torch's own pool, on the CPU."""
        before = torch.get_num_threads()
        torch.set_num_threads(n)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def device_context(self) -> Any:
        """Turn autograd off, even for tensors of a user's own function that ask for a graph."""
        return torch.no_grad()
