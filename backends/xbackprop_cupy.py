"""CuPy: NVIDIA (and AMD) GPUs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from xbackprop.backend import Array, Backend, extended, is_host_array
from xbackprop.errors import BackendError
from xbackprop.optimizers import adam_step

try:
    import array_api_compat.cupy
    import cupy
    from cupyx.scipy.special import erf
except ImportError as error:
    raise BackendError(
        "backend 'cupy' needs CuPy, which is not installed: pip install 'xbackprop[cupy-cuda12x]' (or cupy-cuda13x)"
    ) from error

NAMESPACE = extended(array_api_compat.cupy, erf=erf)

_adam_kernel = cupy.ElementwiseKernel(
    "T theta, T g, T m, T v, float64 rate, float64 beta_1, float64 beta_2, float64 epsilon",
    "T new_theta, T new_m, T new_v",
    """
    new_m = T(beta_1) * m + T(1.0 - beta_1) * g;
    new_v = T(beta_2) * v + T(1.0 - beta_2) * (g * g);
    new_theta = theta - T(rate) * new_m / (sqrt(new_v) + T(epsilon));
    """,
    "xbackprop_adam_step",
)


def _adam_step(xp, theta, g, m, v, rate, beta_1, beta_2, epsilon):  # type: ignore[no-untyped-def]
    """One kernel in place of a dozen, with none of their temporaries."""
    return _adam_kernel(theta, g, m, v, rate, beta_1, beta_2, epsilon)


class CupyBackend(Backend):
    """CuPy on one GPU: device 0, 1, … or a `cupy.cuda.Device`."""

    name = "cupy"
    overrides: ClassVar = {adam_step: _adam_step}

    def __init__(self, device: Any = None) -> None:
        count = len(self.devices())
        device = cupy.cuda.Device() if device is None else device
        number = device.id if isinstance(device, cupy.cuda.Device) else device
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
            raise BackendError(f"device: CuPy sees {count} GPU(s), numbered from 0, got {device!r}")
        super().__init__(NAMESPACE, cupy.cuda.Device(number))

    def __reduce__(self) -> tuple[Any, ...]:
        """A device cannot be pickled: its number goes instead."""
        return type(self), (self.device.id,)

    @classmethod
    def devices(cls) -> list[str]:
        """The numbers of the GPUs."""
        try:
            return [str(i) for i in range(cupy.cuda.runtime.getDeviceCount())]
        except RuntimeError as error:
            raise BackendError(f"backend 'cupy' finds no GPU: {error}") from error

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """`x` on this device."""
        with self.device:
            x = cupy.asarray(np.asarray(x)) if is_host_array(x) else array_api_compat.to_device(x, self.device)
            return x if dtype is None else x.astype(dtype, copy=False)

    def to_host(self, x: Array) -> np.ndarray:
        """`x` as a NumPy array. Waits for the device."""
        return cupy.asnumpy(x)

    def scope(self) -> Any:
        """CuPy works on its current device: make that ours."""
        return self.device
