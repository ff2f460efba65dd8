"""CuPy arrays on NVIDIA (and AMD) GPUs, with each optimizer step as one kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from xbackprop.arrays.backend import Array, Backend, Namespace, extended, is_host_array
from xbackprop.errors import BackendError
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
    import array_api_compat.cupy
    import cupy
    from cupyx.scipy.special import erf
except ImportError as error:
    raise BackendError(
        "backend 'cupy' needs CuPy, which is not installed: pip install cupy-cuda12x (or cupy-cuda13x)"
    ) from error

NAMESPACE = extended(array_api_compat.cupy, erf=erf)


def _kernel(step: Callable, state: str, constants: str, body: str) -> Callable[..., tuple[Array, ...]]:
    """Make one kernel of an optimizer's step over θ, g and the moments, without the generic step's temporaries.

    `body` is CUDA code that computes new_theta and the new moments, in the dtype T of the arrays.
    """
    names = ["theta", *state.split()]
    arrays = [f"T {name}" for name in ["theta", "g", *names[1:]]]
    kernel = cupy.ElementwiseKernel(
        ", ".join(arrays + [f"float64 {name}" for name in ["rate", *constants.split()]]),
        ", ".join(f"T new_{name}" for name in names),
        body,
        f"xbackprop_{step.__name__}",
    )

    def run(xp: Namespace, *arguments: Any) -> tuple[Array, ...]:
        given, numbers = arguments[: len(arrays)], arguments[len(arrays) :]  # a number for each network of a stack is
        numbers = tuple(c.astype(np.float64) if isinstance(c, cupy.ndarray) else c for c in numbers)  # a column (k, 1)
        results = kernel(*given, *numbers)
        return results if isinstance(results, tuple) else (results,)

    return run


_BY_ROOT = "new_theta = theta - T(rate) * g / (sqrt(new_v) + T(epsilon));"
KERNELS: dict[Callable, Callable] = {
    sgd_step: _kernel(sgd_step, "", "", "new_theta = theta - T(rate) * g;"),
    momentum_step: _kernel(
        momentum_step, "velocity", "momentum",
        "new_velocity = T(momentum) * velocity - T(rate) * g; new_theta = theta + new_velocity;",
    ),
    nesterov_step: _kernel(
        nesterov_step, "velocity", "momentum",
        "new_velocity = T(momentum) * velocity - T(rate) * g;"
        "new_theta = theta + (T(momentum) * new_velocity - T(rate) * g);",
    ),
    adam_step: _kernel(
        adam_step, "m v", "beta_1 beta_2 epsilon",
        "new_m = T(beta_1) * m + T(1.0 - beta_1) * g;"
        "new_v = T(beta_2) * v + T(1.0 - beta_2) * (g * g);"
        "new_theta = theta - T(rate) * new_m / (sqrt(new_v) + T(epsilon));",
    ),
    rmsprop_step: _kernel(
        rmsprop_step, "v", "rho epsilon", "new_v = T(rho) * v + T(1.0 - rho) * (g * g);" + _BY_ROOT
    ),
    adagrad_step: _kernel(adagrad_step, "v", "epsilon", "new_v = v + g * g;" + _BY_ROOT),
    average_step: _kernel(average_step, "", "", "new_theta = T(rate) * theta + T(1.0 - rate) * g;"),
}  # fmt: skip


class CupyBackend(Backend):
    """CuPy on one GPU: device 0, 1, … or a `cupy.cuda.Device`."""

    name = "cupy"
    overrides: ClassVar = KERNELS

    def __init__(self, device: Any = None) -> None:
        count = len(self.devices())
        device = cupy.cuda.Device() if device is None else device
        number = device.id if isinstance(device, cupy.cuda.Device) else device
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
            raise BackendError(f"device: CuPy sees {count} GPU(s), numbered from 0, got {device!r}")
        super().__init__(NAMESPACE, cupy.cuda.Device(number))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the device by its number, since a device cannot be pickled."""
        return type(self), (self.device.id,)

    @classmethod
    def devices(cls) -> list[str]:
        """List the numbers of the GPUs."""
        try:
            return [str(i) for i in range(cupy.cuda.runtime.getDeviceCount())]
        except RuntimeError as error:
            raise BackendError(f"backend 'cupy' finds no GPU: {error}") from error

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """Return `x` on this device."""
        with self.device:
            x = cupy.asarray(np.asarray(x)) if is_host_array(x) else array_api_compat.to_device(x, self.device)
            return x if dtype is None else x.astype(dtype, copy=False)

    def to_host(self, x: Array) -> np.ndarray:
        """Return `x` as a NumPy array. Waits for the device."""
        return cupy.asnumpy(x)

    def device_context(self) -> Any:
        """Make this device CuPy's current one, on which it computes."""
        return self.device
