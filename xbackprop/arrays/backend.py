"""Backends: what training needs and the array API standard leaves open.

A backend stands for one array library on one device. `Backend` itself serves every library that follows the
standard; a subclass adds what its library does better.
"""

from __future__ import annotations

import copy
import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from itertools import repeat
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import array_api_compat
import numpy as np

if TYPE_CHECKING:
    pass

Array = Any  # an array of whichever library the backend stands for
Namespace = Any  # its array API namespace


class Backend:
    """One array library on one device.

    Numeric functions are written once, ``f(xp, ...)``. `bind` returns the version of such a function that this
    backend runs: the function itself, unless `overrides` names a faster one with the same signature and result.

    Parameters
    ----------
    xp : the library's array API namespace; where it has an ``erf``, that one is used.
    device : the library's device object, or None for its default.
    """

    name: str = "array-api"
    overrides: ClassVar[Mapping[Callable, Callable]] = {}
    #: True if every function with an ``out`` parameter fills the array it is given there and returns it. Optimizer
    #: steps may then update their arrays in place.
    reuses_buffers: bool = False
    #: How many numbers a prediction holds at a time: where there is a cache, what it takes.
    prediction_chunk: int = 2**22

    def __init__(self, xp: Namespace, device: Any = None) -> None:
        self.xp = xp
        self.device = _default_device(xp) if device is None else device
        self._bound: dict[Callable, Callable] = {}

    def __getstate__(self) -> dict[str, Any]:
        """A module cannot be pickled: its name goes instead."""
        return {**vars(self), "xp": self.xp.__name__, "_bound": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, xp=importlib.import_module(state["xp"]))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Backend)
            and (type(self), self.xp, self.device) == (type(other), other.xp, other.device)
            and self.overrides == other.overrides
        )

    def __hash__(self) -> int:
        return hash((type(self), str(self.device)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(device={str(self.device)!r})"

    @property
    def library(self) -> str:
        """The import name of the array library."""
        return library_name(self.xp)

    @property
    def version(self) -> str:
        """The version of the array library."""
        return str(getattr(sys.modules.get(self.library), "__version__", "unknown"))

    @classmethod
    def devices(cls) -> list[str]:
        """The devices of this machine that the library can use; BackendError where there are none."""
        return ["cpu"]

    def bind(self, function: Callable) -> Callable:
        """The backend's version of ``function(xp, ...)``, with the namespace filled in."""
        try:
            return self._bound[function]
        except KeyError:
            bound = functools.partial(self.overrides.get(function, function), self.xp)
            return self._bound.setdefault(function, bound)

    def threads(self, n: int) -> AbstractContextManager:
        """At most n threads for what the library does within."""
        from threadpoolctl import threadpool_limits  # which looks through all that is loaded

        return threadpool_limits(n)

    def compile(self, step: Callable) -> Callable:
        """``run(carry, samples, rows, at, *workspace) -> carry, results``: ``carry, result = step(carry, samples,
        rows[i], at_i, *workspace)`` for every i, one after the other; `at` is a named tuple of columns, or None for
        some.

        Here, a loop. Where there is a compiler, it may be one call: `step` is a pure function of arrays, but for those
        of the workspace, and equal to another that does the same.
        """

        def run(carry: Any, samples: Any, rows: Any, at: Any, *workspace: Any) -> tuple[Any, list[Array]]:
            results = []
            apart = rows if isinstance(rows, list) else self.xp.unstack(rows)
            columns = [repeat(None) if column is None else column.tolist() for column in at]
            for row, *now in zip(apart, *columns, strict=False):
                carry, result = step(carry, samples, row, at._make(now), *workspace)
                results.append(result)
            return carry, results

        return run

    def generic(self) -> Self:
        """The same library and device with nothing overridden: the readable functions, which carry complex numbers."""
        other = copy.copy(self)
        other.overrides, other.reuses_buffers, other._bound = {}, False, {}  # type: ignore[misc]
        return other

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """`x`, an array of this library or of NumPy, on this device, in the named dtype."""
        xp_dtype = None if dtype is None else getattr(self.xp, dtype)
        if is_host_array(x):
            return self.xp.asarray(x, dtype=xp_dtype, device=self.device)
        x = array_api_compat.to_device(x, self.device)
        return x if xp_dtype is None else self.xp.astype(x, xp_dtype, copy=False)

    def to_host(self, x: Array) -> np.ndarray:
        """`x` as a NumPy array. Waits for the device."""
        return np.asarray(array_api_compat.to_device(x, _default_device(self.xp)))

    def read(self, numbers: list[Array]) -> np.ndarray:
        """Arrays of one number each, together on the host in float64. Waits for the device once."""
        return self.to_host(self.xp.stack(numbers)).astype(np.float64)

    def copy(self, x: Array) -> Array:
        """A copy of `x` that shares no memory with it."""
        return self.xp.asarray(x, copy=True)

    def device_context(self) -> AbstractContextManager:
        """What must surround work on this device.

        Here, no warnings of overflow: a loss that is no longer finite is an error at the end of its epoch.
        """
        return np.errstate(over="ignore", divide="ignore", invalid="ignore")


def extended(xp: Namespace, **functions: Callable) -> Namespace:
    """A namespace like `xp` that has these functions too."""
    namespace = ModuleType(xp.__name__)
    vars(namespace).update(vars(xp), **functions)
    return namespace


def _default_device(xp: Namespace) -> Any:
    return xp.__array_namespace_info__().default_device()


def is_host_array(x: Any) -> bool:
    """Whether `x` lives on the host as far as NumPy is concerned: an array, a list, a number, a table."""
    return not array_api_compat.is_array_api_obj(x) or array_api_compat.is_numpy_array(x)


def is_sparse(x: Any) -> bool:
    """Whether x is one of SciPy's sparse matrices or arrays."""
    return hasattr(x, "tocsr")


def library_name(namespace: Namespace) -> str:
    """The import name of the library behind an array API namespace, "numpy" for `array_api_compat.numpy`."""
    return str(namespace.__name__).removeprefix("array_api_compat.").split(".")[0]


def dtype_name(x: Array) -> str:
    """The name of its dtype, float32 or float64."""
    return str(x.dtype).rpartition(".")[2]
