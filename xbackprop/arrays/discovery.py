"""Backends: what training needs and the array API standard leaves open.

A backend stands for one array library on one device. `Backend` itself serves every library that follows the
standard; a subclass adds what its library does better. Subclasses live outside this package and are found through
the entry-point group ``xbackprop.backends``, whose names are the import names of their libraries.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np

from xbackprop.arrays.backend import Array, Backend, is_host_array, library_name
from xbackprop.errors import BackendError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


ENTRY_POINTS = "xbackprop.backends"


@functools.cache
def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # which takes as long to import as half of this package

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def backend_names() -> list[str]:
    """The names of the backends that are installed, whether or not their libraries are."""
    return sorted(_installed())


def backend_class(name: str) -> type[Backend]:
    """The backend class behind a name; BackendError says what is missing."""
    if name not in _installed():
        known = ", ".join(backend_names()) or "none (is xbackprop installed? pip install .)"
        raise BackendError(f"backend: unknown backend {name!r}; expected one of: {known}")
    return _installed()[name].load()


def library_of(x: Any) -> str:
    """The import name of the array library of `x`; lists, numbers and tables count as NumPy's."""
    if is_host_array(x):
        return "numpy"
    return library_name(array_api_compat.array_namespace(x))


def backend_of(x: Any, device: Any = None) -> Backend:
    """The backend of the library of `x`, on the device of `x` unless another is named."""
    name = library_of(x)
    if device is None and not is_host_array(x):
        device = array_api_compat.device(x)
    if name in _installed():
        return backend_class(name)(device=device)  # type: ignore[call-arg]
    return Backend(array_api_compat.array_namespace(x), device)


def on_host(x: Any) -> np.ndarray:
    """`x`, of any library, as a NumPy array."""
    return np.asarray(x) if is_host_array(x) else backend_of(x).to_host(x)


def get_backend(backend: str | Backend | None, device: Any = None, like: Any = None) -> Backend:
    """The backend that a user means: by name, as an instance, or None, which follows the library of `like`."""
    if isinstance(backend, Backend):
        if device is not None and device != backend.device:
            raise BackendError(f"device: {backend!r} has its own device, got another one, {device!r}")
        return backend
    if backend is None:
        return backend_of(like, device)
    if not isinstance(backend, str):
        raise BackendError(f"backend: expected a name, a Backend or None, got {backend!r}")
    if device is None and library_of(like) == backend:
        return backend_of(like)  # on the device of `like`
    return backend_class(backend)(device=device)  # type: ignore[call-arg]


def transfer(x: Array, source: Backend, target: Backend, dtype: str | None = None) -> Array:
    """`x`, an array of `source`, as an array of `target`; through the host where the libraries differ."""
    if library_of(x) != target.library:
        x = source.to_host(x)
    return target.asarray(x, dtype)
