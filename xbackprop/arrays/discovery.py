"""Finding a backend by name or by the library of an array, and moving arrays between two backends.

Backend classes live outside this package. They are found through the entry-point group ``xbackprop.backends``, whose
names are the import names of their libraries.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np

from xbackprop.arrays.backend import Array, Backend, device_of, is_host_array, library_name
from xbackprop.errors import BackendError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


ENTRY_POINTS = "xbackprop.backends"
#: The environment variable that names the backend for NumPy's arrays, lists and tables.
VARIABLE = "XBACKPROP_BACKEND"
_for_host: str | None = None


@functools.cache
def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # which takes as long to import as half of this package

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def backend_names() -> list[str]:
    """List the names of the installed backends, whether or not their libraries are installed."""
    return sorted(_installed())


def backend_class(name: str) -> type[Backend]:
    """Return the backend class behind a name.

    Raises
    ------
    BackendError : if no backend has this name, or its library is not installed; the message says how to install it.
    """
    if name not in _installed():
        known = ", ".join(backend_names()) or "none (is xbackprop installed? pip install .)"
        raise BackendError(f"backend: unknown backend {name!r}; expected one of: {known}")
    return _loaded(name)


@functools.cache
def _loaded(name: str) -> type[Backend]:
    return _installed()[name].load()


def set_default_backend(name: str | None) -> None:
    """Name the backend that takes NumPy's arrays, lists and tables where neither a backend nor a device is named.

    It holds for networks that are made afterwards, in this process; None returns to the environment variable
    ``XBACKPROP_BACKEND``, or to "numpy" without one. Arrays of other libraries stay with their own.

    Raises
    ------
    BackendError : if no backend has this name, or its library is not installed.

    Examples
    --------
    >>> import xbackprop
    >>> xbackprop.set_default_backend("numpy")
    """
    global _for_host
    if name is not None:
        backend_class(name)
    _for_host = name


def _default_for_host() -> Backend:
    if _for_host is not None:
        return _named(_for_host)
    name = os.environ.get(VARIABLE, "")
    try:
        return _named(name) if name else _on_host()
    except BackendError as error:
        raise BackendError(f"the environment variable {VARIABLE}={name}: {error}") from error


@functools.cache
def _named(name: str) -> Backend:
    return backend_class(name)(device=None)  # type: ignore[call-arg]


def library_of(x: Any) -> str:
    """Return the import name of the library of `x`: "numpy" also for lists, numbers and tables."""
    if is_host_array(x):
        return "numpy"
    return library_name(array_api_compat.array_namespace(x))


def backend_of(x: Any, device: Any = None) -> Backend:
    """Return a backend for the library of `x`, on the device of `x` unless another is given."""
    if is_host_array(x):
        return _on_host() if device is None else _backend(np.empty(0), device)
    return _backend(x, device_of(x) if device is None else device)


@functools.cache
def _on_host() -> Backend:
    return _backend(np.empty(0), None)


def _backend(x: Array, device: Any) -> Backend:
    name = library_of(x)
    if name in _installed():
        return backend_class(name)(device=device)  # type: ignore[call-arg]
    return Backend(array_api_compat.array_namespace(x), device)


def on_host(x: Any) -> np.ndarray:
    """Return `x`, an array of any library, as a NumPy array."""
    return np.asarray(x) if is_host_array(x) else backend_of(x).to_host(x)


def get_backend(backend: str | Backend | None, device: Any = None, like: Any = None) -> Backend:
    """Return the backend that a user asks for.

    Parameters
    ----------
    backend : a name, a `Backend`, or None for the backend of the library of `like`; for NumPy's arrays that is the one
        of `set_default_backend`.
    device : what the library calls a device, or None for that of `like`, or else for the library's default.
    like : an array, such as X.

    Raises
    ------
    BackendError : for a name, a device or a library that is not there, and for a `Backend` with another device.

    Examples
    --------
    >>> get_backend("numpy")
    NumpyBackend(device='cpu')
    """
    if isinstance(backend, Backend):
        if device is not None and device != backend.device:
            raise BackendError(f"device: {backend!r} has its own device, got another one, {device!r}")
        return backend
    if backend is None:
        return _default_for_host() if device is None and is_host_array(like) else backend_of(like, device)
    if not isinstance(backend, str):
        raise BackendError(f"backend: expected a name, a Backend or None, got {backend!r}")
    if device is None and library_of(like) == backend:
        return backend_of(like)  # on the device of `like`
    return backend_class(backend)(device=device)  # type: ignore[call-arg]


def transfer(x: Array, source: Backend, target: Backend, dtype: str | None = None) -> Array:
    """Return `x`, an array of backend `source`, as an array of `target`; through the host if the libraries differ."""
    if library_of(x) != target.library:
        x = source.to_host(x)
    return target.asarray(x, dtype)
