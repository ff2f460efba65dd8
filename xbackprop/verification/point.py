"""A user's point θ as one vector: an array, a tuple of arrays, which are the arguments of f, or a dict of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, Backend, dtype_name
from xbackprop.arrays.discovery import backend_of


class Point:
    """θ as one vector (P,) in float64, and the calls of a user's functions with what they take.

    theta : an array of real floating type; or a tuple of such arrays, all of one library; or a dict of them.
    doubt : the reason why differences of f are not to be trusted there; empty if there is none.
    """

    def __init__(self, where: str, name: str, theta: Any) -> None:
        self.where, self.keys = where, list(theta) if isinstance(theta, Mapping) else None
        many = isinstance(theta, (tuple, Mapping))
        given = list(theta.values()) if isinstance(theta, Mapping) else list(theta) if many else [theta]
        if not given:
            raise ValueError(f"{where}: {name} must have arrays, got {theta!r}")
        names = [str(key) for key in self.keys or ()] or [f"{name}[{i}]" for i in range(len(given))]
        self.names = names if many else [name]
        self.backend = backend_of(given[0]).generic()
        arrays = [float_array(where, name, self.backend, x) for name, x in zip(self.names, given, strict=True)]
        self.shapes = [tuple(a.shape) for a in arrays]
        narrow = [f"{n} is {a.dtype}" for n, a in zip(self.names, arrays, strict=True) if dtype_name(a) != "float64"]
        self.doubt = f"{narrow[0]}: differences need float64" if narrow else ""
        flat = [self.backend.xp.reshape(self.backend.asarray(a, "float64"), (-1,)) for a in arrays]
        self.theta = flat[0] if len(flat) == 1 else self.backend.xp.concat(flat)
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        self.ranges = [
            slice(int(end) - math.prod(shape), int(end)) for end, shape in zip(ends, self.shapes, strict=True)
        ]

    @property
    def tensors(self) -> dict[str, tuple[slice, tuple[int, ...]]]:
        """The range in θ and the shape of every array, by its name."""
        return dict(zip(self.names, zip(self.ranges, self.shapes, strict=True), strict=True))

    def call(self, function: Callable, theta: Array) -> Any:
        """Call a user's function at θ (..., P) with arrays of their own, which it may write to."""
        xp, lead = self.backend.xp, tuple(theta.shape[:-1])
        parts = [theta] if len(self.shapes) == 1 else [theta[..., where] for where in self.ranges]
        arrays = [
            self.backend.copy(xp.reshape(part, (*lead, *shape))) for part, shape in zip(parts, self.shapes, strict=True)
        ]
        return function(*arrays) if self.keys is None else function(dict(zip(self.keys, arrays, strict=True)))

    def join(self, gradient: Any) -> np.ndarray:
        """Return a gradient in the form of θ as one vector (P,) on the host; ValueError if it has another form."""
        if self.keys is not None:
            if not isinstance(gradient, Mapping) or set(gradient) != set(self.keys):
                came = sorted(map(str, gradient)) if isinstance(gradient, Mapping) else type(gradient).__name__
                raise ValueError(f"{self.where}: grad(theta) must be a dict with the keys {self.names}, got {came}")
            parts = [gradient[key] for key in self.keys]
        elif len(self.shapes) == 1 and not isinstance(gradient, tuple):
            parts = [gradient]
        else:
            parts = list(gradient) if isinstance(gradient, (tuple, list)) else [gradient]
            if len(parts) != len(self.shapes):
                raise ValueError(f"{self.where}: grad(theta) must be {len(self.shapes)} arrays, got {len(parts)}")
        found = [on_host(part) for part in parts]
        for part, name, shape in zip(found, self.names, self.shapes, strict=True):
            at = "" if len(self.shapes) == 1 else f" for {name}"
            if part.shape != shape:
                raise ValueError(f"{self.where}: grad(theta){at} must have shape {shape}, got {part.shape}")
            if part.dtype.kind not in "fiu":
                raise ValueError(f"{self.where}: grad(theta){at} must be real numbers, got {part.dtype}")
        return np.concatenate([part.astype(np.float64).ravel() for part in found])


def on_host(value: Any) -> np.ndarray:
    """Return a number or an array of any library as a NumPy array."""
    return np.asarray(backend_of(value).to_host(value))


def float_array(where: str, name: str, home: Backend, x: Any) -> Array:
    """Return `x` as an array if it is of real floating type, not empty and finite; raise ValueError otherwise."""
    array = home.asarray(np.asarray(x) if home.library == "numpy" else x)
    if not home.xp.isdtype(array.dtype, "real floating"):
        raise ValueError(f"{where}: {name} must be an array of real floating type, got {array.dtype}")
    if array.ndim and 0 in array.shape:
        raise ValueError(f"{where}: {name} must have elements, got shape {tuple(array.shape)}")
    if not bool(home.xp.all(home.xp.isfinite(array))):
        raise ValueError(f"{where}: {name} must be finite")
    return array
