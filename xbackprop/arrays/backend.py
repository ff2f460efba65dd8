"""The `Backend` class: one array library on one device, and the operations that the array API standard leaves open.

`Backend` itself serves every library that follows the standard. A subclass replaces operations that its library does
faster, or in another way.
"""

from __future__ import annotations

import copy
import functools
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import repeat
from types import ModuleType
from typing import Any, ClassVar, Self

import array_api_compat
import numpy as np

Array = Any  # an array of whichever library the backend stands for
Namespace = Any  # its array API namespace


class Backend:
    """One array library on one device. Subclass it to add a library, or faster versions of numeric functions.

    Numeric functions are written once, as ``f(xp, ...)`` on an array API namespace, and called as
    ``backend.bind(f)(...)``. A subclass lists faster versions in `overrides`, with the same signature and result. It is
    registered under the entry-point group ``xbackprop.backends``, by the import name of its library, and constructed as
    ``cls(device=...)``, where None means the library's default. For a device that is missing it raises BackendError, as
    its module does on import for a library that is not installed. Every method has a version here that is right for a
    library of the standard; replace those that the library does in another way:

    | method | called | must |
    |---|---|---|
    | `asarray`, `to_host` | when data comes in and results go out | copy between NumPy and this device |
    | `copy` | before training, and before epochs that `reuses_buffers` | share no memory with its argument |
    | `read` | once after every epoch | bring costs to the host, waiting for the device once |
    | `device_context` | around every computation | select device and precision |
    | `compile` | once per epoch | return a function that runs many training steps |
    | `not_compiled` | by `fit`, if it is verbose | say why a step is not compiled where others are |
    | `bind` | in every step | return the function that this backend runs |
    | `threads` | around `fit`, where threads are limited | limit the library's threads |
    | `threads_for` | before `fit`, where the user sets no limit | say how many threads suit the steps |
    | `stage` | for each batch of a file | put it into memory from which the device can take it by itself |
    | `together` | by `fit_many` | say whether networks train in a stack, on threads or in processes |
    | `devices` | by ``xbackprop devices`` and by messages | list the names that `device` may have |

    Two backends must be equal if their steps do the same, since compilers look up a step by its value; a backend is
    pickled with a model, so a device that cannot be pickled needs `__reduce__`.

    Parameters
    ----------
    xp : the library's array API namespace. If it has an ``erf``, that is used in place of ours.
    device : the library's device object, or None for its default.

    Examples
    --------
    >>> import numpy as np
    >>> from xbackprop.nn.activations import relu
    >>> backend = Backend(np)
    >>> backend.bind(relu)(backend.asarray([-1.0, 2.0]))
    array([0., 2.])
    """

    name: str = "array-api"
    overrides: ClassVar[Mapping[Callable, Callable]] = {}
    #: True if every function with an ``out`` parameter fills the array it is given there and returns it. Optimizer
    #: steps and `add_penalty_gradient` must then update their first array in place, since training holds views of it.
    reuses_buffers: bool = False
    #: True if arrays of another shape cost a compilation.
    fixed_shapes: bool = False
    #: Array elements per layer that a prediction computes at a time: on a CPU, as many as the cache holds.
    prediction_chunk: int = 2**22

    def __init__(self, xp: Namespace, device: Any = None) -> None:
        self.xp = xp
        self.device = _default_device(xp) if device is None else device
        self._bound: dict[Callable, Callable] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the namespace by its name, since a module cannot be pickled."""
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
        """List the devices of this machine that the library can use; raise BackendError if there are none."""
        return ["cpu"]

    def bind(self, function: Callable) -> Callable:
        """Return this backend's version of ``function(xp, ...)``, with the namespace filled in."""
        try:
            return self._bound[function]
        except KeyError:
            bound = functools.partial(self.overrides.get(function, function), self.xp)
            return self._bound.setdefault(function, bound)

    def threads_for(self, products: float) -> int | None:  # noqa: ARG002, libraries here know themselves
        """Return the threads for steps of so many multiplications in a forward pass; None leaves it to the library."""
        return None

    def together(self, products: float) -> tuple[str, int]:  # noqa: ARG002, a device holds what its memory holds
        """Return how `fit_many` trains networks whose steps have so many multiplications in a forward pass.

        The way: "stack", networks of one shape as one, along a leading axis; "threads", a network on each core, for a
        backend that computes without Python's lock; "processes", through joblib, each with stacks of its own. And the
        most networks of a stack.
        """
        return "stack", 2**16

    def threads(self, n: int) -> AbstractContextManager:
        """Return a context manager in which the library uses at most n threads; BackendError if it cannot."""
        from threadpoolctl import threadpool_limits  # which looks through all that is loaded

        return threadpool_limits(n)

    def compile(self, step: Callable) -> Callable:
        """Return ``run(carry, samples, rows, at, workspace) -> carry, costs``, which takes many training steps.

        For every i it does ``carry, cost = step(carry, samples, rows[i], at[i], workspace)``, where

        carry : (θ, moments). It may be used up, so that the new one can take its memory.
        samples : (X, y, weights or None), and rows : for each step the numbers of its rows, an array (m, size), or a
            list of slices.
        at : `StepNumbers` of columns (m,) on the host; a column that no step needs is None. In a stack of k networks
            θ and the moments are (k, P), rows of a step (k, size), and a column in which the networks differ (m, k).
        workspace : memory for the steps, from `Objective.workspace`, or None.

        This version is a loop. With a compiler it may be one call, compiled once per step: `step` is a pure function of
        arrays, if there is no workspace, and equal to another step that does the same.
        """

        def run(carry: Any, samples: Any, rows: Any, at: Any, *workspace: Any) -> tuple[Any, list[Array]]:
            results = []
            apart = rows if isinstance(rows, list) else self.xp.unstack(rows)
            columns = [self._numbers(column, carry[0]) for column in at]
            for row, *now in zip(apart, *columns, strict=False):
                carry, result = step(carry, samples, row, at._make(now), *workspace)
                results.append(result)
            return carry, results

        return run

    def reads(self, x: Array) -> bool:
        """Return whether arrays of this backend can be `x`, an array of NumPy, itself, and not a copy of it."""
        return self.library == "numpy" and isinstance(x, np.ndarray) and x.dtype.isnative

    def stage(self, x: np.ndarray) -> Any:
        """Return `x` as it is best handed to `asarray`; called in the thread that reads the next batch of a file."""
        return x

    def not_compiled(self, step: Callable) -> str:  # noqa: ARG002, here none is
        """Return the reason why this step is not compiled, of a backend that compiles others; else ""."""
        return ""

    def _numbers(self, column: np.ndarray | None, theta: Array) -> Iterable[Any]:
        """Return the numbers of the steps one by one: those of a stack as arrays on the device, in the dtype of θ."""
        if column is None:
            return repeat(None)
        if column.ndim == 1:
            return column.tolist()
        return self.xp.unstack(self.asarray(column, dtype_name(theta) if column.dtype.kind == "f" else "int64"))

    def generic(self) -> Self:
        """Return a backend for the same library and device without overrides: checks use its functions, which accept
        complex numbers, as an independent version of ours.
        """
        other = copy.copy(self)
        other.overrides, other.reuses_buffers, other._bound = {}, False, {}  # type: ignore[misc]
        return other

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """Return `x`, an array of this library or of NumPy, on this device; in the named dtype if there is one."""
        xp_dtype = None if dtype is None else getattr(self.xp, dtype)
        if is_host_array(x):
            host = np.asarray(x)
            host = host.astype(host.dtype.newbyteorder("="), copy=False)  # which not every library looks at
            return self.xp.asarray(host, dtype=xp_dtype, device=self.device)
        x = _moved(x, self.device)
        return x if xp_dtype is None else self.xp.astype(x, xp_dtype, copy=False)

    def to_host(self, x: Array) -> np.ndarray:
        """Return a copy of `x` as a NumPy array: by DLPack, or else from the library's default device. Waits for it."""
        try:
            return np.from_dlpack(x, device="cpu", copy=True)
        except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):  # NumPy 2.0 has no device=
            return np.array(_moved(x, _default_device(self.xp)))

    def read(self, numbers: list[Array]) -> np.ndarray:
        """Return the numbers of arrays of one number each as a float64 NumPy array. Waits for the device once."""
        return self.to_host(self.xp.stack(numbers)).astype(np.float64)

    def copy(self, x: Array) -> Array:
        """Return a copy of `x` that shares no memory with it."""
        return self.xp.asarray(x, copy=True)

    def device_context(self) -> AbstractContextManager:
        """Return a context manager to enter around every computation with this backend's arrays.

        Subclasses select the device (CuPy), enable float64 (JAX) or turn autograd off (torch). This version silences
        NumPy's warnings of overflow: a loss that is not finite is reported at the end of its epoch.
        """
        return np.errstate(over="ignore", divide="ignore", invalid="ignore")


def extended(xp: Namespace, **functions: Callable) -> Namespace:
    """Return a namespace like `xp` that has these functions too, such as ``erf``."""
    namespace = ModuleType(xp.__name__)
    vars(namespace).update(vars(xp), **functions)
    return namespace


def _default_device(xp: Namespace) -> Any:
    """Return the library's default device, or None if it does not say."""
    return xp.__array_namespace_info__().default_device() if hasattr(xp, "__array_namespace_info__") else None


def device_of(x: Array) -> Any:
    """Return the device of an array, or None if its library has none."""
    try:
        return array_api_compat.device(x)
    except AttributeError:
        return None


def _moved(x: Array, device: Any) -> Array:
    """Return `x` on a device of its library."""
    return x if device_of(x) in (None, device) else array_api_compat.to_device(x, device)


def is_host_array(x: Any) -> bool:
    """Return whether NumPy can read `x` directly: one of its arrays, a list, a number or a table."""
    if type(x) is np.ndarray:  # the usual case, which the prediction of one row asks for ten times
        return True
    return not array_api_compat.is_array_api_obj(x) or array_api_compat.is_numpy_array(x)


def is_sparse(x: Any) -> bool:
    """Return whether x is a sparse matrix or array of SciPy."""
    return hasattr(x, "tocsr")


def library_name(namespace: Namespace) -> str:
    """Return the import name of the library behind a namespace: "numpy" for `array_api_compat.numpy`."""
    return str(namespace.__name__).removeprefix("array_api_compat.").split(".")[0]


def dtype_name(x: Array) -> str:
    """Return the name of the dtype of x: "float32" or "float64"."""
    return str(x.dtype).rpartition(".")[2]
