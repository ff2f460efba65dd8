"""Backends: what training needs and the array API standard leaves open.

A backend stands for one array library on one device. `Backend` itself serves every library that follows the
standard; a subclass adds what its library does better. Subclasses live outside this package and are found through
the entry-point group ``xbackprop.backends``, whose names are the import names of their libraries.
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

from xbackprop.errors import BackendError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Array = Any  # an array of whichever library the backend stands for
Namespace = Any  # its array API namespace

ENTRY_POINTS = "xbackprop.backends"


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
    #: True if steps are to be taken on [W_1 …, b_1 …], and not on one θ, which a compiler would cut and join.
    prefers_leaves: bool = False
    #: How many numbers a prediction holds at a time: where there is a cache, what it takes.
    chunk: int = 2**22

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
        return _library(self.xp)

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
        """``run(carry, samples, rows, at, *lent) -> carry, results``: ``carry, result = step(carry, samples, rows[i],
        at_i, *lent)`` for every i, one after the other; `at` is a named tuple of columns, or None for some.

        Here, a loop. Where there is a compiler, it may be one call: `step` is a pure function of arrays, but for those
        that are lent, and equal to another that does the same.
        """

        def run(carry: Any, samples: Any, rows: Any, at: Any, *lent: Any) -> tuple[Any, list[Array]]:
            results = []
            apart = rows if isinstance(rows, list) else self.xp.unstack(rows)
            columns = [repeat(None) if column is None else column.tolist() for column in at]
            for row, *now in zip(apart, *columns, strict=False):
                carry, result = step(carry, samples, row, at._make(now), *lent)
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

    def scope(self) -> AbstractContextManager:
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


@functools.cache
def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # which takes as long to import as half of this package

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def names() -> list[str]:
    """The names of the backends that are installed, whether or not their libraries are."""
    return sorted(_installed())


def load(name: str) -> type[Backend]:
    """The backend class behind a name; BackendError says what is missing."""
    if name not in _installed():
        known = ", ".join(names()) or "none (is xbackprop installed? pip install .)"
        raise BackendError(f"backend: unknown backend {name!r}; expected one of: {known}")
    return _installed()[name].load()


def library_of(x: Any) -> str:
    """The import name of the array library of `x`; lists, numbers and tables count as NumPy's."""
    if is_host_array(x):
        return "numpy"
    return _library(array_api_compat.array_namespace(x))


def _library(namespace: Namespace) -> str:
    return str(namespace.__name__).removeprefix("array_api_compat.").split(".")[0]


def follow(x: Any, device: Any = None) -> Backend:
    """The backend of the library of `x`, on the device of `x` unless another is named."""
    name = library_of(x)
    if device is None and not is_host_array(x):
        device = array_api_compat.device(x)
    if name in _installed():
        return load(name)(device=device)  # type: ignore[call-arg]
    return Backend(array_api_compat.array_namespace(x), device)


def on_host(x: Any) -> np.ndarray:
    """`x`, of any library, as a NumPy array."""
    return np.asarray(x) if is_host_array(x) else follow(x).to_host(x)


def resolve(backend: str | Backend | None, device: Any = None, like: Any = None) -> Backend:
    """The backend that a user means: by name, as an instance, or None, which follows the library of `like`."""
    if isinstance(backend, Backend):
        if device is not None and device != backend.device:
            raise BackendError(f"device: {backend!r} has its own device, got another one, {device!r}")
        return backend
    if backend is None:
        return follow(like, device)
    if not isinstance(backend, str):
        raise BackendError(f"backend: expected a name, a Backend or None, got {backend!r}")
    if device is None and library_of(like) == backend:
        return follow(like)  # on the device of `like`
    return load(backend)(device=device)  # type: ignore[call-arg]


def transfer(x: Array, source: Backend, target: Backend, dtype: str | None = None) -> Array:
    """`x`, an array of `source`, as an array of `target`; through the host where the libraries differ."""
    if library_of(x) != target.library:
        x = source.to_host(x)
    return target.asarray(x, dtype)
